//! What would be decided of a request of which no more is left than a line of the
//! decision log: never guessed where that depends on something else.

use super::{
    CheckInput, Engine, Headers, Reason,
    host::NormalHost,
    path::NormalPath,
    policy::Found,
    rule::{Access, Rule},
};
use crate::token::Role;

/// Who it was, as far as a log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// Somebody with a good token of this role, and of this issuer if it was not
    /// this service's own.
    Somebody {
        /// Their role.
        role: Role,
        /// The issuer's name.
        issued_by: Option<&'a str>,
    },
    /// Nobody with a good token, for this reason.
    Nobody(Reason),
    /// Nobody with a good token; why is not known.
    NobodyGood,
    /// Nobody has looked.
    Unknown,
}

/// What would be decided.
#[derive(Clone, Copy, Debug)]
pub enum Foreseen<'a> {
    /// It may go on, by this rule.
    Allow(&'a Rule),
    /// It may not, for this reason where that is known, by this rule.
    Deny(Option<Reason>, Option<&'a Rule>),
    /// That depends on what is not known; the rule that would decide.
    Unknown(&'static str, &'a Rule),
}

impl Engine {
    /// What would be decided of a request with this method, host and path, none of
    /// whose headers are known.
    #[must_use]
    pub fn foresee(&self, method: &str, host: &str, path: &str, who: Known<'_>) -> Foreseen<'_> {
        let deny = |reason| Foreseen::Deny(Some(reason), None);
        let input = CheckInput { method, scheme: "", host, path, headers: Headers::default() };
        let Some(host) = NormalHost::parse(input.host) else { return deny(Reason::BadHost) };
        let (path, _) = input.path_and_query();
        let Ok(path) = NormalPath::parse(path, self.path_allow) else {
            return deny(Reason::BadPath);
        };
        if !input.has_good_methods() {
            return deny(Reason::BadMethod);
        }
        match self.find(&host, &path, &input) {
            None => deny(Reason::BadPath),
            Some(Found::Nothing) => deny(Reason::NoRule),
            Some(Found::NoMethod) => deny(Reason::Method),
            Some(Found::Rule(rule) | Found::Preflight(rule)) => judge(rule, method, who),
        }
    }
}

fn judge<'a>(rule: &'a Rule, method: &str, who: Known<'_>) -> Foreseen<'a> {
    match rule.access {
        Access::Public => return Foreseen::Allow(rule),
        Access::Deny => return Foreseen::Deny(Some(Reason::RuleDenies), Some(rule)),
        Access::Authenticated | Access::Roles(_) => {}
    }
    // Where preflights pass, it may have been one.
    if rule.preflight && method == "OPTIONS" {
        return Foreseen::Unknown("Access-Control-Request-Method", rule);
    }
    let (own_role, issued_by) = match who {
        Known::Somebody { role, issued_by } => (role, issued_by),
        Known::Nobody(reason) => return Foreseen::Deny(Some(reason), Some(rule)),
        Known::NobodyGood => return Foreseen::Deny(None, Some(rule)),
        Known::Unknown => return Foreseen::Unknown("who it was", rule),
    };
    if !rule.needs.admits_issuer(issued_by) {
        Foreseen::Deny(Some(Reason::Issuer), Some(rule))
    } else if !rule.access.admits(own_role) {
        Foreseen::Deny(Some(Reason::Role), Some(rule))
    } else if rule.needs.scopes.is_empty() {
        Foreseen::Allow(rule)
    } else {
        Foreseen::Unknown("the scopes", rule)
    }
}
