//! All that an engine of a configuration is made of, so that another process, which has
//! not its files, can make the same.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use figment::value::Dict;
use serde::{Deserialize, Serialize};

use super::{
    Config, Problems,
    disk::{Contents, Disk},
    layers::Sources,
};

/// The files and variables of a configuration that an engine is made of. It holds the
/// keys by which tokens are verified, and is not printed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Bundle {
    files: Vec<PathBuf>,
    /// What variables say.
    variables: Vec<(String, Dict)>,
    secret: Option<String>,
    contents: Contents,
    /// Of what build whoever has read it is.
    build: String,
}

impl fmt::Debug for Bundle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bundle").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Bundle {
    /// Reads what the sources of a service say of an engine; others tell nobody.
    ///
    /// # Errors
    ///
    /// All [`Problems`] of the engine's part.
    pub(super) fn of_service(sources: &Sources) -> Result<Option<Self>, Problems> {
        if !sources.is_for_service() {
            return Ok(None);
        }
        let contents = Arc::<Mutex<Contents>>::default();
        let (files, variables) = (sources.files().to_vec(), sources.told_to_engine());
        let secret = sources.secret().and_then(|secret| secret.into_string().ok());
        let disk = Disk::Noted(Arc::clone(&contents));
        let (files_of, told) = (files.clone(), variables.clone());
        Config::load(&Sources::for_engine(files_of, secret.clone(), told, disk))?;
        let contents =
            std::mem::take(&mut *contents.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Some(Self { files, variables, secret, contents, build: build() }))
    }

    /// The bundle as bytes; empty where it cannot be written, which is read by nobody.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        rmp_serde::to_vec_named(self).unwrap_or_default()
    }

    /// A bundle of these bytes.
    ///
    /// # Errors
    ///
    /// A sentence, where they are none.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        rmp_serde::from_slice(bytes).map_err(|error| format!("it cannot be read: {error}"))
    }

    /// The configuration, as far as an engine is made of it.
    ///
    /// # Errors
    ///
    /// All [`Problems`] at once.
    pub fn load(self) -> Result<Config, Problems> {
        let Self { files, variables, secret, contents, .. } = self;
        let disk = Disk::Given(Arc::new(contents));
        Config::load(&Sources::for_engine(files, secret, variables, disk))
    }

    /// Whether whoever has read it is of another build than this: with other defaults, or
    /// another reading, perhaps.
    #[must_use]
    pub fn is_of_other_build(&self) -> bool {
        self.build != build()
    }
}

/// This build: its version, and a checksum of its defaults.
fn build() -> String {
    let defaults = crc32fast::hash(super::layers::DEFAULTS.as_bytes());
    format!("{} {defaults:08x}", env!("CARGO_PKG_VERSION"))
}
