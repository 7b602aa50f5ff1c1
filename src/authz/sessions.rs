//! What a configuration says of sessions.

use super::cookie::CookieForm;
use crate::token::SessionLimits;

/// How long sessions go on, and whether checks renew them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sessions {
    /// How long.
    pub limits: SessionLimits,
    /// Whether a check renews the cookie that it was asked with.
    pub renews: bool,
    /// How that is written.
    pub cookie: CookieForm,
}
