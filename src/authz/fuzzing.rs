//! What the fuzz targets need of this room.

use super::{Reason, cookie};

/// The value of the cookie of this name; an error where it could be read in two ways.
///
/// # Errors
///
/// [`Reason::AmbiguousCredential`].
pub fn cookie<'a>(lines: &[&'a [u8]], name: &str) -> Result<Option<&'a [u8]>, Reason> {
    cookie::find(lines, name).map_err(|_| Reason::AmbiguousCredential)
}

/// The lines without the cookie of this name; none where it is not among them.
#[must_use]
pub fn without_cookie(lines: &[&[u8]], name: &str) -> Option<Vec<u8>> {
    cookie::without(lines, name)
}
