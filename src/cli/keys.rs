//! The keys of issuers, fetched for a command as a running service would.

use std::sync::Arc;

use portcullis::{
    app,
    authz::Engine,
    clock::{Clock as _, SystemClock},
    config::{Config, KeysFrom},
    issuers::{FetchError, Fetched, KeySource, fetch_once},
    token::{IssuerKeys, RevocationList},
};

/// The engine of a configuration, with the keys of the issuer that this token
/// says it is of, and what it said when it could not be asked.
pub(super) fn engine_for(config: Config, token: Option<&str>) -> (Engine, Option<String>) {
    let sources: Vec<KeySource> = sources(&config).cloned().collect();
    let keys: Vec<(KeySource, Arc<IssuerKeys>)> =
        sources.into_iter().map(|source| (source, Arc::new(IssuerKeys::awaited(|| {})))).collect();
    let engine = app::engine_with(config, Arc::new(RevocationList::empty()), &|source| {
        let known = keys.iter().find(|(known, _)| known == source);
        known.map_or_else(|| Arc::new(IssuerKeys::awaited(|| {})), |(_, keys)| Arc::clone(keys))
    });
    let named = token.and_then(|token| engine.verifier.issuer_named_by(token));
    let of = named.and_then(|issuer| keys.iter().find(|(_, keys)| Arc::ptr_eq(keys, &issuer.keys)));
    let trouble = of.and_then(|(source, keys)| match fetch(source) {
        Ok(fetched) => {
            keys.put(fetched.set, SystemClock.now(), source.stale_for);
            None
        }
        Err(error) => Some(format!("the keys of {:?} could not be fetched: {error}", source.name)),
    });
    (engine, trouble)
}

/// Where keys are fetched from.
pub(super) fn sources(config: &Config) -> impl Iterator<Item = &KeySource> {
    config.issuers.iter().filter_map(|issuer| match &issuer.keys {
        KeysFrom::Network(source) => Some(&**source),
        KeysFrom::Here(_) => None,
    })
}

/// What the issuer has now.
pub(super) fn fetch(source: &KeySource) -> Result<Fetched, FetchError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| FetchError::Failed(error.to_string()))?;
    runtime.block_on(fetch_once(source))
}
