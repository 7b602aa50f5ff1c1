//! What would be decided of a request of which no more is left than a line of the
//! decision log: never guessed where that depends on something else.

use std::{
    borrow::Cow,
    sync::{Arc, OnceLock},
};

use super::{
    CheckInput, CredentialKind, Engine, Reason,
    facts::{all_segments, path, present, variable},
    host::NormalHost,
    path::NormalPath,
    policy::Found,
    resource::Resource,
    rule::{Access, Rule},
};
use crate::{
    condition::{Fact, Facts, Object, Unmet, Unreadable},
    token::Role,
};

/// Who it was, as far as a log tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Known<'a> {
    /// Somebody with a good credential.
    Somebody(Somebody<'a>),
    /// Nobody with a good token, for this reason.
    Nobody(Reason),
    /// Nobody with a good token; why is not known.
    NobodyGood,
    /// Nobody has looked.
    Unknown,
}

/// Somebody with a good token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Somebody<'a> {
    /// Their id.
    pub id: &'a str,
    /// Their role.
    pub role: Role,
    /// The issuer's name; none for this service's own.
    pub issued_by: Option<&'a str>,
    /// What they proved themselves by.
    pub kind: CredentialKind,
}

/// What would be decided.
#[derive(Clone, Debug)]
pub enum Foreseen<'a> {
    /// It may go on, by this rule.
    Allow(&'a Rule),
    /// It may not, for this reason where that is known, by this rule.
    Deny(Option<Reason>, Option<&'a Rule>),
    /// That depends on what is not known; the rule that would decide.
    Unknown(Cow<'static, str>, &'a Rule),
}

impl Engine {
    /// What would be decided of a request with this method, host and path, none of
    /// whose headers are known.
    #[must_use]
    pub fn foresee(&self, method: &str, host: &str, path: &str, who: Known<'_>) -> Foreseen<'_> {
        let deny = |reason| Foreseen::Deny(Some(reason), None);
        let input = CheckInput { method, host, path, ..CheckInput::default() };
        let Some(host) = NormalHost::parse(input.host) else { return deny(Reason::BadHost) };
        let (path, _) = input.path_and_query();
        let Ok(path) = NormalPath::parse(path, self.path_allow) else {
            return deny(Reason::BadPath);
        };
        if !input.has_good_methods() {
            return deny(Reason::BadMethod);
        }
        if self.policy.answer(&host, path.segments(), method).is_some() {
            return Foreseen::Deny(None, None);
        }
        let asking = path.readings().find_map(|it| self.policy.asking(&host, it, method));
        if let Some(rule) = asking {
            return Foreseen::Unknown("what it asked for".into(), rule);
        }
        match self.find(&host, &path, &input, None) {
            None => deny(Reason::BadPath),
            Some(Found::Nothing) => deny(Reason::NoRule),
            Some(Found::NoMethod) => deny(Reason::Method),
            Some(Found::NoOperation) => deny(Reason::Operation),
            Some(Found::Unclear(reason)) => deny(reason),
            Some(Found::Rule(rule) | Found::Preflight(rule)) => {
                let resource = self.policy.resource(&host, path.segments());
                let left = Left { engine: self, method, host: &host, path: &path, resource };
                match left.judge(rule, who) {
                    Foreseen::Allow(rule) => self.foresee_also(rule, &left, &input, who),
                    other => other,
                }
            }
        }
    }

    /// What is allowed by its rule, and may not be by that of another reading of its path.
    fn foresee_also<'a>(
        &'a self,
        rule: &'a Rule,
        left: &Left<'_>,
        input: &CheckInput<'_>,
        who: Known<'_>,
    ) -> Foreseen<'a> {
        let Ok(also) = self.loosely(left.host, left.path, input, None) else {
            return Foreseen::Deny(Some(Reason::BadPath), None);
        };
        // Which of the rules there would decide depends on more than the path.
        if !also.is_empty() && self.policy.reads_bodies() {
            return Foreseen::Unknown("what it asked for".into(), rule);
        }
        for it in also {
            if let Some(reason) = it.refuses_all() {
                return Foreseen::Deny(Some(reason), None);
            }
            let Some(rule) = it.rule() else { continue };
            match (Left { path: &it.path, resource: it.resource, ..*left }).judge(rule, who) {
                Foreseen::Allow(_) => {}
                other => return other,
            }
        }
        Foreseen::Allow(rule)
    }
}

