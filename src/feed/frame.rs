//! What is sent, and how: the length and the checksum of a text, each four bytes in the
//! order of networks, and the text as `MessagePack`.

use std::fmt;

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{self, DeserializeOwned},
};
use thiserror::Error;

use super::record::KeyRecord;
use crate::{clock::Timestamp, token::TokenRef};

/// The longest text of the service, in bytes: a file of keys may be 256 MiB.
pub(super) const MAX_TOLD: usize = 384 << 20;
/// The longest text of an engine, in bytes.
pub(super) const MAX_ASKED: usize = 4 << 20;
/// What is kept of a buffer that is empty, in bytes.
const MAX_SPARE: usize = 1 << 20;
/// The length and the checksum.
const HEAD: usize = 8;

/// What the service tells. Times are milliseconds since 1970.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromService {
    /// The configuration, which is in force when all that follows is whole.
    Settings(Raw),
    /// The keys that an issuer was heard to publish there.
    IssuerKeys { place: [u8; 32], text: String, heard: i64 },
    /// Tokens that are revoked, each with its end.
    Tokens(Tokens),
    /// Users, and up to which time all is void that they were issued.
    Users(Vec<(String, i64)>),
    /// Up to which time all is void that anybody was issued.
    Everybody(i64),
    /// Keys for machines, as they are now.
    Keys(Vec<KeyRecord>),
    /// All that there is has been told, but for keys for machines that are not known yet.
    /// For so many seconds cut-offs count.
    Whole { cut_offs_kept: u64, has_keys: bool },
    /// Nothing has changed.
    Beat,
}

/// What an engine asks of the service.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum FromEngine {
    /// A token named a key that was not heard to be published there.
    Missed([u8; 32]),
    /// On which days keys for machines were used.
    Uses(Vec<(u64, i64)>),
    /// Whose sessions were renewed, which, and when.
    Seen(Vec<(String, String, i64)>),
}

/// Bytes that whoever has asked for them can read. They may hold keys, and are not shown.
pub(super) struct Raw(pub(super) Vec<u8>);

impl fmt::Debug for Raw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(RawOf)
    }
}

struct RawOf;

impl de::Visitor<'_> for RawOf {
    type Value = Raw;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Raw, E> {
        Ok(Raw(bytes.to_vec()))
    }
}

/// Revoked tokens, forty bytes each.
#[derive(Debug)]
pub(super) struct Tokens(pub(super) Vec<(TokenRef, Timestamp)>);

/// The hash of a token, and its end.
const TOKEN: usize = 32 + 8;

impl Serialize for Tokens {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut bytes = Vec::with_capacity(self.0.len() * TOKEN);
        for (token, end) in &self.0 {
            bytes.extend_from_slice(token.as_bytes());
            bytes.extend_from_slice(&end.as_millis().to_be_bytes());
        }
        serializer.serialize_bytes(&bytes)
    }
}

impl<'de> Deserialize<'de> for Tokens {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_bytes(TokensOf)
    }
}

struct TokensOf;

impl de::Visitor<'_> for TokensOf {
    type Value = Tokens;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{TOKEN} bytes for each token")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Tokens, E> {
        let (tokens, []) = bytes.as_chunks::<TOKEN>() else {
            return Err(E::invalid_length(bytes.len(), &self));
        };
        let read = |token: &[u8; TOKEN]| {
            let (hash, rest) = token.split_first_chunk()?;
            let (end, _) = rest.split_first_chunk()?;
            let end = Timestamp::from_millis(i64::from_be_bytes(*end));
            Some((TokenRef::from_bytes(*hash), end))
        };
        Ok(Tokens(tokens.iter().filter_map(read).collect()))
    }
}

/// Why what the other side sends is no frame.
#[derive(Debug, Error, PartialEq, Eq)]
pub(super) enum FrameError {
    #[error("a text of {0} bytes is announced, which is too long")]
    TooLong(usize),
    #[error("a text has changed on its way")]
    Changed,
    #[error("a text cannot be read: {0}")]
    Unreadable(String),
}

/// A text with its head; none when it is too long to be sent.
pub(super) fn encode(text: &impl Serialize, most: usize) -> Option<Vec<u8>> {
    let mut frame = vec![0; HEAD];
    // Named, so that what is left out where it is empty is none of the next.
    rmp_serde::encode::write_named(&mut frame, text).ok()?;
    let (head, text) = frame.split_at_mut_checked(HEAD)?;
    let length = u32::try_from(text.len()).ok().filter(|_| text.len() <= most)?;
    let (for_length, for_checksum) = head.split_at_mut_checked(4)?;
    for_length.copy_from_slice(&length.to_be_bytes());
    for_checksum.copy_from_slice(&crc32fast::hash(text).to_be_bytes());
    Some(frame)
}

/// What has come of frames, and was not yet taken.
#[derive(Debug)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    taken: usize,
    most: usize,
}

impl Frames {
    /// Frames of texts that are no longer than this, in bytes.
    pub(super) fn up_to(most: usize) -> Self {
        Self { bytes: Vec::new(), taken: 0, most }
    }

    /// More has come.
    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next text, if it has come whole.
    pub(super) fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let Some((head, rest)) = rest.split_first_chunk::<HEAD>() else {
            self.forget();
            return Ok(None);
        };
        // The length is the upper half of both, the checksum the lower.
        let head = u64::from_be_bytes(*head);
        let length = usize::try_from(head >> 32).unwrap_or(usize::MAX);
        if length > self.most {
            return Err(FrameError::TooLong(length));
        }
        let Some(text) = rest.get(..length) else {
            self.forget();
            return Ok(None);
        };
        if u64::from(crc32fast::hash(text)) != head & u64::from(u32::MAX) {
            return Err(FrameError::Changed);
        }
        let read = rmp_serde::from_slice(text);
        self.taken += HEAD + length;
        read.map(Some).map_err(|error| FrameError::Unreadable(error.to_string()))
    }

    /// Gives back the room of what was taken.
    fn forget(&mut self) {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        if self.bytes.is_empty() && self.bytes.capacity() > MAX_SPARE {
            self.bytes = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests;
