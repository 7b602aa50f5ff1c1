//! What the fuzz targets need of this room.

use redis::{Value, from_redis_value};

use super::{KeyPage, StoreError, page::Page};
use crate::token::Revocation;

/// What a page of the stream of revocations says.
///
/// # Errors
///
/// [`StoreError::Garbled`], where it is none.
pub fn revocations(answer: Value) -> Result<Vec<Revocation>, StoreError> {
    let page: Page = from_redis_value(answer).map_err(|_| StoreError::Garbled)?;
    Ok(page.revocations)
}

/// A page of the stream of keys.
#[must_use]
pub fn keys(page: Vec<u8>) -> KeyPage {
    KeyPage(page)
}
