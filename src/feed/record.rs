//! A change of keys for machines, as it is sent.

use serde::{Deserialize, Serialize};

use crate::{
    api_key::{ApiKey, KeyChange, KeyHash, KeyId, KeySays},
    clock::Timestamp,
};

/// A change. Times are milliseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum KeyRecord {
    /// A key as it is now.
    Key(Box<WholeKey>),
    /// A key that is nowhere else was revoked.
    Revoked(u64, i64),
    /// All keys of a user that were made up to then are void.
    CutOff(String, i64),
}

/// A key, without its secret.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct WholeKey {
    id: u64,
    hash: [u8; 32],
    says: KeySays,
    expires: Option<i64>,
    revoked: Option<i64>,
}

impl From<&KeyChange> for KeyRecord {
    fn from(change: &KeyChange) -> Self {
        match change {
            KeyChange::Key(key) => Self::Key(Box::new(WholeKey {
                id: key.id.bits(),
                hash: *key.hash.as_bytes(),
                says: key.says.clone(),
                expires: key.expires.map(Timestamp::as_millis),
                revoked: key.revoked.map(Timestamp::as_millis),
            })),
            KeyChange::Revoked(id, at) => Self::Revoked(id.bits(), at.as_millis()),
            KeyChange::CutOff(user_id, at) => Self::CutOff(user_id.clone(), at.as_millis()),
        }
    }
}

impl From<KeyRecord> for KeyChange {
    fn from(record: KeyRecord) -> Self {
        let at = Timestamp::from_millis;
        match record {
            KeyRecord::Key(key) => Self::Key(Box::new(ApiKey {
                id: KeyId::from_bits(key.id),
                hash: KeyHash::from_bytes(key.hash),
                says: key.says,
                expires: key.expires.map(at),
                revoked: key.revoked.map(at),
            })),
            KeyRecord::Revoked(id, then) => Self::Revoked(KeyId::from_bits(id), at(then)),
            KeyRecord::CutOff(user_id, then) => Self::CutOff(user_id, at(then)),
        }
    }
}
