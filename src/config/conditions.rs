//! `when`: the conditions of rules.

use std::{collections::BTreeSet, sync::Arc};

use super::{CheckConfig, IdentityConfig, issuers::IssuerConfig, reader::Section};
use crate::{
    authz::{Access, IdentitySettings, IssuedBy, Needs, is_hidden_header},
    condition::{Always, Condition, Domain, Scope},
    token::Roles,
};

/// What `when` is.
pub(super) const EXPECTED: &str = "a condition such as 'path.id == user.id'";
/// What may be asked of a rule that has one.
const FIX: &str = "correct it, and see \"Conditions\" in the book";

/// What conditions may ask for, whatever their rule.
pub(super) struct MayRead<'m> {
    /// `check.context`.
    pub(super) context: &'m [(String, String)],
    /// The headers that are kept from them.
    pub(super) identity: Option<&'m IdentitySettings>,
}

impl<'m> MayRead<'m> {
    pub(super) fn new(check: &'m CheckConfig, identity: Option<&'m IdentityConfig>) -> Self {
        let identity = identity.map(|identity| &identity.settings);
        Self { context: &check.context, identity }
    }
}

/// The rule that a condition belongs to.
pub(super) struct About<'a> {
    pub(super) variables: &'a [(usize, String)],
    pub(super) methods: &'a [String],
    pub(super) needs: &'a Needs,
    pub(super) access: Access,
    pub(super) roles: &'a Roles,
    pub(super) issuers: &'a [IssuerConfig],
}

/// Reads the condition of a rule; what is wrong with it is a problem.
pub(super) fn read(
    section: &mut Section<'_>,
    about: &About<'_>,
    may_read: &MayRead<'_>,
) -> Option<Arc<Condition>> {
    let text = section.text("when", EXPECTED)?;
    if matches!(about.access, Access::Public | Access::Deny) {
        let cause = "a public rule, or one that denies, cannot have a condition";
        section.problem("when", cause, "leave it out, or write roles");
        return None;
    }
    let path: Vec<&str> = about.variables.iter().map(|(_, name)| name.as_str()).collect();
    if path.iter().collect::<BTreeSet<_>>().len() != path.len() {
        let cause = "two variables of the template have the same name";
        section.problem("path_template", cause, "give each variable its own name");
        return None;
    }
    let context: Vec<&str> = may_read.context.iter().map(|(name, _)| name.as_str()).collect();
    let is_hidden =
        |name: &str| may_read.identity.is_none_or(|identity| is_hidden_header(name, identity));
    let scope = Scope { path: &path, context: &context, is_hidden: &is_hidden };
    match Condition::parse(&text, &scope) {
        Ok(condition) => {
            warn_of_always(section, &condition, about);
            Some(Arc::new(condition))
        }
        Err(troubles) => {
            for trouble in troubles {
                section.problem("when", trouble.to_string(), FIX);
            }
            None
        }
    }
}

fn warn_of_always(section: &Section<'_>, condition: &Condition, about: &About<'_>) {
    let all_roles = about.roles.names().iter().map(String::as_str);
    let admitted = all_roles
        .filter(|name| about.roles.get(name).is_some_and(|role| about.access.admits(role)));
    let issuers: Vec<&str> = if about.needs.issuers.is_empty() {
        let known = about.issuers.iter().map(|issuer| &*issuer.settings.name);
        known.chain(["own"]).collect()
    } else {
        let named = about.needs.issuers.iter().map(|issuer| match issuer {
            IssuedBy::Own => "own",
            IssuedBy::Issuer(name) => name,
        });
        named.collect()
    };
    let methods = about.methods.iter().map(String::as_str).collect();
    let (cause, fix) = match condition.always(&Domain {
        methods,
        roles: admitted.collect(),
        issuers,
    }) {
        None => return,
        Some(Always::True) => {
            ("it is true for every request that this rule applies to", "leave it out")
        }
        Some(Always::NotTrue) => (
            "it is true for no request that this rule applies to, so the rule denies all of them",
            "check the roles, methods and issuers of the rule",
        ),
    };
    section.warn("when", cause, fix);
}
