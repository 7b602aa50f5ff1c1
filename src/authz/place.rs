//! A request at its rule, and what stands between the two.

use std::sync::OnceLock;

use super::{
    CheckInput, Engine, Reason,
    asks::Asks,
    facts::{Notes, RequestFacts},
    host::NormalHost,
    identified::Identified,
    path::NormalPath,
    rule::{Access, Rule},
};
use crate::{clock::Timestamp, condition::Unmet};

/// A request, as far as its rule is found.
#[derive(Clone, Copy)]
pub(super) struct Place<'r, 'a> {
    pub(super) engine: &'a Engine,
    pub(super) host: &'r NormalHost<'r>,
    pub(super) path: &'r NormalPath<'r>,
    pub(super) input: &'r CheckInput<'a>,
    pub(super) asks: &'r Asks<'r, 'a>,
    pub(super) now: Timestamp,
    pub(super) notes: Option<&'r Notes>,
}

/// Why a rule does not let a request pass.
pub(super) struct Refused {
    pub(super) reason: Reason,
    pub(super) unmet: Option<Unmet>,
}

impl From<Reason> for Refused {
    fn from(reason: Reason) -> Self {
        Self { reason, unmet: None }
    }
}

impl Place<'_, '_> {
    /// What stands between the request and such a rule.
    pub(super) fn refusal(
        &self,
        rule: &Rule,
        identity: Option<&Result<Identified<'_>, Reason>>,
    ) -> Option<Refused> {
        let is_within = self.asks.is_within(rule);
        let identified = match (rule.access, identity) {
            (Access::Public, _) => return (!is_within).then(|| Reason::MaxTokens.into()),
            (Access::Deny, _) => return Some(Reason::RuleDenies.into()),
            (_, None) => return Some(Reason::NoCredential.into()),
            (_, Some(Err(reason))) => return Some((*reason).into()),
            (_, Some(Ok(identified))) => identified,
        };
        let claims = identified.claims();
        let asked = [
            (rule.needs.admits_kind(identified.kind()), Reason::CredentialKind),
            (rule.needs.admits_issuer(claims.issued_by.as_deref()), Reason::Issuer),
            (rule.access.admits(claims.role), Reason::Role),
            (rule.needs.admits_scope(claims), Reason::InsufficientScope),
            (is_within, Reason::MaxTokens),
        ];
        let reason = asked.into_iter().find_map(|(admits, reason)| (!admits).then_some(reason));
        reason.map(Refused::from).or_else(|| {
            let unmet = self.unmet(rule, identified)?;
            Some(Refused { reason: Reason::Condition, unmet: Some(unmet) })
        })
    }

    /// The part of the rule's condition that is not true, in any of the ways in
    /// which a server could read the path.
    fn unmet(&self, rule: &Rule, identified: &Identified<'_>) -> Option<Unmet> {
        let when = rule.when.as_ref()?;
        let &Place { engine, host, path, input, asks, now, notes } = self;
        when.unmet(path.readings().map(|segments| RequestFacts {
            engine,
            input,
            asks,
            host,
            segments,
            rule,
            identified,
            now,
            notes,
            query: OnceLock::new(),
        }))
    }
}
