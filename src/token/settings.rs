//! What the service's own tokens must fulfil.

use std::time::Duration;

use super::shape::TokenShape;

/// The most that `leeway` may be: for so long after its end, a revoked token is
/// remembered.
pub const MAX_LEEWAY: Duration = Duration::from_secs(3600);

/// What a token must fulfil beside its signature.
#[derive(Clone, Debug)]
pub struct VerifierSettings {
    /// When set, `iss` must be this.
    pub issuer: Option<String>,
    /// When set, `aud` must name this; when not, a token with an `aud` is
    /// meant for somebody else.
    pub audience: Option<String>,
    /// How far clocks may differ, for `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// The longest life of a token, `exp - iat`, or `exp - now` without `iat`;
    /// the leeway comes on top, since that is a matter of clocks, too.
    pub max_lifetime: Duration,
    /// How long a token without `iat` is taken to live: it counts as issued so
    /// long before its `exp`.
    pub assume_lifetime: Option<Duration>,
    /// How tokens are written.
    pub shape: TokenShape,
}

impl VerifierSettings {
    /// For how long a user's cut-off counts: as long as a token could be
    /// accepted that was issued in its second.
    ///
    /// Such a token lives for `max_lifetime`, with a leeway on it where the two
    /// are compared with one, and is accepted for a leeway after its end; any
    /// leeway can be set while the service runs. One without `iat` counts as
    /// issued `max_lifetime` before its end: nobody knows it to be older.
    #[must_use]
    pub fn cut_offs_count_for(&self) -> Duration {
        self.max_lifetime.saturating_add(2 * MAX_LEEWAY + Duration::from_secs(1))
    }
}
