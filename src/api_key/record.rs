//! What is known of a key.

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::text::{KeyHash, KeyId};
use crate::clock::Timestamp;

/// The longest id and name of a key's user, in bytes.
pub const MAX_NAME_BYTES: usize = 255;
/// The most scopes of a key, and the most networks that it may be used from.
pub const MAX_LISTED: usize = 64;
/// For how long what has ended is told apart from what never was.
pub const REMEMBERED: std::time::Duration = std::time::Duration::from_secs(30 * 24 * 60 * 60);

/// A key, without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiKey {
    /// What names it.
    pub id: KeyId,
    /// The hash of its secret.
    pub hash: KeyHash,
    /// What it stands for.
    pub says: KeySays,
    /// When it ends by itself, in whole seconds.
    pub expires: Option<Timestamp>,
    /// When it was revoked.
    pub revoked: Option<Timestamp>,
}

/// What a key says, which never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeySays {
    /// The user's id.
    pub user_id: String,
    /// The user's name.
    pub name: String,
    /// The name of the user's role.
    pub role: String,
    /// What it is good for (RFC 6749, section 3.3).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// From where it may be used; empty for anywhere.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub allow: Vec<IpNet>,
    /// When it was made, in seconds since 1970; none where nobody knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub created: Option<i64>,
    /// What people note about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The key in whose place it came.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

/// Whether a key can be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// It can.
    Active,
    /// It has ended by itself.
    Expired,
    /// It was ended.
    Revoked,
}

impl KeyState {
    /// The state as metrics and lists spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Expired => "expired",
            Self::Revoked => "revoked",
        }
    }

    /// The state of a key with this end, at a time.
    #[must_use]
    pub fn of(is_revoked: bool, expires: Option<Timestamp>, now: Timestamp) -> Self {
        if is_revoked {
            Self::Revoked
        } else if expires.is_some_and(|at| at <= now) {
            Self::Expired
        } else {
            Self::Active
        }
    }
}

impl ApiKey {
    /// Whether it can be used at a time.
    #[must_use]
    pub fn state(&self, now: Timestamp) -> KeyState {
        KeyState::of(self.revoked.is_some(), self.expires, now)
    }
}

impl KeySays {
    /// What is wrong with it, if anything is.
    #[must_use]
    pub fn problem(&self) -> Option<String> {
        let fits = |text: &str| {
            (1..=MAX_NAME_BYTES).contains(&text.len()) && !text.contains(char::is_control)
        };
        for (what, text) in [("user's id", &self.user_id), ("name", &self.name)] {
            if !fits(text) {
                return Some(format!(
                    "the {what} is empty, longer than {MAX_NAME_BYTES} bytes, or has control \
                     characters"
                ));
            }
        }
        if let Some(bad) = self.scopes.iter().find(|scope| !is_scope(scope)) {
            return Some(format!("{bad:?} is not a scope: it has spaces or quotes, or is empty"));
        }
        if self.scopes.len() > MAX_LISTED || self.allow.len() > MAX_LISTED {
            return Some(format!("it has more than {MAX_LISTED} scopes or networks"));
        }
        None
    }
}

/// Whether this is one scope (RFC 6749, section 3.3).
#[must_use]
pub fn is_scope(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\';
    !text.is_empty() && text.len() <= MAX_NAME_BYTES && text.bytes().all(plain)
}