/// What is left of a request, and its rule.
struct Left<'r> {
    engine: &'r Engine,
    method: &'r str,
    host: &'r NormalHost<'r>,
    path: &'r NormalPath<'r>,
    resource: Option<&'r Arc<Resource>>,
}

impl Left<'_> {
    fn judge<'a>(&self, rule: &'a Rule, who: Known<'_>) -> Foreseen<'a> {
        match rule.access {
            Access::Public => return Foreseen::Allow(rule),
            Access::Deny => return Foreseen::Deny(Some(Reason::RuleDenies), Some(rule)),
            Access::Authenticated | Access::Roles(_) => {}
        }
        // Where preflights pass, it may have been one.
        if rule.preflight && self.method == "OPTIONS" {
            return Foreseen::Unknown("Access-Control-Request-Method".into(), rule);
        }
        let somebody = match who {
            Known::Somebody(somebody) => somebody,
            Known::Nobody(reason) => return Foreseen::Deny(Some(reason), Some(rule)),
            Known::NobodyGood => return Foreseen::Deny(None, Some(rule)),
            Known::Unknown => return Foreseen::Unknown("who it was".into(), rule),
        };
        if !rule.needs.admits_kind(somebody.kind) {
            Foreseen::Deny(Some(Reason::CredentialKind), Some(rule))
        } else if !rule.needs.admits_issuer(somebody.issued_by) {
            Foreseen::Deny(Some(Reason::Issuer), Some(rule))
        } else if !rule.access.admits(somebody.role) {
            Foreseen::Deny(Some(Reason::Role), Some(rule))
        } else if !rule.needs.scopes.is_empty() {
            Foreseen::Unknown("the scopes".into(), rule)
        } else {
            match self.resource {
                Some(_) if somebody.kind == CredentialKind::Token => {
                    Foreseen::Unknown("the token's audience".into(), rule)
                }
                _ => self.try_condition(rule, somebody),
            }
        }
    }

    /// What a condition says for sure: what is not known counts as failed, and
    /// what is true all the same, or false all the same, is so whatever it was.
    fn try_condition<'a>(&self, rule: &'a Rule, somebody: Somebody<'_>) -> Foreseen<'a> {
        let Some(when) = &rule.when else { return Foreseen::Allow(rule) };
        for segments in self.path.readings() {
            let facts = LogFacts { left: self, segments, rule, somebody, unknown: OnceLock::new() };
            match (when.unmet([&facts]), facts.unknown.get()) {
                (None, _) => {}
                (Some(Unmet { failure: Some(_), .. }), Some(what)) => {
                    return Foreseen::Unknown(what.clone().into(), rule);
                }
                (Some(_), _) => return Foreseen::Deny(Some(Reason::Condition), Some(rule)),
            }
        }
        Foreseen::Allow(rule)
    }
}

/// What a line tells of the values that a condition reads.
struct LogFacts<'r> {
    left: &'r Left<'r>,
    segments: &'r [Cow<'r, str>],
    rule: &'r Rule,
    somebody: Somebody<'r>,
    /// The first value that the line does not tell.
    unknown: OnceLock<String>,
}

impl Facts for LogFacts<'_> {
    fn get(&self, of: Object, name: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        let fact = match (of, name) {
            (Object::Request, "method") => present(self.left.method),
            (Object::Request, "host") => present(self.left.host.as_str()),
            (Object::Request, "path") => Some(path(self.segments)),
            (Object::Request, "segments") => Some(all_segments(self.segments)),
            (Object::Path, name) => variable(self.rule, self.segments, name),
            (Object::User, "id") => present(self.somebody.id),
            (Object::User, "role") => {
                present(self.left.engine.verifier.roles().name(self.somebody.role))
            }
            (Object::User, "issuer") => present(self.somebody.issued_by.unwrap_or("own")),
            _ => {
                let _ = self.unknown.set(format!("{}.{name}", of.as_str()));
                return Err(Unreadable("the log does not hold it"));
            }
        };
        Ok(fact)
    }

    fn names(&self, of: Object) -> Result<Vec<Cow<'_, str>>, Unreadable> {
        if of == Object::Path {
            return Ok(self.rule.variables.iter().map(|(_, name)| name.as_str().into()).collect());
        }
        let _ = self.unknown.set(of.as_str().to_owned());
        Err(Unreadable("the log does not hold it"))
    }
}
