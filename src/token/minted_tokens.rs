//! What was minted of one credential, for handing it out again.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use arc_swap::ArcSwapOption;

use crate::clock::Timestamp;

/// How long one lives.
pub(super) const LIFETIME: Duration = Duration::from_secs(60);
/// The most that those of one credential have that are remembered, in bytes; the
/// last one is in any case.
const MAX_BYTES: usize = 8 * 1024;

/// One that was made.
#[derive(Clone)]
pub(super) struct Minted {
    pub(super) audience: Arc<str>,
    /// It is not handed out from then on.
    pub(super) until: Timestamp,
    /// With its scheme, as it stands in a header.
    pub(super) bearer: Arc<str>,
}

/// Those that were made of one credential.
#[derive(Default)]
pub(super) struct MintedTokens {
    all: ArcSwapOption<Vec<Minted>>,
    /// Held by who signs: one signature a minute and audience.
    pub(super) signing: Mutex<()>,
}

impl MintedTokens {
    pub(super) fn find(&self, audience: &str, now: Timestamp) -> Option<Arc<str>> {
        let all = self.all.load();
        // Not one of a time that lies ahead, when a clock has been set back.
        let fits = |minted: &&Minted| {
            let is_of_now = now < minted.until && minted.until <= now.plus(LIFETIME);
            is_of_now && *minted.audience == *audience
        };
        all.as_ref()?.iter().find(fits).map(|minted| Arc::clone(&minted.bearer))
    }

    pub(super) fn put(&self, minted: Minted, now: Timestamp) {
        let mut all = vec![minted];
        if let Some(before) = &*self.all.load() {
            let stays = |old: &&Minted| {
                now < old.until && all.iter().all(|new| new.audience != old.audience)
            };
            let kept: Vec<Minted> = before.iter().filter(stays).cloned().collect();
            all.extend(kept);
        }
        let mut bytes = 0;
        let fits = |minted: &&Minted| {
            bytes += minted.bearer.len();
            bytes <= MAX_BYTES
        };
        let count = all.iter().take_while(fits).count();
        all.truncate(count.max(1));
        self.all.store(Some(Arc::new(all)));
    }
}
