//! All that an engine of a configuration is made of, so that another process, which has
//! not its files, can make the same.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use figment::value::{Dict, Value};
use serde::{Deserialize, Serialize};

use super::{
    Config, Problems,
    disk::{Contents, Disk},
    layers::Sources,
};

/// What an engine has no use for: what other parts of the service keep, and their
/// secrets. Without a key, the whole table.
const OF_OTHERS: [(&str, &str); 8] = [
    ("check", "tls"),
    ("feed", ""),
    ("http", "tls"),
    ("login", "users_file"),
    ("sso", "client_secret"),
    ("sso", "client_secret_file"),
    ("store", ""),
    ("telemetry", "otlp_endpoint"),
];

/// The files and variables of a configuration that an engine is made of. It holds the
/// keys by which tokens are verified, and is not printed.
#[derive(Clone, Serialize, Deserialize)]
pub struct Bundle {
    files: Vec<PathBuf>,
    environment: Vec<(String, String)>,
    contents: Contents,
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
        let (files, environment) = (sources.files().to_vec(), sources.environment_of_engine());
        let variables = environment.iter().map(|(name, value)| (name.into(), value.into()));
        let disk = Disk::Noted(Arc::clone(&contents));
        Config::load(&Sources::for_engine(files.clone(), variables.collect(), disk))?;
        let contents =
            std::mem::take(&mut *contents.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(Some(Self { files, environment, contents }))
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
        let Self { files, environment, contents } = self;
        let variables = environment.into_iter().map(|(name, value)| (name.into(), value.into()));
        let disk = Disk::Given(Arc::new(contents));
        Config::load(&Sources::for_engine(files, variables.collect(), disk))
    }
}

/// Takes off what is of no use for an engine.
pub(super) fn keep_engine(dict: &mut Dict) {
    for (table, key) in OF_OTHERS {
        if key.is_empty() {
            dict.remove(table);
        } else if let Some(Value::Dict(_, dict)) = dict.get_mut(table) {
            dict.remove(key);
        }
    }
}
