//! JSON Web Tokens (RFC 7515, RFC 7519) of this service and of the issuers that
//! it trusts: verified strictly, minted, and remembered when they are revoked.
//!
//! Nothing here reads a clock, a file or a socket: the time is handed in, and
//! the keys of other issuers are kept up to date by somebody else.

mod algorithm;
mod claims;
mod issuer;
pub(crate) mod json;
mod jwk;
mod jws;
mod key;
mod key_set;
mod known;
mod mint;
mod minted;
mod minted_tokens;
mod refusal;
mod renewals;
mod renewed;
mod revocation;
mod roca;
mod role;
mod settings;
mod shape;
mod user_id;
mod verify;
mod way;

pub use algorithm::Algorithm;
pub use claims::Claims;
pub use issuer::{ClaimWays, Issuer, IssuerSettings};
pub use jwk::{KeySetError, LeftOut};
pub use jws::peek;
pub use key::{Key, KeyError, KeyRing, MIN_KEY_BYTES, is_a_known_default};
pub(crate) use key_set::signed_payload;
pub use key_set::{IssuerKeys, KeySet};
pub use known::Verified;
pub use mint::{MintError, Minter, NewToken, SessionClaims, new_session_id};
pub use refusal::Refusal;
pub use renewals::{RenewedSession, RenewedToken};
pub use renewed::SessionLimits;
pub use revocation::{Revocation, RevocationList, TokenRef};
pub use role::{Role, RoleSet, Roles, RolesError};
pub use settings::{MAX_LEEWAY, VerifierSettings};
pub use shape::{ClaimNames, Extra, REGISTERED_CLAIMS, RoleNames, SESSION_CLAIMS, TokenShape};
pub use user_id::UserId;
pub(crate) use user_id::WrittenId;
pub use verify::Verifier;
pub use way::ClaimWay;

#[cfg(test)]
pub(crate) mod tests;
#[cfg(test)]
mod wycheproof;
