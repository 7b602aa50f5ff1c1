//! The store that the replicas share, for commands that change what is in it.

use std::{process::ExitCode, sync::Arc};

use portcullis::{
    app,
    clock::SystemClock,
    config::Config,
    store::{Store, StoreError},
};
use tokio::runtime::Runtime;

use super::{NO, WRONG, fail};

/// The store of a configuration, where others can see what is put there.
pub(super) fn store(config: &Config) -> Result<Store, ExitCode> {
    if config.store.target.is_none() {
        return Err(fail(
            WRONG,
            "the store is the memory of another process",
            "configure the Redis that the replicas share, or sign out by POST /session/logout",
        ));
    }
    app::store(config, Arc::new(SystemClock))
        .map_err(|error| fail(WRONG, error, "write the store's address as a Redis URL"))
}

/// Runs what has to be waited for.
pub(super) fn runtime() -> Result<Runtime, ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(|error| fail(NO, error, "try again"))
}

/// Does what has to do with the store.
pub(super) fn ask<T>(asking: impl Future<Output = Result<T, StoreError>>) -> Result<T, ExitCode> {
    runtime()?
        .block_on(asking)
        .map_err(|error| fail(NO, error, "see whether Redis can be reached from here"))
}
