//! `[identity]`: the roles, and the headers by which upstreams know the user.

use std::collections::BTreeMap;

use super::{
    check::{header_name, is_vital},
    reader::Section,
};
use crate::{
    authz::{IdentityHeaders, IdentitySettings},
    token::{Role, Roles},
};

/// Headers that mean something else to everybody.
const TAKEN: [&str; 6] =
    ["authorization", "cookie", "content-type", "origin", "x-forwarded-for", "x-request-id"];

/// `[identity]`.
#[derive(Clone, Debug)]
pub struct IdentityConfig {
    /// The roles, lowest first.
    pub roles: Roles,
    /// The headers.
    pub settings: IdentitySettings,
}

impl IdentityConfig {
    /// `remove` comes from `[check]`. `None` when there was a problem.
    pub(super) fn read(mut section: Section<'_>, remove: Vec<String>) -> Option<Self> {
        let names: Vec<String> = section.get("roles", "a list of names").unwrap_or_default();
        let roles = Roles::new(names)
            .map_err(|error| {
                section.problem("roles", error.to_string(), "list each role once, lowest first");
            })
            .ok();
        let prefix =
            section.parsed("header_prefix", "the beginning of a header's name", header_name);
        let exempt = section.parsed_list("header_exempt", "a header's name", header_name);
        let headers = headers(section.table("headers"));
        if let Some(headers) = &headers {
            let own = |name: &&String| headers.names().any(|own| own == *name);
            if let Some(name) = remove.iter().chain(&exempt).find(own) {
                section.problem(
                    "headers",
                    format!("{name} is an identity header, so it cannot be removed or exempt"),
                    "remove it from check.remove_headers and identity.header_exempt",
                );
            }
        }
        section.finish();
        let settings = IdentitySettings::new(prefix?, exempt, headers?, remove);
        Some(Self { roles: roles?, settings })
    }
}

fn headers(mut section: Section<'_>) -> Option<IdentityHeaders> {
    let mut name = |key| {
        section.parsed(key, "a header's name that has no other meaning", |name| {
            header_name(name).filter(|name| !is_vital(name) && !TAKEN.contains(&name.as_str()))
        })
    };
    let (id, user, email, role) = (name("id"), name("name"), name("email"), name("role"));
    let headers = match (id, user, email, role) {
        (Some(id), Some(name), Some(email), Some(role)) => {
            Some(IdentityHeaders { id, name, email, role })
        }
        _ => None,
    };
    if let Some(headers) = &headers {
        let mut names: Vec<&str> = headers.names().collect();
        names.sort_unstable();
        names.dedup();
        if names.len() != 4 {
            section.problem("", "two identity headers have the same name", "give each its own");
        }
    }
    section.finish();
    headers
}

/// `role_map`: other names of roles, each with its role.
pub(super) fn role_map(section: &mut Section<'_>, roles: Option<&Roles>) -> BTreeMap<String, Role> {
    let named: BTreeMap<String, String> = section
        .get("role_map", "a table of roles, such as { staff = \"REGULAR\" }")
        .unwrap_or_default();
    let Some(roles) = roles else { return BTreeMap::new() };
    let mut map = BTreeMap::new();
    for (value, name) in named {
        match roles.get(&name) {
            Some(role) => drop(map.insert(value, role)),
            None => no_role(section, "role_map", &name, roles),
        }
    }
    map
}

/// Reports a role that there is not.
pub(super) fn no_role(section: &Section<'_>, key: &str, name: &str, roles: &Roles) {
    let cause = format!("{name:?} is not one of identity.roles");
    section.problem(key, cause, format!("use one of: {}", roles.names().join(", ")));
}
