//! The store that the replicas share, asked by a command.

use std::{process::ExitCode, sync::Arc};

use portcullis::{
    app,
    clock::SystemClock,
    config::Config,
    store::{Store, StoreError},
};
use tokio::runtime::{Builder, Runtime};

use super::{NO, WRONG, fail};

/// The store, and what waits for its answers.
pub(super) struct Shared {
    /// The store.
    pub(super) store: Arc<Store>,
    runtime: Runtime,
}

impl Shared {
    /// The store of a configuration; `otherwise` completes what to do where it is the
    /// memory of another process.
    pub(super) fn of(config: &Config, otherwise: &str) -> Result<Self, ExitCode> {
        if config.store.target.is_none() {
            return Err(fail(
                WRONG,
                "the store is the memory of another process",
                format!("configure the Redis that the replicas share, or {otherwise}"),
            ));
        }
        let store = app::store(config, Arc::new(SystemClock))
            .map_err(|error| fail(WRONG, error, "write the store's address as a Redis URL"))?;
        Ok(Self { store: Arc::new(store), runtime: runtime()? })
    }

    /// What the store answers.
    pub(super) fn ask<'s, T, F>(
        &'s self,
        question: impl FnOnce(&'s Store) -> F,
    ) -> Result<T, ExitCode>
    where
        F: Future<Output = Result<T, StoreError>>,
    {
        let answer = self.runtime.block_on(question(&self.store));
        answer.map_err(|error| fail(NO, error, "check whether Redis can be reached from here"))
    }
}

/// Runs what has to be waited for.
pub(super) fn runtime() -> Result<Runtime, ExitCode> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| fail(NO, error, "try again"))
}
