//! `[login]`, `[sso]` and `[[workers]]`.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use url::Url;

use super::{
    http::{URL, web_url},
    reader::Section,
};
use crate::{
    authz::Origin,
    login::{Accounts, LimitSettings},
    store::Limit,
    token::{RoleSet, Roles},
    workers::Worker,
};

/// `[login]`.
#[derive(Clone, Debug)]
pub struct LoginConfig {
    /// The control plane whose page signs people in here.
    pub control_plane: Option<Url>,
    /// The accounts' file.
    pub users_file: Option<PathBuf>,
    /// The accounts in it.
    pub accounts: Accounts,
    /// Who may sign in.
    pub roles: RoleSet,
    /// How long a code lives.
    pub code_ttl: Duration,
    /// When guessing ends.
    pub limits: LimitSettings,
}

impl LoginConfig {
    /// `None` when there was a problem.
    pub(super) fn read(mut section: Section<'_>, roles: Option<&Roles>) -> Option<Self> {
        let control_plane = section.parsed("control_plane_url", URL, web_url);
        section.get::<Vec<String>>("return_to_paths", "a list of paths");
        section.parsed_list("return_to_origins", "an origin", Origin::parse);
        let users_file = section.path("users_file");
        let named: Vec<String> = section.get("roles", "a list of roles").unwrap_or_default();
        let code_ttl = section.duration("code_ttl");
        let limits = limits(section.table("limits"));
        let roles = roles?;
        // The defaults name roles that other lists of roles need not have.
        let is_given = section.is_set("roles");
        for name in named.iter().filter(|name| is_given && roles.get(name).is_none()) {
            let cause = format!("{name:?} is not one of identity.roles");
            section.problem("roles", cause, format!("use one of: {}", roles.names().join(", ")));
        }
        let accounts = users_file
            .as_ref()
            .map_or_else(|| Ok(Accounts::default()), |file| Accounts::load(file, roles));
        let accounts = accounts.map_err(|problems| {
            for problem in problems {
                section.problem(
                    "users_file",
                    problem,
                    "correct the file; `portcullis hash-password` makes a hash",
                );
            }
        });
        section.finish();
        Some(Self {
            control_plane,
            users_file,
            accounts: accounts.ok()?,
            roles: named.iter().filter_map(|name| roles.get(name)).collect(),
            code_ttl,
            limits,
        })
    }
}

fn limits(mut section: Section<'_>) -> LimitSettings {
    let number = "a number of at least 1";
    let name = section.get("failures", number).unwrap_or(0);
    let address = section.get("failures_per_address", number).unwrap_or(0);
    let window = section.duration("window");
    let lockout = section.duration("lockout");
    for (key, tries) in [("failures", name), ("failures_per_address", address)] {
        if tries == 0 {
            section.problem(key, "nobody could sign in", format!("write {number}"));
        }
    }
    for (key, span) in [("window", window), ("lockout", lockout)] {
        if span.is_zero() {
            section.problem(key, "nothing would be counted", "write a duration such as \"60s\"");
        }
    }
    section.finish();
    let limit = |tries| Limit { tries, window, lockout };
    LimitSettings { name: limit(name), address: limit(address) }
}

/// `[[workers]]`.
pub(super) fn workers(root: &mut Section<'_>) -> Vec<Worker> {
    let mut workers: Vec<Worker> = Vec::new();
    for mut section in root.tables("workers") {
        let id = section.text("worker_id", "a short name");
        let name = section.text("name", "a name for people");
        let url = section.parsed("url", URL, web_url);
        for key in ["worker_id", "name", "url"] {
            if !section.has(key) {
                section.problem(key, "the worker lacks it", "give a worker_id, a name and a url");
            }
        }
        if let Some(id) = &id
            && (id.is_empty() || workers.iter().any(|other| other.worker_id == *id))
        {
            let cause = format!("the worker_id {id:?} is empty or used twice");
            section.problem("worker_id", cause, "give each worker an id of its own");
        }
        section.finish();
        if let (Some(worker_id), Some(name), Some(url)) = (id, name, url) {
            workers.push(Worker {
                worker_id,
                name,
                url: url.as_str().trim_end_matches('/').into(),
            });
        }
    }
    workers
}

/// `[sso]`, which has no effect yet: held to its form, so that a file that was
/// written for a later version is understood, and says so.
pub(super) fn sso(mut section: Section<'_>) {
    if section.is_any_set() {
        section.warn(
            "",
            "this version has no single sign-on: the section has no effect",
            "leave it for a later version, or remove it",
        );
    }
    for key in ["issuer", "client_id", "client_auth", "default_role", "role_claim"] {
        section.text(key, "text");
    }
    section.secret("client_secret", "client_secret_file");
    section.get::<Vec<String>>("scopes", "a list of scopes");
    if section.has("state_ttl") {
        section.duration("state_ttl");
    }
    section.get::<bool>("link_by_email", "true or false");
    section.get::<BTreeMap<String, String>>("role_map", "a table of roles");
    section.finish();
}
