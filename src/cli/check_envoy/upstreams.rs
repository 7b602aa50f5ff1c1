//! What a route matches, and the clusters that routes lead to.

use super::{found::Found, tree::Node};

/// Portcullis' own paths, with all below them.
const OWN_ROOTS: [&str; 6] =
    ["/sso", "/session", "/v2/login", "/v3/login", "/ui", "/.well-known/oauth-protected-resource"];
/// Its other paths.
const OWN_PATHS: [&str; 4] = [
    "/.well-known/portcullis",
    "/.well-known/jwks.json",
    "/.well-known/litellm-ui-config",
    "/litellm/.well-known/litellm-ui-config",
];
/// The same as `envoy/envoy.yaml` writes them.
const OWN_EXPRESSIONS: [&str; 2] = [
    r"/(sso|session|v[23]/login|ui)(/.*)?",
    r"/\.well-known/(portcullis|jwks\.json)|(/litellm)?/\.well-known/litellm-ui-config",
];
/// What Envoy's own interface says of itself without opening anything.
const OF_ADMIN: [&str; 3] = ["/stats/prometheus", "/stats", "/ready"];

/// Whose the paths of a route are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    /// Portcullis' own.
    Own,
    /// Envoy's, at which it says how it is.
    Envoys,
    /// Anybody's.
    Anybodys,
}

impl Whose {
    /// Of a route's `match`.
    pub(super) fn of(pattern: Option<&Node<'_>>) -> Self {
        let Some(pattern) = pattern else { return Self::Anybodys };
        let path = pattern.text("path").or_else(|| pattern.text("prefix"));
        if is_own(pattern) {
            Self::Own
        } else if path.is_some_and(|path| OF_ADMIN.contains(&path)) {
            Self::Envoys
        } else {
            Self::Anybodys
        }
    }
}

/// Whether a cluster is Envoy's own interface.
pub(super) fn is_admin(cluster: &Node<'_>, found: &Found<'_>) -> bool {
    let ends = endpoints(cluster);
    let admins: Vec<_> = found.admins.iter().filter_map(address).collect();
    !ends.is_empty() && ends.iter().all(|end| admins.contains(end))
}

/// Whether a route's `match` has portcullis' own paths alone.
fn is_own(pattern: &Node<'_>) -> bool {
    let is_root = |path: &str| OWN_ROOTS.contains(&path);
    let is_path = |path: &str| is_root(path) || OWN_PATHS.contains(&path);
    let below = |path: &str| path.strip_suffix('/').is_some_and(is_root);
    let regex = pattern.way(&["safe_regex", "regex"]);
    pattern.text("path").is_some_and(|path| {
        is_path(path) || OWN_ROOTS.iter().any(|root| path.starts_with(&format!("{root}/")))
    }) || pattern.text("path_separated_prefix").is_some_and(is_root)
        || pattern.text("prefix").is_some_and(below)
        || regex.and_then(|regex| regex.as_text()).is_some_and(|it| OWN_EXPRESSIONS.contains(&it))
}

/// Whether a cluster may speak HTTP/2 or later.
pub(super) fn speaks_http2(cluster: &Node<'_>) -> bool {
    let options = cluster.get("typed_extension_protocol_options").map(|options| options.entries());
    let says = |options: &Node<'_>| {
        let explicit = options.get("explicit_http_config");
        let used = options.get("use_downstream_protocol_config");
        let newer = ["http2_protocol_options", "http3_protocol_options"];
        let has = |of: &Node<'_>| newer.iter().any(|field| of.get(field).is_some());
        explicit.as_ref().is_some_and(has)
            || used.as_ref().is_some_and(has)
            || options.get("auto_config").is_some()
    };
    cluster.get("http2_protocol_options").is_some()
        || options.into_iter().flatten().any(|(_, options)| says(&options))
}

/// The addresses of a cluster.
fn endpoints(cluster: &Node<'_>) -> Vec<(String, u64)> {
    let groups = cluster.way(&["load_assignment", "endpoints"]);
    let groups = groups.map(|groups| groups.items()).unwrap_or_default();
    let ends = groups.iter().flat_map(|group| group.list("lb_endpoints"));
    ends.filter_map(|end| address(&end.get("endpoint")?)).collect()
}

/// The address of an endpoint, or of Envoy's interface.
pub(super) fn address(of: &Node<'_>) -> Option<(String, u64)> {
    let socket = of.way(&["address", "socket_address"])?;
    let host = socket.text("address")?.to_owned();
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a port; one that is none is like no other"
    )]
    Some((host, socket.number("port_value")? as u64))
}
