//! `[login]` and `[[workers]]`.

use std::{path::PathBuf, time::Duration};

use url::Url;

use super::{
    http::{URL, web_url},
    reader::Section,
    tokens::CookieConfig,
};
use crate::{
    login::{Accounts, LimitSettings},
    store::Limit,
    token::{RoleSet, Roles},
    workers::Worker,
};

const PATH: &str = "a path such as \"/ui/login/\"";
const ORIGIN: &str = "an origin such as \"https://app.example.com\"";

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
    /// The paths of the control plane's pages that a code may be sent to.
    pub return_to_paths: Vec<String>,
    /// Further origins that may be returned to, without a code.
    pub return_to_origins: Vec<url::Origin>,
}

impl LoginConfig {
    /// `None` when there was a problem.
    pub(super) fn read(mut section: Section<'_>, roles: Option<&Roles>) -> Option<Self> {
        let control_plane = section.parsed("control_plane_url", URL, web_url);
        let return_to_paths = section.parsed_list("return_to_paths", PATH, |path| {
            // As a browser writes it, or it would never be met.
            let url = Url::parse("http://localhost").and_then(|base| base.join(path)).ok()?;
            (path.starts_with('/') && url.path() == path).then(|| path.to_owned())
        });
        let return_to_origins = section.parsed_list("return_to_origins", ORIGIN, |text| {
            let url = web_url(text).filter(|url| url.path() == "/")?;
            Some(url.origin())
        });
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
        if let Some(file) = &users_file {
            section.reads(file);
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
        if let Ok(accounts) = &accounts
            && accounts.count_costs() > 1
        {
            section.warn(
                "users_file",
                format!(
                    "its hashes have {} different costs, and a sign-in computes one hash of each \
                     cost, so that its duration does not reveal which names exist",
                    accounts.count_costs()
                ),
                "hash all passwords with one cost, as `portcullis hash-password` does",
            );
        }
        section.finish();
        Some(Self {
            control_plane,
            users_file,
            accounts: accounts.ok()?,
            roles: named.iter().filter_map(|name| roles.get(name)).collect(),
            code_ttl,
            limits,
            return_to_paths,
            return_to_origins,
        })
    }
}

/// Warns of origins that a sign-in may return to, and that the cookie does
/// not reach: whoever came from there would be sent to sign in for ever.
pub(super) fn check_origins(
    section: &Section<'_>,
    login: &LoginConfig,
    public_url: &Url,
    cookie: &CookieConfig,
) {
    let own = public_url.host_str().unwrap_or_default();
    let domain = cookie.domain.as_deref().map(|domain| domain.trim_start_matches('.'));
    for origin in &login.return_to_origins {
        let url::Origin::Tuple(_, host, _) = origin else { continue };
        let host = host.to_string();
        let is_below = |domain: &str| {
            host == domain || host.strip_suffix(domain).is_some_and(|rest| rest.ends_with('.'))
        };
        if host != own && !domain.is_some_and(is_below) {
            section.warn(
                "return_to_origins",
                format!("{host} does not receive the cookie of {own}, and gets no code either"),
                "set tokens.cookie.domain to the domain that both hosts share",
            );
        }
    }
}

fn limits(mut section: Section<'_>) -> LimitSettings {
    let number = "a number of at least 1";
    let [name, address, anywhere] =
        ["failures", "failures_per_address", "failures_per_name"].map(|key| {
            let tries = section.get(key, number).unwrap_or(0);
            if tries == 0 {
                section.problem(key, "nobody could sign in", format!("write {number}"));
            }
            tries
        });
    let window = section.duration("window");
    let lockout = section.duration("lockout");
    for (key, span) in [("window", window), ("lockout", lockout)] {
        if span.is_zero() {
            section.problem(
                key,
                "no failures would be counted",
                "write a duration such as \"60s\"",
            );
        }
    }
    if anywhere < name {
        section.warn(
            "failures_per_name",
            "a single address could lock a name for every address that has not signed in with it",
            "write at least login.limits.failures, preferably twenty times as much",
        );
    }
    section.finish();
    let limit = |tries| Limit { tries, window, lockout };
    LimitSettings { name: limit(name), address: limit(address), name_anywhere: limit(anywhere) }
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
                section.problem(
                    key,
                    "the worker does not have it",
                    "give a worker_id, a name and a url",
                );
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
