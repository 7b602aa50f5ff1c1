//! What to do about each reason.

use portcullis::{api_key::KeyRefusal, authz::Reason, token::Refusal};

/// What an operator or a client can do about a denial.
pub(super) fn advice(reason: Reason) -> &'static str {
    match reason {
        Reason::BadHost => "send one host, without user information or spaces",
        Reason::BadPath => "send a path that all servers read alike, or see check.path_allow",
        Reason::BadMethod => {
            "send the method in capitals, as in `DELETE`; this also applies to a preflight"
        }
        Reason::BadHeader(_) => {
            "remove the identity headers from `Connection`, and send one `Upgrade` that check.upgrades lists; if the gateway asks over HTTP, the answer names the header that the proxy must set or clear"
        }
        Reason::BadMcp(_) | Reason::BadBody(_) => {
            "see the cause in the log: make the gateway send the whole body, and the client a body that all readers read alike"
        }
        Reason::NoRule => "write a rule for this host and path",
        Reason::RuleDenies => "change the rule's access, if such requests should pass",
        Reason::Method => "add the method to a rule with exactly this host and path",
        Reason::Operation => {
            "name the method, tool or model in a rule with exactly this host and path, or add one without `mcp` and `llm`"
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
            "send a credential of a kind that the rule's credentials list: a token, or a key"
        }
        Reason::Role => "give the user one of the rule's roles",
        Reason::Issuer => "send a token of one of the rule's issuers",
        Reason::InsufficientScope => {
            "ask the issuer for a token with all the scopes that the answer names"
        }
        Reason::MaxTokens => {
            "ask for at most the rule's llm.max_tokens, and say how many: max_tokens, or what the API calls it"
        }
        Reason::Condition => "find out which part of the rule's `when` was not true",
        Reason::NoHttpAttributes => {
            "ask with attributes.request.http, in a message within check.max_message_bytes"
        }
        Reason::NotReady => {
            "wait until the revocations are loaded, and check whether the store can be reached"
        }
        Reason::Internal => "see the log, and report it",
    }
}

fn about_token(refusal: Refusal) -> &'static str {
    match refusal {
        Refusal::Malformed => {
            "send a whole JWT in compact form; `portcullis token inspect` says more"
        }
        Refusal::BadAlgorithm => {
            "sign tokens with one of the issuer's algorithms, and with a key for that algorithm; for own tokens, use the algorithm of a key in tokens.keys"
        }
        Refusal::UnknownIssuer => {
            "add the token's `iss` to [[issuers]], exactly as it is written, or set tokens.issuer"
        }
        Refusal::IssuerUnavailable => {
            "find out why the issuer's keys cannot be fetched: `portcullis check-config --online` says why"
        }
        Refusal::UnknownKey => {
            "add the key with this `kid` to tokens.keys; the keys of an issuer are being fetched again, so retry"
        }
        Refusal::BadSignature => "sign tokens with a key of the issuer, or with one of tokens.keys",
        Refusal::MissingClaim => {
            "put exp, sub, userId and role into the token, or set the names of your claims in tokens.claims, or in the issuer's claims"
        }
        Refusal::BadClaim => {
            "check the types of the claims, and that the role is one of identity.roles"
        }
        Refusal::Expired | Refusal::Revoked => "sign in again",
        Refusal::NotYetValid => "correct the clocks, or raise tokens.leeway",
        Refusal::LivesTooLong => {
            "issue tokens with a shorter lifetime, or raise tokens.max_lifetime, or that of the issuer"
        }
        Refusal::BadIssuer => "send a token whose `iss` is tokens.issuer",
        Refusal::BadAudience => {
            "send a token whose `aud` contains tokens.audience, or one of its issuer's audience, or change that setting"
        }
    }
}

fn about_key(refusal: KeyRefusal) -> &'static str {
    match refusal {
        KeyRefusal::Malformed => {
            "send the whole key, in a place that api_keys.accept lists; `portcullis key inspect --offline` says more"
        }
        KeyRefusal::UnknownId => {
            "check `portcullis key list`, and that api_keys.file is up to date; a new key in the store is known within a second"
        }
        KeyRefusal::BadKey => {
            "send the key as it was shown when it was made, and check that its role is one of identity.roles"
        }
        KeyRefusal::NotReady => "wait until the keys of the store are loaded",
        KeyRefusal::Expired | KeyRefusal::Revoked => "make a new key: `portcullis key new`",
        KeyRefusal::Address => {
            "use the key from an address in its `allow`, through a gateway that passes on the address (Envoy over gRPC), or make a key without `allow`"
        }
    }
}
