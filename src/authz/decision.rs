//! What was decided, and all that a transport needs to say so.

use std::{borrow::Cow, fmt, sync::Arc};

use serde_json::json;

use super::{
    asks::Asked,
    identity::IdentityHeaders,
    reason::Reason,
    resource::{Answer, Resource},
    rule::Rule,
};
use crate::{
    api_key::KeyId,
    condition::Unmet,
    error_body::{ErrorBody, ErrorKind},
    token::{Claims, Refusal},
};

/// The answer to a [`CheckInput`](super::CheckInput).
#[derive(Debug)]
pub struct Decision<'a> {
    /// The rule that decided, when the request came as far as a rule.
    pub rule: Option<&'a Rule>,
    /// Who it was, when a good token told. Also on a denial for the role.
    pub principal: Option<Principal<'a>>,
    /// What names the key that came with it, whatever that was worth.
    pub key_id: Option<KeyId>,
    /// The part of the rule's condition that was not true.
    pub unmet: Option<Unmet>,
    /// The shadow rules that would have denied.
    pub shadow: Vec<&'a str>,
    /// What was asked of an MCP server or a model, where a rule wanted to know.
    pub asked: Asked<'a>,
    /// May they?
    pub verdict: Verdict<'a>,
}

impl<'a> Decision<'a> {
    /// A denial that no rule had a part in.
    #[must_use]
    pub fn deny(reason: Reason) -> Self {
        Self {
            rule: None,
            principal: None,
            key_id: None,
            unmet: None,
            shadow: Vec::new(),
            asked: Asked::default(),
            verdict: Verdict::Deny(Denial::of(reason)),
        }
    }

    /// An answer of this service itself.
    #[must_use]
    pub(super) fn answer(answer: Answer<'a>) -> Self {
        let verdict = Verdict::Answer(answer);
        Self { verdict, ..Self::deny(Reason::NoRule) }
    }

    /// The name of the rule that decided.
    #[must_use]
    pub fn rule_name(&self) -> Option<&'a str> {
        self.rule.map(|rule| rule.name.as_str())
    }

    /// Whether the request may go on.
    #[must_use]
    pub fn is_allowed(&self) -> bool {
        matches!(self.verdict, Verdict::Allow(_))
    }

    /// `allow`, `deny` or `answer`, as logs, metrics and metadata spell it.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.verdict {
            Verdict::Allow(_) => "allow",
            Verdict::Deny(_) => "deny",
            Verdict::Answer(_) => "answer",
        }
    }

    /// The reason of a denial.
    #[must_use]
    pub fn reason(&self) -> Option<Reason> {
        match &self.verdict {
            Verdict::Allow(_) | Verdict::Answer(_) => None,
            Verdict::Deny(denial) => Some(denial.reason),
        }
    }
}

/// A user, as a good token tells.
#[derive(Clone, Debug)]
pub struct Principal<'a> {
    /// The token's claims.
    pub claims: Arc<Claims>,
    /// The name of the role in the claims.
    pub role: &'a str,
}

/// Allowed or denied.
#[derive(Debug)]
pub enum Verdict<'a> {
    /// The request may go on, changed like this.
    Allow(Grant<'a>),
    /// It may not.
    Deny(Denial),
    /// It goes no further, and is answered here.
    Answer(Answer<'a>),
}

/// What is changed about a request on its way upstream.
#[derive(Default)]
pub struct Grant<'a> {
    /// Headers to set, over any that the client sent.
    pub set: Vec<(&'a str, String)>,
    /// Headers to take off; none of those that are set.
    pub remove: Vec<Cow<'a, str>>,
    /// The names of the headers of a user, whether they are set or not.
    pub identity: Option<&'a IdentityHeaders>,
    /// Headers that are for keys alone: taken off, also by a proxy that can only
    /// empty them.
    pub key_headers: Vec<&'a str>,
    /// Query parameters to take off, as the query spells them.
    pub remove_query: Vec<&'a str>,
    /// Whether the credential goes on as it came, here where that of other
    /// requests does not: a proxy that sets what it is told has to be told that.
    pub keeps_credential: bool,
    /// The cookie of the session, renewed: a `Set-Cookie` for the answer.
    pub set_cookie: Option<String>,
}

impl Grant<'_> {
    /// What is added to the answer to the client. An answer with somebody's cookie
    /// is nobody else's, whatever the upstream lets caches do (RFC 9111, section
    /// 5.2.2.7).
    #[must_use]
    pub fn answer_headers(&self) -> impl DoubleEndedIterator<Item = (&'static str, &str)> {
        let cookie = self.set_cookie.as_deref();
        let both = cookie.map(|cookie| [("set-cookie", cookie), ("cache-control", "private")]);
        both.into_iter().flatten()
    }
}

