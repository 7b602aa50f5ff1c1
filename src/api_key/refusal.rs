//! Why a key is not accepted.

use thiserror::Error;

/// The first thing that is wrong with a key. A client hears the same of all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum KeyRefusal {
    /// It has not the form of a key, or its checksum is wrong, or it stands where
    /// none is taken.
    #[error("it is not a complete key, or api_keys.accept does not list the place that it is in")]
    Malformed,
    /// No key has this id.
    #[error("no key has this id, here or in the store")]
    UnknownId,
    /// The id is that of a key, and the secret is not; or its role is none.
    #[error(
        "its secret is not that of the key with this id, or its role is not one of identity.roles"
    )]
    BadKey,
    /// Its time is over.
    #[error("it has expired")]
    Expired,
    /// It was revoked, or all of its user's were.
    #[error("it was revoked, or everything that its user had was revoked")]
    Revoked,
    /// It is not known yet which keys there are, or which were revoked.
    #[error("the keys of the store are not loaded yet")]
    NotReady,
    /// It came from an address that it may not be used from, or from one that is
    /// not known.
    #[error(
        "its `allow` does not contain the address it came from, or the gateway asks over HTTP, \
         which does not tell the address"
    )]
    Address,
}

impl KeyRefusal {
    /// Every one.
    pub const ALL: [Self; 6] = [
        Self::Malformed,
        Self::UnknownId,
        Self::BadKey,
        Self::Expired,
        Self::Revoked,
        Self::Address,
    ];

    /// The reason as logs, metrics and metadata spell it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Malformed => "malformed_key",
            Self::UnknownId => "unknown_key_id",
            Self::BadKey => "bad_key",
            Self::Expired => "key_expired",
            Self::Revoked => "key_revoked",
            Self::Address => "key_address",
            Self::NotReady => "not_ready",
        }
    }
}
