//! `tokens.claims`, `tokens.role_map` and `tokens.extra`: how the service's own
//! tokens are written.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{identity::role_map, reader::Section};
use crate::token::{
    ClaimNames, Extra, REGISTERED_CLAIMS, RoleNames, Roles, SESSION_CLAIMS, TokenShape,
};

/// Names that a claim of ours may not have.
fn is_taken(name: &str) -> bool {
    name.is_empty() || REGISTERED_CLAIMS.contains(&name) || SESSION_CLAIMS.contains(&name)
}

pub(super) fn read(section: &mut Section<'_>, roles: Option<&Roles>) -> TokenShape {
    let claims = claims(section.table("claims"));
    let map = role_map(section, roles);
    let extra = extra(section, &claims);
    TokenShape { claims, roles: RoleNames::new(map.into_iter().collect()), extra }
}

fn claims(mut section: Section<'_>) -> ClaimNames {
    let mut name = |key| {
        let expected = "a claim's name that has no other meaning";
        let read = |text: &str| (!is_taken(text)).then(|| text.to_owned());
        section.parsed(key, expected, read).unwrap_or_default()
    };
    let names =
        ClaimNames { id: name("id"), name: name("name"), email: name("email"), role: name("role") };
    // The id may be the name as well; who has which role, no one else's word.
    let clash = [&names.id, &names.name, &names.email].contains(&&names.role);
    if clash && !names.role.is_empty() {
        section.problem(
            "role",
            format!("the claim {:?} would contain the role and something else", names.role),
            "name a claim that contains only the role",
        );
    }
    section.finish();
    names
}

fn extra(section: &mut Section<'_>, claims: &ClaimNames) -> Vec<(String, Extra)> {
    let expected = "a table such as { login_method = \"method\" }";
    let values: BTreeMap<String, Value> = section.get("extra", expected).unwrap_or_default();
    for (name, value) in &values {
        if is_taken(name) || claims.iter().any(|own| own == name) {
            section.problem(
                "extra",
                format!("the claim {name:?} has another meaning"),
                "give it another name",
            );
        }
        if value.is_array() || value.is_object() || value.is_null() {
            section.problem(
                "extra",
                format!("{name:?} is not a string, a number, or true or false"),
                "write a fixed value, or one of \"method\", \"id\", \"name\", \"email\" and \"role\"",
            );
        }
    }
    values.into_iter().map(|(name, value)| (name, Extra::new(value))).collect()
}