/// Names alone: a value may be the credential.
impl fmt::Debug for Grant<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant")
            .field("set", &self.set.iter().map(|(name, _)| name).collect::<Vec<_>>())
            .field("remove", &self.remove)
            .field("remove_query", &self.remove_query)
            .finish_non_exhaustive()
    }
}

/// Why a request may not go on, and where its browser is sent instead.
#[derive(Debug)]
pub struct Denial {
    /// The one reason.
    pub reason: Reason,
    /// The sign-in page, for a browser that has yet to sign in.
    pub location: Option<String>,
    /// The scopes that are asked for, divided by blanks, for a token that lacks
    /// one.
    pub scope: Option<String>,
    /// The resource that it is about.
    pub resource: Option<Arc<Resource>>,
}

impl Denial {
    /// A denial for this reason, and no more.
    #[must_use]
    pub fn of(reason: Reason) -> Self {
        Self { reason, location: None, scope: None, resource: None }
    }

    /// The status of the answer.
    #[must_use]
    pub fn status(&self) -> u16 {
        if self.location.is_some() { 302 } else { self.reason.status() }
    }

    /// The headers of the answer.
    #[must_use]
    pub fn headers(&self) -> Vec<(&'static str, Cow<'_, str>)> {
        let mut headers = vec![
            ("content-type", Cow::Borrowed("application/json")),
            ("cache-control", Cow::Borrowed("no-store")),
        ];
        if let Some(location) = &self.location {
            headers.push(("location", Cow::Borrowed(location)));
        } else if let Some(challenge) = self.challenge() {
            headers.push(("www-authenticate", challenge));
        }
        headers
    }

