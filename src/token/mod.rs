//! JSON Web Tokens signed with HS256 (RFC 7515, RFC 7519): verified strictly,
//! minted, and remembered when they are revoked.
//!
//! Nothing here reads a clock, a file or a socket: the time is handed in.

mod claims;
pub(crate) mod json;
mod key;
mod known;
mod mint;
mod refusal;
mod revocation;
mod role;
mod shape;
mod verify;

pub use claims::{Claims, UserId};
pub use key::{Key, KeyError, KeyRing, MIN_KEY_BYTES, is_a_known_default};
pub use mint::{MintError, Minter, NewToken};
pub use refusal::Refusal;
pub use revocation::{RevocationList, TokenRef};
pub use role::{Role, RoleSet, Roles, RolesError};
pub use shape::{ClaimNames, Extra, REGISTERED_CLAIMS, RoleNames, TokenShape};
pub use verify::{MAX_LEEWAY, Verifier, VerifierSettings, peek};

#[cfg(test)]
mod tests;
