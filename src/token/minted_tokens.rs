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

#[cfg(test)]
mod tests {
    use super::*;

    fn minted(audience: &str, until: i64, length: usize) -> Minted {
        let bearer = "x".repeat(length).into();
        Minted { audience: audience.into(), until: Timestamp::from_secs(until), bearer }
    }

    fn audiences(tokens: &MintedTokens) -> Vec<String> {
        let all = tokens.all.load_full().unwrap_or_default();
        all.iter().map(|one| one.audience.to_string()).collect()
    }

    #[test]
    fn each_audience_has_one_until_its_very_end() {
        let tokens = MintedTokens::default();
        let at = Timestamp::from_secs;
        tokens.put(minted("a", 60, 1), at(0));
        tokens.put(minted("b", 60, 2), at(0));
        let length = |audience, now| tokens.find(audience, at(now)).map(|bearer| bearer.len());
        assert_eq!((length("a", 0), length("b", 59), length("b", 60)), (Some(1), Some(2), None));
        // A clock that was set back.
        assert_eq!(length("a", -1), None);
        tokens.put(minted("a", 90, 3), at(30));
        assert_eq!((length("a", 30), audiences(&tokens)), (Some(3), vec!["a".into(), "b".into()]));
        tokens.put(minted("c", 120, 4), at(60));
        assert_eq!(audiences(&tokens), ["c", "a"]);
    }

    #[test]
    fn they_take_so_much_and_the_last_one_stays() {
        let tokens = MintedTokens::default();
        let now = Timestamp::from_secs(0);
        for audience in ["a", "b", "c"] {
            tokens.put(minted(audience, 60, 4096), now);
        }
        assert_eq!(audiences(&tokens), ["c", "b"]);
        tokens.put(minted("d", 60, 8193), now);
        assert_eq!(audiences(&tokens), ["d"]);
        tokens.put(minted("e", 60, 0), now);
        assert_eq!(audiences(&tokens), ["e"]);
    }
}
