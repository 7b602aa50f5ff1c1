//! What both sides say first: that they are portcullis, and in which version they speak.

use thiserror::Error;

use super::VERSION;

/// What it begins with.
const NAME: &[u8; 16] = b"portcullis-feed\0";
/// Its length, in bytes.
pub(super) const LENGTH: usize = 18;

/// Why nothing can be said.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub(super) enum Stranger {
    /// It is something else.
    #[error("it is no feed of portcullis")]
    Other,
    /// It has another version.
    #[error("it speaks version {0} of the feed, and this side version {VERSION}")]
    Version(u16),
}

/// The greeting of this side.
pub(super) fn own() -> [u8; LENGTH] {
    let mut greeting = [0; LENGTH];
    let version = VERSION.to_be_bytes();
    for (place, byte) in greeting.iter_mut().zip(NAME.iter().chain(&version)) {
        *place = *byte;
    }
    greeting
}

/// Reads that of the other side.
///
/// # Errors
///
/// [`Stranger`].
pub(super) fn check(greeting: [u8; LENGTH]) -> Result<(), Stranger> {
    let Some((name, [a, b])) = greeting.split_first_chunk() else { return Err(Stranger::Other) };
    if name != NAME {
        return Err(Stranger::Other);
    }
    match u16::from_be_bytes([*a, *b]) {
        VERSION => Ok(()),
        other => Err(Stranger::Version(other)),
    }
}
