//! `[http]`, `[internal]`, `[store]`, `[login]`, `[sso]` and `[[workers]]`.
//!
//! Of these the checks need the origins whose pages may use the cookie. What
//! else they hold is held to its form, so that a file written for a later
//! version is understood by this one, which says that it has no effect.

use std::{collections::BTreeMap, net::SocketAddr};

use ipnet::IpNet;
use url::Url;

use super::reader::Section;
use crate::authz::Origin;

/// What the checks need to know of the sign-in.
#[derive(Clone, Debug)]
pub struct SignInConfig {
    /// `http.public_url`: how browsers reach the sign-in.
    pub public_url: Option<Url>,
    /// The origin of `login.control_plane_url`.
    pub control_plane: Option<Origin>,
}

pub(super) fn read(root: &mut Section<'_>) -> SignInConfig {
    for key in ["store", "login", "sso", "internal"] {
        let section = root.table(key);
        if section.is_any_set() {
            no_effect(&section);
        }
    }
    let public_url = http(root.table("http"));
    internal(root.table("internal"));
    store(root.table("store"));
    let control_plane = login(root.table("login"));
    sso(root.table("sso"));
    for mut worker in root.tables("workers") {
        no_effect(&worker);
        for key in ["worker_id", "name"] {
            worker.text(key, "text");
        }
        worker.parsed("url", URL, web_url);
        worker.finish();
    }
    SignInConfig { public_url, control_plane }
}

const URL: &str = "an http(s) URL without credentials, query and fragment";
const ADDRESS: &str = "an address such as \"0.0.0.0:8080\"";
const NETWORK: &str = "a network such as \"10.0.0.0/8\"";

fn no_effect(section: &Section<'_>) {
    section.warn(
        "",
        "this version answers checks and does not sign people in: the section has no effect",
        "leave it for a later version, or remove it",
    );
}

fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then_some(url)
}

fn address(text: &str) -> Option<SocketAddr> {
    text.parse().ok()
}

fn network(text: &str) -> Option<IpNet> {
    text.parse().ok()
}

fn http(mut section: Section<'_>) -> Option<Url> {
    section.parsed("listen", ADDRESS, address);
    let public_url = section.parsed("public_url", URL, web_url);
    section.parsed_list("trusted_proxies", NETWORK, network);
    section.get::<BTreeMap<String, String>>("tls", "a table of cert_file and key_file");
    section.finish();
    public_url
}

fn internal(mut section: Section<'_>) {
    section.parsed("listen", ADDRESS, address);
    section.parsed_list("peers", NETWORK, network);
    section.finish();
}

fn store(mut section: Section<'_>) {
    const KINDS: [&str; 4] = ["memory", "redis", "redis-cluster", "redis-sentinel"];
    let kind = section.parsed("kind", &format!("one of {}", KINDS.join(", ")), |kind| {
        KINDS.into_iter().find(|known| *known == kind)
    });
    if kind.is_some_and(|kind| kind != "memory") {
        // Without its list, tokens that were revoked would be let through.
        section.problem(
            "kind",
            "this version loads no revocations from a store",
            "write kind = \"memory\"",
        );
    }
    for key in ["url", "prefix", "master"] {
        section.text(key, "text");
    }
    for key in ["urls", "sentinels"] {
        section.get::<Vec<String>>(key, "a list of URLs");
    }
    section.duration("timeout");
    section.get::<bool>("require_at_start", "true or false");
    section.finish();
}

fn login(mut section: Section<'_>) -> Option<Origin> {
    let control_plane = section.parsed("control_plane_url", URL, web_url);
    section.get::<Vec<String>>("return_to_paths", "a list of paths");
    section.parsed_list("return_to_origins", "an origin", Origin::parse);
    section.path("users_file");
    section.get::<Vec<String>>("roles", "a list of roles");
    section.duration("code_ttl");
    let mut limits = section.table("limits");
    limits.get::<u32>("failures", "a number");
    limits.get::<u32>("failures_per_address", "a number");
    limits.duration("window");
    limits.duration("lockout");
    limits.finish();
    section.finish();
    control_plane.and_then(|url| Origin::parse(url.as_str()))
}

fn sso(mut section: Section<'_>) {
    for key in ["issuer", "client_id", "client_auth", "default_role", "role_claim"] {
        section.text(key, "text");
    }
    section.secret("client_secret", "client_secret_file");
    section.get::<Vec<String>>("scopes", "a list of scopes");
    if section.is_set("state_ttl") {
        section.duration("state_ttl");
    }
    section.get::<bool>("link_by_email", "true or false");
    section.get::<BTreeMap<String, String>>("role_map", "a table of roles");
    section.finish();
}
