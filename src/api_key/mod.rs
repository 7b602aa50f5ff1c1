//! Keys for machines: long-lived, narrow, and void a second after they were
//! revoked.
//!
//! A key is `pck_`, an id, a secret and a checksum. Only the hash of its secret is
//! kept: in a file, or in the store, whose keys every replica holds whole in
//! memory. Nothing here reads a clock, a file or a socket.

mod file;
mod foreign;
mod list;
mod packed;
mod record;
mod refusal;
mod table;
mod text;
mod uses;
mod verify;

pub use file::{entry_of_file, keys_of_file, network};
pub use foreign::Foreign;
pub use list::{KeyChange, KeyList, Told};
pub use record::{ApiKey, KeySays, KeyState, MAX_LISTED, MAX_NAME_BYTES, REMEMBERED, is_scope};
pub use refusal::KeyRefusal;
pub use table::{KeyCounts, KeyTable};
pub use text::{KeyHash, KeyId, KeyText, NewKey, PREFIX};
pub use uses::Uses;
pub use verify::{ApiKeys, GoodKey, Shown};

#[cfg(test)]
mod tests;
