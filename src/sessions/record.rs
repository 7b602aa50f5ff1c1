//! What is known of one session.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// Who somebody is at the provider of a single sign-on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AtIssuer {
    /// The provider's `iss`.
    pub issuer: String,
    /// The user's `sub` there.
    pub subject: String,
    /// The provider's own `sid` of the session there (OpenID Connect Back-Channel
    /// Logout, section 2.1).
    pub session_id: Option<String>,
}

/// One session. Times are in seconds since the Unix epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its id: `sid` in its tokens.
    pub sid: String,
    /// The user's id.
    pub user_id: String,
    /// The user's name.
    pub name: String,
    /// `password` or `sso`.
    pub method: String,
    /// Who that is at the provider of a single sign-on.
    pub at_issuer: Option<AtIssuer>,
    /// The browser, as it names itself.
    pub agent: Option<String>,
    /// The address of the sign-in.
    pub address: Option<IpAddr>,
    /// When it began: `auth_time` in its tokens.
    pub begun: i64,
    /// When somebody was there last, as far as it was noted.
    pub seen: i64,
    /// When it ends, whatever is renewed.
    pub ends: i64,
}
