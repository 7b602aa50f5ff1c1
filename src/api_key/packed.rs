//! How a key lies in the memory of a table: its id, its hash, what can change, what
//! it shares with others, and its texts.

use super::{
    record::{KeySays, REMEMBERED},
    text::{KeyHash, KeyId},
};
use crate::clock::Timestamp;

/// Where a record has what can change: its end, and whether it is revoked.
pub(super) const END_AT: usize = 8 + 32;
pub(super) const REVOKED_AT: usize = END_AT + 4 + 4;
/// What a record has before its texts, in bytes.
pub(super) const HEAD_BYTES: usize = REVOKED_AT + 1 + 4 + 1 + 1;
/// No end, and no time that is known.
pub(super) const NEVER: u32 = 0;

/// What a record begins with.
pub(super) struct Head {
    pub(super) id: KeyId,
    pub(super) hash: KeyHash,
    pub(super) end: u32,
    pub(super) created: u32,
    pub(super) is_revoked: bool,
    pub(super) profile: u32,
    pub(super) user_id_bytes: usize,
    pub(super) name_bytes: usize,
}

impl Head {
    pub(super) fn read(record: &[u8]) -> Option<(Self, &[u8])> {
        let (id, rest) = record.split_first_chunk()?;
        let (hash, rest) = rest.split_first_chunk()?;
        let (end, rest) = rest.split_first_chunk()?;
        let (created, rest) = rest.split_first_chunk()?;
        let ([is_revoked], rest) = rest.split_first_chunk()?;
        let (profile, rest) = rest.split_first_chunk()?;
        let ([user_id, name], rest) = rest.split_first_chunk()?;
        let head = Self {
            id: KeyId::from_bits(u64::from_le_bytes(*id)),
            hash: KeyHash::from_bytes(*hash),
            end: u32::from_le_bytes(*end),
            created: u32::from_le_bytes(*created),
            is_revoked: *is_revoked != 0,
            profile: u32::from_le_bytes(*profile),
            user_id_bytes: usize::from(*user_id),
            name_bytes: usize::from(*name),
        };
        Some((head, rest))
    }

    /// The length of the whole record.
    pub(super) fn bytes(&self) -> usize {
        HEAD_BYTES + self.user_id_bytes + self.name_bytes
    }
}

pub(super) fn time(secs: u32) -> Option<Timestamp> {
    (secs != NEVER).then(|| Timestamp::from_secs(secs.into()))
}

pub(super) fn created(says: &KeySays) -> u32 {
    says.created.map_or(NEVER, |at| seconds(Timestamp::from_secs(at)))
}

/// Whether it has ended so long ago that nobody asks for it any more.
pub(super) fn is_over(end: u32, now: Timestamp) -> bool {
    end != NEVER && Timestamp::from_secs(end.into()).plus(REMEMBERED) <= now
}

/// Whole seconds since 1970: from the first one to the last that fit.
pub(super) fn seconds(at: Timestamp) -> u32 {
    u32::try_from(at.as_secs().max(1)).unwrap_or(u32::MAX)
}

pub(super) fn bounded(text: &str) -> &str {
    let end = text.floor_char_boundary(usize::from(u8::MAX));
    text.get(..end).unwrap_or_default()
}
