//! `[sessions]`: how long a sign-in lasts, and whether it is renewed.

use std::time::Duration;

use super::reader::Section;

/// `[sessions]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionsConfig {
    /// How long after its sign-in a session ends, whatever was renewed.
    pub absolute: Duration,
    /// Whether tokens are renewed.
    pub renew: bool,
}

impl SessionsConfig {
    /// `lifetime` is how long a token lives that is made at a sign-in.
    pub(super) fn read(mut section: Section<'_>, lifetime: Duration) -> Self {
        let given = section.duration("absolute");
        // Where nobody has said it, tokens that live longer keep their life.
        let absolute = if section.is_set("absolute") { given } else { given.max(lifetime) };
        if absolute.is_zero() {
            section.problem("absolute", "nobody could stay signed in", "write a duration");
        } else if absolute < lifetime {
            section.problem(
                "absolute",
                "the first token of a session would outlive the session",
                "write at least tokens.lifetime, or make that shorter",
            );
        }
        let renew = section.get("renew", "true or false").unwrap_or(false);
        section.finish();
        Self { absolute, renew }
    }
}
