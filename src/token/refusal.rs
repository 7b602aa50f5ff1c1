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
    /// The header's `alg` is none that its issuer may use, or not that of the
    /// key which `kid` names.
    #[error("the `alg` of its header is not the algorithm of a key of its issuer")]
    BadAlgorithm,
    /// `iss` is that of no configured issuer.
    #[error("its `iss` is not one of the configured issuers")]
    UnknownIssuer,
    /// The keys of the issuer could not be fetched for too long.
    #[error("the keys of its issuer could not be fetched, or not for longer than stale_for")]
    IssuerUnavailable,
    /// The header's `kid` names no key of the issuer.
    #[error("its issuer has no key with this `kid`")]
    UnknownKey,
    /// No key of the issuer made this signature.
    #[error("its signature was not made with a key of its issuer")]
    BadSignature,
    /// `exp`, the id, the name or the role is not there.
    #[error(
        "a required claim is missing: exp, or one of those that tokens.claims or the issuer's \
         claims name"
    )]
    MissingClaim,
    /// A claim has another type or value than it may have.
    #[error("a claim has a type or value that is not allowed")]
    BadClaim,
    /// `exp` has passed.
    #[error("it has expired")]
    Expired,
    /// `nbf` or `iat` lies ahead.
    #[error("it is not valid yet (`nbf` or `iat` lies ahead)")]
    NotYetValid,
    /// It lives longer than the issuer's `max_lifetime`, or without an `iat` than
    /// `tokens.assume_lifetime`.
    #[error("it lives longer than max_lifetime or tokens.assume_lifetime")]
    LivesTooLong,
    /// `iss` is not `tokens.issuer`.
    #[error("its `iss` is not tokens.issuer")]
    BadIssuer,
    /// `aud` does not name an audience of this service, or names one when none
    /// is set.
    #[error("its `aud` does not match tokens.audience, or the audience of its issuer")]
    BadAudience,
    /// Taken back, alone or with all of its user's earlier tokens.
    #[error("it has been revoked")]
    Revoked,
}
