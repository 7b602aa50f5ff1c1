//! Where the files of a configuration are: on the disk, or in what another process has
//! read of it.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
};

use figment::value::Dict;
use serde::{Deserialize, Serialize};

/// What was read of a file.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Content {
    /// A configuration, without what an engine has no use for.
    Table(Dict),
    Text(String),
    Bytes(Vec<u8>),
}

/// Files by their paths.
pub(super) type Contents = BTreeMap<PathBuf, Content>;

/// Where files are read.
#[derive(Clone, Default)]
pub(super) enum Disk {
    /// Where they are.
    #[default]
    Real,
    /// Where they are, and what they say is noted.
    Noted(Arc<Mutex<Contents>>),
    /// Nowhere: it was noted by another process.
    Given(Arc<Contents>),
}

/// A file of a configuration.
pub(super) enum Table {
    Text(String),
    Known(Dict),
}

impl Disk {
    /// A file as it is.
    pub(super) fn bytes(&self, file: &Path) -> io::Result<Vec<u8>> {
        if let Self::Given(contents) = self {
            return match contents.get(file) {
                Some(Content::Text(text)) => Ok(text.as_bytes().to_vec()),
                Some(Content::Bytes(bytes)) => Ok(bytes.clone()),
                _ => Err(io::ErrorKind::NotFound.into()),
            };
        }
        let bytes = fs::read(file)?;
        self.note(file, || match std::str::from_utf8(&bytes) {
            Ok(text) => Content::Text(text.to_owned()),
            Err(_) => Content::Bytes(bytes.clone()),
        });
        Ok(bytes)
    }

    /// A file of text that is not longer than this, in bytes.
    pub(super) fn text(&self, file: &Path, most: u64) -> io::Result<String> {
        if !matches!(self, Self::Given(_)) && fs::metadata(file)?.len() > most {
            return Err(io::Error::other(format!("it is longer than {most} bytes")));
        }
        String::from_utf8(self.bytes(file)?).map_err(io::Error::other)
    }

    /// A configuration, whose text is noted by whoever has read it.
    pub(super) fn table(&self, file: &Path) -> io::Result<Table> {
        match self {
            Self::Given(contents) => match contents.get(file) {
                Some(Content::Table(dict)) => Ok(Table::Known(dict.clone())),
                _ => Err(io::ErrorKind::NotFound.into()),
            },
            _ => fs::read_to_string(file).map(Table::Text),
        }
    }

    /// Notes what a configuration says.
    pub(super) fn note_table(&self, file: &Path, dict: &Dict) {
        self.note(file, || Content::Table(dict.clone()));
    }

    fn note(&self, file: &Path, content: impl FnOnce() -> Content) {
        if let Self::Noted(contents) = self {
            let mut contents = contents.lock().unwrap_or_else(PoisonError::into_inner);
            contents.insert(file.to_owned(), content());
        }
    }
}
