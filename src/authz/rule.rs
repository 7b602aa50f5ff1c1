//! A rule: which requests it is for, and who may make them.

use std::{mem, sync::Arc};

use super::{
    carried::CredentialKind,
    credential::Forward,
    pattern::{HostPattern, PathPattern},
    resource::Resource,
};
use crate::{
    condition::Condition,
    operation::{LlmRule, McpRule},
    token::{Claims, Role, RoleSet},
};

/// Who may make a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody. Who brings a good token is known to the upstream.
    Public,
    /// Who brings a good token.
    Authenticated,
    /// Who brings a good token of one of these roles.
    Roles(RoleSet),
    /// Nobody.
    Deny,
}

impl Access {
    /// Whether a bearer of this role may pass.
    #[must_use]
    pub fn admits(self, role: Role) -> bool {
        match self {
            Self::Public | Self::Authenticated => true,
            Self::Roles(roles) => roles.contains(role),
            Self::Deny => false,
        }
    }
}

/// What a rule asks of a good credential, beside a role.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// The scopes that it must have, all of them (RFC 6749, section 3.3).
    pub scopes: Vec<String>,
    /// Whose it must be, one of these; none for anybody's.
    pub issuers: Vec<IssuedBy>,
    /// What it must be, one of these; none for anything.
    pub credentials: Vec<CredentialKind>,
}

/// Whose a token is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IssuedBy {
    /// This service's own.
    Own,
    /// Of the issuer of this name.
    Issuer(String),
}

impl Needs {
    /// Whether a token of this issuer, or of this service, will do.
    #[must_use]
    pub fn admits_issuer(&self, issued_by: Option<&str>) -> bool {
        let is = |issuer: &IssuedBy| match (issuer, issued_by) {
            (IssuedBy::Own, None) => true,
            (IssuedBy::Issuer(name), Some(issued_by)) => name == issued_by,
            _ => false,
        };
        self.issuers.is_empty() || self.issuers.iter().any(is)
    }

    /// Whether a credential of this kind will do.
    #[must_use]
    pub fn admits_kind(&self, kind: CredentialKind) -> bool {
        self.credentials.is_empty() || self.credentials.contains(&kind)
    }

    /// Whether the token has all the scopes.
    #[must_use]
    pub fn admits_scope(&self, claims: &Claims) -> bool {
        let has = |scope: &String| {
            let own = claims.scope.as_deref().unwrap_or_default();
            own.split(' ').any(|own| own == scope)
        };
        self.scopes.iter().all(has)
    }
}

/// What requests of a rule ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wants {
    /// Of an MCP server.
    Mcp(McpRule),
    /// Of a model.
    Llm(LlmRule),
}

impl Wants {
    /// Whether nobody could tell which of two rules a request is for: also where a
    /// body would have to be read in two ways.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Mcp(one), Self::Mcp(other)) => one.collides(other),
            (Self::Llm(one), Self::Llm(other)) => one.collides(other),
            _ => true,
        }
    }

    /// Whether they read the same body in two ways.
    #[must_use]
    pub fn reads_otherwise(&self, other: &Self) -> bool {
        mem::discriminant(self) != mem::discriminant(other)
    }
}

/// One rule.
#[derive(Clone, Debug)]
pub struct Rule {
    /// Its name in logs, metrics and metadata; unique.
    pub name: String,
    /// Where it applies; never empty.
    pub hosts: Vec<HostPattern>,
    /// Where it applies.
    pub path: PathPattern,
    /// The methods it lists; none means any.
    pub methods: Vec<String>,
    /// Who may pass.
    pub access: Access,
    /// What else their token must have.
    pub needs: Needs,
    /// What a request has to ask for, so that it is this rule's business.
    pub wants: Option<Wants>,
    /// What it guards, so that clients are told where to get a token; where other rules
    /// are at the same place, they guard it, too.
    pub resource: Option<Arc<Resource>>,
    /// What else has to be true of the request.
    pub when: Option<Arc<Condition>>,
    /// The variables of its template: which segment each is, and its name.
    pub variables: Vec<(usize, String)>,
    /// Whether CORS preflights of a method that it covers pass.
    pub preflight: bool,
    /// How the credential goes on, where that is not the same as everywhere.
    pub forward: Option<Forward>,
    /// Never decides: what it would have decided is told.
    pub shadow: bool,
    /// Its place among the rules that decide; the policy sets it.
    pub number: usize,
}

impl Rule {
    /// Whether requests of this method are its business.
    #[must_use]
    pub fn covers(&self, method: &str) -> bool {
        self.methods.is_empty() || self.methods.iter().any(|listed| listed == method)
    }
}
