//! Why a token is not accepted.

use thiserror::Error;

/// The first thing that is wrong with a token.
///
/// Precise for the operator's log; a client hears `invalid_token` for all of
/// them (RFC 6750, section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Error)]
pub enum Refusal {
    /// Not three segments of canonical base64url holding JSON objects, or a
    /// header that this service does not understand.
    #[error("it is not a well-formed JWT")]
    Malformed,
    /// The header's `alg` is not exactly HS256.
    #[error("its header's `alg` is not HS256")]
    BadAlgorithm,
    /// The header's `kid` names no key of this service.
    #[error("its `kid` names no configured key")]
    UnknownKey,
    /// No configured key made this signature.
    #[error("its signature was not made with a configured key")]
    BadSignature,
    /// `exp`, the id, the name or the role is not there.
    #[error(
        "a required claim is missing: exp, or one of those that tokens.claims names (userId, sub \
         and role, unless it says otherwise)"
    )]
    MissingClaim,
    /// A claim has another type or value than it may have.
    #[error("a claim has a type or value that it may not have")]
    BadClaim,
    /// `exp` has passed.
    #[error("it has expired")]
    Expired,
    /// `nbf` or `iat` lies ahead.
    #[error("it is not valid yet (`nbf` or `iat` lies ahead)")]
    NotYetValid,
    /// It lives longer than `tokens.max_lifetime`, or without an `iat` than
    /// `tokens.assume_lifetime`.
    #[error("it lives longer than tokens.max_lifetime or tokens.assume_lifetime")]
    LivesTooLong,
    /// `iss` is not `tokens.issuer`.
    #[error("its `iss` is not tokens.issuer")]
    BadIssuer,
    /// `aud` does not name `tokens.audience`, or names one when none is set.
    #[error("its `aud` does not fit tokens.audience")]
    BadAudience,
    /// Taken back, alone or with all of its user's earlier tokens.
    #[error("it has been revoked")]
    Revoked,
}
