//! An issuer that is followed, as those see it who verify by its keys.

use std::{
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use tokio::sync::Notify;

use super::KeySource;
use crate::{
    clock::Timestamp,
    token::{IssuerKeys, KeySet},
};

/// An issuer whose keys are fetched, and its keys.
pub struct Followed {
    /// Where they come from.
    pub source: KeySource,
    /// The keys.
    pub keys: Arc<IssuerKeys>,
    pub(super) missed: Arc<Notify>,
    /// Whether it was asked, whatever came of it, or its keys are known without.
    pub(super) is_asked: AtomicBool,
    /// The set as it was sent.
    pub(super) text: Mutex<String>,
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("source", &self.source.name).finish_non_exhaustive()
    }
}

impl Followed {
    /// An issuer of which nothing is known yet.
    #[must_use]
    pub fn new(source: KeySource) -> Self {
        let missed = Arc::<Notify>::default();
        let notify = Arc::clone(&missed);
        let keys = Arc::new(IssuerKeys::awaited(move || notify.notify_one()));
        let (is_asked, text) = (AtomicBool::new(false), Mutex::default());
        Self { source, keys, missed, is_asked, text }
    }

    /// Whether it is followed by the very same settings.
    #[must_use]
    pub fn is_of(&self, source: &KeySource) -> bool {
        self.source == *source
    }

    /// The same issuer, of which something else is configured now: what it has
    /// said stays known, so that none of its tokens is refused meanwhile.
    pub(super) fn after(source: KeySource, before: &Self) -> Self {
        let text = before.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let read = KeySet::read(text.as_bytes(), &source.algorithms);
        let next = Self::new(source);
        if let (Ok((set, _)), Some(heard)) = (read, before.keys.heard()) {
            next.put(set, text, heard);
        }
        next
    }

    /// Takes over what the issuer has said then.
    pub(super) fn put(&self, set: KeySet, text: String, heard: Timestamp) {
        self.keys.put(set, heard, self.source.stale_for);
        *self.text.lock().unwrap_or_else(PoisonError::into_inner) = text;
        self.is_asked.store(true, Ordering::Relaxed);
    }
}
