//! Why a request is denied.

use crate::{api_key::KeyRefusal, operation::Unclear, token::Refusal};

/// The one reason of a denial, precise in logs, metrics and metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The host is empty or is none.
    BadHost,
    /// Two servers could read the path differently.
    BadPath,
    /// The method is none, or that of a CORS preflight.
    BadMethod,
    /// This header is not as it has to be: `Connection` names an identity
    /// header, `Upgrade` asks for what is not let through, or a proxy asks over
    /// HTTP by headers that are not its own.
    BadHeader(&'static str),
    /// What is asked of an MCP server cannot be told in one way.
    BadMcp(Unclear),
    /// What is asked of a model cannot be told in one way.
    BadBody(Unclear),
    /// No rule is for this path.
    NoRule,
    /// The rule says `deny`.
    RuleDenies,
    /// There are rules for the path, but none for the method.
    Method,
    /// There are rules for the path, but none for this method of an MCP server, tool or
    /// model.
    Operation,
    /// No credential came with the request.
    NoCredential,
    /// More than one credential, or one that could be read in two ways.
    AmbiguousCredential,
    /// The credential is too long.
    CredentialTooLarge,
    /// A cookie on a request that another site may have made.
    CrossSiteCookie,
    /// The token is not accepted.
    Token(Refusal),
    /// The key is not accepted.
    Key(KeyRefusal),
    /// The rule takes no credential of this kind.
    CredentialKind,
    /// The token's role is not among the rule's.
    Role,
    /// The token is of none of the rule's issuers.
    Issuer,
    /// The token lacks a scope that the rule asks for.
    InsufficientScope,
    /// More tokens are asked for than the rule lets anybody have, or as many as there
    /// are.
    MaxTokens,
    /// The rule's condition is not true.
    Condition,
    /// The question holds no request, or none that can be read.
    NoHttpAttributes,
    /// The service does not know yet who has been shut out.
    NotReady,
    /// The service failed.
    Internal,
}

impl Reason {
    /// Every reason.
    pub const ALL: [Self; 43] = [
        Self::BadHost,
        Self::BadPath,
        Self::BadMethod,
        Self::BadHeader("connection"),
        Self::BadMcp(Unclear::Json),
        Self::BadBody(Unclear::Json),
        Self::NoRule,
        Self::RuleDenies,
        Self::Method,
        Self::Operation,
        Self::NoCredential,
        Self::AmbiguousCredential,
        Self::CredentialTooLarge,
        Self::CrossSiteCookie,
        Self::Token(Refusal::Malformed),
        Self::Token(Refusal::BadAlgorithm),
        Self::Token(Refusal::UnknownIssuer),
        Self::Token(Refusal::IssuerUnavailable),
        Self::Token(Refusal::UnknownKey),
        Self::Token(Refusal::BadSignature),
        Self::Token(Refusal::MissingClaim),
        Self::Token(Refusal::BadClaim),
        Self::Token(Refusal::Expired),
        Self::Token(Refusal::NotYetValid),
        Self::Token(Refusal::LivesTooLong),
        Self::Token(Refusal::BadIssuer),
        Self::Token(Refusal::BadAudience),
        Self::Token(Refusal::Revoked),
        Self::Key(KeyRefusal::Malformed),
        Self::Key(KeyRefusal::UnknownId),
        Self::Key(KeyRefusal::BadKey),
        Self::Key(KeyRefusal::Expired),
        Self::Key(KeyRefusal::Revoked),
        Self::Key(KeyRefusal::Address),
        Self::CredentialKind,
        Self::Role,
        Self::Issuer,
        Self::InsufficientScope,
        Self::MaxTokens,
        Self::Condition,
        Self::NoHttpAttributes,
        Self::NotReady,
        Self::Internal,
    ];

