//! What a denial tells of a mistake in the setting: said in the log, at most once
//! a minute each, since whoever asks can repeat it.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use crate::{
    authz::{CheckInput, Engine, Reason},
    token::Refusal,
};

/// In milliseconds.
const MINUTE: u64 = 60_000;

/// Something that is done at most once a minute.
#[derive(Debug)]
pub(crate) struct OnceAMinute {
    born: Instant,
    /// When it is due again, in milliseconds since then.
    due: AtomicU64,
}

impl Default for OnceAMinute {
    fn default() -> Self {
        Self { born: Instant::now(), due: AtomicU64::new(0) }
    }
}

impl OnceAMinute {
    /// Whether it may be done now; whoever hears that is the one to do it.
    pub(crate) fn is_due(&self) -> bool {
        self.is_due_at(u64::try_from(self.born.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn is_due_at(&self, now: u64) -> bool {
        let due = self.due.load(Ordering::Relaxed);
        let next = now.saturating_add(MINUTE);
        now >= due
            && self.due.compare_exchange(due, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}

/// The hints.
#[derive(Debug, Default)]
pub(crate) struct Hints {
    bad_signature: OnceAMinute,
}

impl Hints {
    /// Looks into a denial, when that is due.
    pub(crate) fn look(&self, engine: &Engine, input: &CheckInput<'_>, reason: Reason) {
        if reason == Reason::Token(Refusal::BadSignature)
            && self.bad_signature.is_due()
            && engine.is_signed_in_lower_case(input)
        {
            tracing::warn!(
                fix = "give portcullis the secret in lower case, as the issuer uses it",
                "a token was signed with the lower-case form of one of the keys, and is refused"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_done_once_a_minute_is_done_so_often() {
        let hint = OnceAMinute::default();
        let given: Vec<u64> = (0..=180).filter(|now| hint.is_due_at(now * 1000)).collect();
        assert_eq!(given, [0, 60, 120, 180]);
    }
}