    /// The challenge of a 401 (RFC 6750, section 3), which never says more
    /// than `invalid_token`.
    fn challenge(&self) -> Option<Cow<'static, str>> {
        if let Some(resource) = &self.resource {
            return self.challenge_of(resource).map(Cow::Owned);
        }
        match self.reason {
            Reason::NoCredential => Some(r#"Bearer realm="portcullis""#.into()),
            Reason::InsufficientScope => {
                let scope = self.scope.as_deref().unwrap_or_default();
                Some(format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"").into())
            }
            Reason::Key(_) => Some(
                r#"Bearer realm="portcullis", error="invalid_token", error_description="The API key is malformed, unknown, expired, revoked or not valid here""#
                    .into(),
            ),
            Reason::Token(refusal) if refusal != Refusal::IssuerUnavailable => Some(
                r#"Bearer realm="portcullis", error="invalid_token", error_description="The access token is malformed, expired, revoked or not valid here""#
                    .into(),
            ),
            _ => None,
        }
    }

    /// The same for a resource (RFC 9728, section 5.1), with all scopes of what was asked
    /// for at once.
    fn challenge_of(&self, resource: &Resource) -> Option<String> {
        let error = match self.reason {
            Reason::InsufficientScope => "error=\"insufficient_scope\", ",
            _ if self.reason.status() != 401 => return None,
            Reason::NoCredential => "",
            _ => "error=\"invalid_token\", ",
        };
        let scope = self.scope.as_deref().filter(|scope| !scope.is_empty());
        let scope = scope.map(|scope| format!(", scope=\"{scope}\"")).unwrap_or_default();
        let place = resource.metadata_url();
        Some(format!("Bearer {error}resource_metadata=\"{place}\"{scope}"))
    }

    /// The body of the answer: before an MCP server, an error of JSON-RPC, which is what
    /// its clients read.
    #[must_use]
    pub fn body(&self) -> String {
        let body = self.error();
        if self.resource.is_none() {
            return body.to_json();
        }
        let code = match self.reason.status() {
            400 => -32600,
            401 => -32001,
            403 => -32003,
            _ => -32603,
        };
        let error = json!({ "code": code, "message": body.message });
        json!({ "jsonrpc": "2.0", "id": null, "error": error }).to_string()
    }

    fn error(&self) -> ErrorBody<'static> {
        let (kind, message, param) = match self.reason {
            Reason::BadHost => {
                (ErrorKind::InvalidRequestError, "The host is not valid", Some("host"))
            }
            Reason::BadPath => {
                (ErrorKind::InvalidRequestError, "The path is not valid", Some("path"))
            }
            Reason::BadMethod => {
                (ErrorKind::InvalidRequestError, "The method is not valid", Some("method"))
            }
            Reason::BadHeader(header) => {
                (ErrorKind::InvalidRequestError, "A header is not valid", Some(header))
            }
            Reason::BadMcp(_) | Reason::BadBody(_) => {
                (ErrorKind::InvalidRequestError, "The body is not valid", Some("body"))
            }
            Reason::AmbiguousCredential => {
                (ErrorKind::InvalidRequestError, "More than one credential was sent", None)
            }
            Reason::CredentialTooLarge => {
                (ErrorKind::InvalidRequestError, "The credential is too long", None)
            }
            Reason::NoCredential => (ErrorKind::AuthError, "Authentication is required", None),
            Reason::NotReady | Reason::Token(Refusal::IssuerUnavailable) => {
                (ErrorKind::UnavailableError, "Authorization is not available yet", None)
            }
            Reason::Token(_) => (ErrorKind::AuthError, "Invalid or expired token", None),
            Reason::Key(_) => (ErrorKind::AuthError, "Invalid or expired API key", None),
            Reason::NoRule
            | Reason::RuleDenies
            | Reason::Method
            | Reason::Operation
            | Reason::CrossSiteCookie
            | Reason::CredentialKind
            | Reason::Role
            | Reason::Issuer
            | Reason::InsufficientScope
            | Reason::MaxTokens
            | Reason::Condition
            | Reason::NoHttpAttributes => (ErrorKind::AuthError, "Access denied", None),
            Reason::Internal => (ErrorKind::InternalError, "Authorization failed", None),
        };
        ErrorBody { message, kind, param, code: self.status() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_for_another_token_is_told_so_and_nobody_else() {
        let challenge = |refusal: Refusal| {
            let denial = Denial::of(Reason::Token(refusal));
            let is_told = denial.headers().iter().any(|(name, _)| *name == "www-authenticate");
            (denial.status(), is_told)
        };
        assert_eq!(challenge(Refusal::Expired), (401, true));
        assert_eq!(challenge(Refusal::IssuerUnavailable), (503, false));
    }

    #[test]
    fn what_is_no_fault_of_the_client_is_an_internal_error_of_json_rpc() {
        let servers = ["https://idp.example.com".to_owned()];
        let resource = Resource::new("https://mcp.example.com/mcp", &servers, &[], None).unwrap();
        let denial = Denial::of(Reason::NotReady);
        let denial = Denial { resource: Some(Arc::new(resource)), ..denial };
        assert_eq!(denial.status(), 503);
        assert!(denial.body().contains(r#""code":-32603,"#), "{}", denial.body());
    }
}
