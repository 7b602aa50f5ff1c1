//! What to do about each reason.

use portcullis::{api_key::KeyRefusal, authz::Reason, token::Refusal};

/// What an operator or a client can do about a denial.
pub(super) fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::BadHost => "send one host, without user information or blanks",
        Reason::BadPath => "send a path that all servers read alike, or see check.path_allow",
        Reason::BadMethod => "send the method in capitals, as in `DELETE`; in a preflight, too",
        Reason::BadHeader(_) => {
            "take the identity headers out of `Connection`, and send one `Upgrade` that check.upgrades lists; over HTTP, the answer names the header that the proxy has to set or to clear"
        }
        Reason::BadMcp(_) | Reason::BadBody(_) => {
            "see the cause in the log: let the gateway send the whole body, and the client one that all readers read alike"
        }
        Reason::NoRule => "write a rule for this host and path",
        Reason::RuleDenies => "change the rule's access, if this should be possible",
        Reason::Method => "add the method to a rule of this very host and path",
        Reason::Operation => {
            "name the method, tool or model in a rule of this very host and path, or write one without `mcp` and `llm`"
        }
        Reason::NoCredential => {
            "send `Authorization: Bearer TOKEN`; on a WebSocket, the query parameter"
        }
        Reason::AmbiguousCredential => "send one credential, once",
        Reason::CredentialTooLarge => "send a token of at most 8 KiB",
        Reason::CrossSiteCookie => {
            "send a Bearer token, or add the page's origin to tokens.cookie.origins"
        }
        Reason::Token(refusal) => about_token(refusal),
        Reason::Key(refusal) => about_key(refusal),
        Reason::CredentialKind => {
            "send a credential of one of the rule's credentials: a token, or a key"
        }
        Reason::Role => "give the user one of the rule's roles",
        Reason::Issuer => "send a token of one of the rule's issuers",
        Reason::InsufficientScope => {
            "ask the issuer for a token with all the scopes that the answer names"
        }
        Reason::MaxTokens => {
            "ask for at most the rule's llm.max_tokens, and say how many: max_tokens, or what the API calls it"
        }
        Reason::Condition => "see which part of the rule's `when` was not true",
        Reason::NoHttpAttributes => {
            "ask with attributes.request.http, in a message within check.max_message_bytes"
        }
        Reason::NotReady => {
            "wait until the revocations are loaded, and see whether the store can be reached"
        }
        Reason::Internal => "see the log, and report it",
    }
}

fn about_token(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Malformed => {
            "send a whole JWT in compact form; `portcullis token inspect` tells more"
        }
        Refusal::BadAlgorithm => {
            "sign tokens with an algorithm of the issuer's algorithms, which its key is for; own tokens, with that of a key of tokens.keys"
        }
        Refusal::UnknownIssuer => {
            "add the token's `iss` to [[issuers]], to the letter, or set tokens.issuer"
        }
        Refusal::IssuerUnavailable => {
            "see why the issuer's keys cannot be fetched: `portcullis check-config --online` tells"
        }
        Refusal::UnknownKey => {
            "add the key of this `kid` to tokens.keys; an issuer's keys are being fetched again, so try once more"
        }
        Refusal::BadSignature => "sign tokens with a key of the issuer, or of tokens.keys",
        Refusal::MissingClaim => {
            "put exp, sub, userId and role into the token, or say in tokens.claims, or the issuer's claims, what yours are named"
        }
        Refusal::BadClaim => "see the claims' types, and that the role is one of identity.roles",
        Refusal::Expired | Refusal::Revoked => "sign in again",
        Refusal::NotYetValid => "set the clocks right, or raise tokens.leeway",
        Refusal::LivesTooLong => {
            "issue shorter tokens, or raise tokens.max_lifetime, or the issuer's"
        }
        Refusal::BadIssuer => "send a token whose `iss` is tokens.issuer",
        Refusal::BadAudience => {
            "send a token whose `aud` names tokens.audience or one of its issuer's audience, or set that"
        }
    }
}

fn about_key(refusal: KeyRefusal) -> &'static str {
    match refusal {
        KeyRefusal::Malformed => {
            "send the whole key, where api_keys.accept takes it; `portcullis key inspect --offline` tells more"
        }
        KeyRefusal::UnknownId => {
            "see `portcullis key list`, and that api_keys.file is the newest; a key of the store is there within a second"
        }
        KeyRefusal::BadKey => {
            "send the key as it was shown when it was made, and see that its role is one of identity.roles"
        }
        KeyRefusal::NotReady => "wait until the keys of the store are loaded",
        KeyRefusal::Expired | KeyRefusal::Revoked => "make another one: `portcullis key new`",
        KeyRefusal::Address => {
            "use it from one of its `allow`, through a gateway that tells the address (Envoy by gRPC), or make one without"
        }
    }
}
