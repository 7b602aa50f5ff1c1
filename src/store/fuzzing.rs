//! What the fuzz targets need of this room.

use redis::{Value, from_redis_value};

use super::{KeyPage, Revocation, StoreError, redis::Entries, redis::revocation};

/// What a page of the stream of revocations says.
///
/// # Errors
///
/// [`StoreError::Garbled`], where it is none.
pub fn revocations(answer: Value) -> Result<Vec<Revocation>, StoreError> {
    let entries: Entries = from_redis_value(answer).map_err(|_| StoreError::Garbled)?;
    Ok(entries.iter().filter_map(|(_, fields)| revocation(fields)).collect())
}

/// A page of the stream of keys.
#[must_use]
pub fn keys(page: Vec<u8>) -> KeyPage {
    KeyPage(page)
}
