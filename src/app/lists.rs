//! What the engines of all configurations look into, and what a new one changes of
//! that.

use std::sync::Arc;

use crate::{api_key::KeyList, authz::Engine, store::Store, token::RevocationList};

/// What the engines of all configurations look into.
#[derive(Clone, Debug, Default)]
pub struct Lists {
    /// Who is shut out.
    pub revoked: Arc<RevocationList>,
    /// The keys of the store.
    pub keys: Arc<KeyList>,
}

/// Without a key of a store.
impl From<Arc<RevocationList>> for Lists {
    fn from(revoked: Arc<RevocationList>) -> Self {
        Self { revoked, keys: Arc::default() }
    }
}

/// Follows the keys of the store where an engine takes keys, and keeps for them who
/// is cut off.
pub(super) fn take_keys(store: &Store, lists: &Lists, engine: &Engine) {
    let has_keys = engine.api_keys.is_some();
    store.has_keys(has_keys);
    lists.keys.want(has_keys);
}

/// Tells which keys have come and gone with a file, under the target
/// `portcullis::audit`.
pub(super) fn tell_of_keys(before: &Engine, now: &Engine) {
    let table = |engine: &Engine| engine.api_keys.as_ref().map(|keys| Arc::clone(&keys.file));
    let (before, now) = (table(before).unwrap_or_default(), table(now).unwrap_or_default());
    for (event, those, others) in [("key_gone", &before, &now), ("key_made", &now, &before)] {
        for id in those.ids().filter(|id| !others.contains(*id)) {
            tracing::info!(target: "portcullis::audit", event, key_id = %id, source = "file");
        }
    }
}