    /// The reason as logs, metrics and metadata spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BadHost => "bad_host",
            Self::BadPath => "bad_path",
            Self::BadMethod => "bad_method",
            Self::BadHeader(_) => "bad_header",
            Self::BadMcp(_) => "bad_mcp",
            Self::BadBody(_) => "bad_body",
            Self::NoRule => "no_rule",
            Self::RuleDenies => "rule_denies",
            Self::Method => "method",
            Self::Operation => "operation",
            Self::NoCredential => "no_credential",
            Self::AmbiguousCredential => "ambiguous_credential",
            Self::CredentialTooLarge => "credential_too_large",
            Self::CrossSiteCookie => "cross_site_cookie",
            Self::Token(Refusal::Malformed) => "malformed_token",
            Self::Token(Refusal::BadAlgorithm) => "bad_algorithm",
            Self::Token(Refusal::UnknownIssuer) => "unknown_issuer",
            Self::Token(Refusal::IssuerUnavailable) => "issuer_unavailable",
            Self::Token(Refusal::UnknownKey) => "unknown_key",
            Self::Token(Refusal::BadSignature) => "bad_signature",
            Self::Token(Refusal::MissingClaim) => "missing_claim",
            Self::Token(Refusal::BadClaim) => "bad_claim",
            Self::Token(Refusal::Expired) => "expired",
            Self::Token(Refusal::NotYetValid) => "not_yet_valid",
            Self::Token(Refusal::LivesTooLong) => "lives_too_long",
            Self::Token(Refusal::BadIssuer) => "bad_issuer",
            Self::Token(Refusal::BadAudience) => "bad_audience",
            Self::Token(Refusal::Revoked) => "revoked",
            Self::Key(refusal) => refusal.as_str(),
            Self::CredentialKind => "credential_kind",
            Self::Role => "role",
            Self::Issuer => "issuer",
            Self::InsufficientScope => "insufficient_scope",
            Self::MaxTokens => "max_tokens",
            Self::Condition => "condition",
            Self::NoHttpAttributes => "no_http_attributes",
            Self::NotReady => "not_ready",
            Self::Internal => "internal",
        }
    }

    /// What the reason comes of, for the log, where there are several causes of one.
    #[must_use]
    pub fn cause(self) -> Option<&'static str> {
        match self {
            Self::BadMcp(unclear) | Self::BadBody(unclear) => Some(unclear.as_str()),
            _ => None,
        }
    }

    /// The HTTP status that the client gets.
    #[must_use]
    pub fn status(self) -> u16 {
        match self {
            Self::BadHost
            | Self::BadPath
            | Self::BadMethod
            | Self::BadHeader(_)
            | Self::BadMcp(_)
            | Self::BadBody(_)
            | Self::AmbiguousCredential
            | Self::CredentialTooLarge => 400,
            Self::NotReady | Self::Token(Refusal::IssuerUnavailable) => 503,
            Self::NoCredential | Self::Token(_) | Self::Key(_) => 401,
            Self::NoRule
            | Self::RuleDenies
            | Self::Method
            | Self::Operation
            | Self::CrossSiteCookie
            | Self::CredentialKind
            | Self::Role
            | Self::Issuer
            | Self::InsufficientScope
            | Self::MaxTokens
            | Self::Condition
            | Self::NoHttpAttributes => 403,
            Self::Internal => 500,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_spelling_of_its_own() {
        let mut spellings: Vec<_> = Reason::ALL.iter().map(|reason| reason.as_str()).collect();
        spellings.sort_unstable();
        spellings.dedup();
        assert_eq!(spellings.len(), Reason::ALL.len());
    }

    #[test]
    fn what_is_unclear_of_a_body_says_why() {
        let (cut, nothing) = (Unclear::Cut, Unclear::Nothing);
        assert_eq!(Reason::BadBody(cut).cause(), Some(cut.as_str()));
        assert_eq!(Reason::BadMcp(nothing).cause(), Some(nothing.as_str()));
        assert_eq!(Reason::NoRule.cause(), None);
    }

    #[test]
    fn no_reason_lets_anybody_through() {
        assert!(Reason::ALL.iter().all(|reason| reason.status() >= 400));
    }
}
