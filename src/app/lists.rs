//! What the engines of all configurations look into, and what a new one changes of
//! that.

use std::sync::Arc;

use crate::{api_key::KeyList, authz::Engine, token::RevocationList};

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
        let keys = Arc::<KeyList>::default();
        keys.set_loaded();
        Self { revoked, keys }
    }
}

/// The most keys of a file that are told of one by one.
const MAX_TOLD: usize = 1000;

/// Tells which keys have come, gone and changed with a file, under the target
/// `portcullis::audit`.
pub(super) fn tell_of_keys(before: &Engine, now: &Engine) {
    let table = |engine: &Engine| engine.api_keys.as_ref().map(|keys| Arc::clone(&keys.file));
    let (before, now) = (table(before).unwrap_or_default(), table(now).unwrap_or_default());
    if Arc::ptr_eq(&before, &now) {
        return;
    }
    if before.len().max(now.len()) > MAX_TOLD {
        let (before, now) = (before.len(), now.len());
        let event = "keys_file";
        tracing::info!(target: "portcullis::audit", event, before, now, source = "file");
        return;
    }
    let gone = before.ids().filter(|id| !now.contains(*id)).map(|id| ("key_gone", id));
    let made = now.ids().filter(|id| !before.contains(*id)).map(|id| ("key_made", id));
    let changed = now.ids().filter(|id| before.contains(*id) && !before.is_alike(&now, *id));
    for (event, id) in gone.chain(made).chain(changed.map(|id| ("key_changed", id))) {
        tracing::info!(target: "portcullis::audit", event, key_id = %id, source = "file");
    }
}
