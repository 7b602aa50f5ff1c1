//! The HTTP filters of a connection manager, or of an upgrade, in their order.

use super::{
    asking::{self, NAMESPACE},
    found::Found,
    module, names,
    report::Report,
    tree::Node,
};

/// Filters that let a request through as it is, or refuse it, and hand out nothing that
/// is guarded.
const HARMLESS: [&str; 39] = [
    "a2a",
    "adaptive_concurrency",
    "admission_control",
    "alternate_protocols_cache",
    "bandwidth_limit",
    "bandwidth_share",
    "body_size_limit",
    "buffer",
    "cdn_loop",
    "compressor",
    "connect_grpc_bridge",
    "cors",
    "csrf",
    "custom_response",
    "decompressor",
    "fault",
    "file_system_buffer",
    "geoip",
    "grpc_field_extraction",
    "grpc_http1_bridge",
    "grpc_stats",
    "grpc_web",
    "gzip",
    "header_mutation",
    "header_to_metadata",
    "health_check",
    "ip_tagging",
    "json_to_metadata",
    "local_ratelimit",
    "mcp",
    "on_demand",
    "original_src",
    "proto_message_extraction",
    "rate_limit_quota",
    "ratelimit",
    "rbac",
    "set_filter_state",
    "set_metadata",
    "tap",
];
/// Filters that answer a request by what was answered to somebody else.
const REMEMBERING: [&str; 2] = ["cache", "cache_v2"];

/// What a filter is to portcullis.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The engine in Envoy.
    Module,
    /// `ext_authz`.
    Asks,
    /// It hands the request on.
    Router,
    /// Anything else.
    Other,
}

/// One of them.
#[derive(Debug)]
pub(super) struct Filter<'t> {
    /// Where it stands.
    pub(super) node: Node<'t>,
    /// The name that routes know it by.
    pub(super) name: &'t str,
    pub(super) kind: Kind,
    /// Whether it is off where a route does not turn it on.
    pub(super) is_off: bool,
    /// What it is told; not known where that comes from elsewhere.
    body: Option<Node<'t>>,
    /// What it is, in short.
    what: &'t str,
    /// Where something says which requests pass it by.
    passed_by: Option<Node<'t>>,
}

impl<'t> Filter<'t> {
    fn read(node: &Node<'t>, found: &Found<'t>) -> Self {
        let name = node.text("name").unwrap_or_default();
        let discovered = node.get("config_discovery");
        let mut typed = node.typed("typed_config");
        if discovered.is_some() {
            typed = typed.or_else(|| found.filter(name));
        }
        let mut passed_by = None;
        if let Some(outer) = typed.as_ref().filter(|it| it.name.ends_with(".ExtensionWithMatcher"))
        {
            let matcher = outer.body.get("xds_matcher").or_else(|| outer.body.get("matcher"));
            passed_by = matcher.or_else(|| Some(outer.body.clone()));
            typed = outer.body.get("extension_config").and_then(|it| it.typed("typed_config"));
        }
        let urls = discovered.map(|it| it.list("type_urls")).unwrap_or_default();
        let url = urls.first().and_then(Node::as_text).unwrap_or(name);
        let kind_name = typed.as_ref().map_or(url, |typed| typed.name);
        let body = typed.map(|typed| typed.body);
        let is_named = |ends: &[&str]| ends.iter().any(|end| kind_name.ends_with(end));
        let kind = if is_named(&[".ext_authz.v3.ExtAuthz", ".ext_authz.v2.ExtAuthz"])
            || (body.is_none() && kind_name == NAMESPACE)
        {
            Kind::Asks
        } else if is_named(&[".DynamicModuleFilter"]) && body.as_ref().is_some_and(module::is_own) {
            Kind::Module
        } else if is_named(&[".router.v3.Router", ".router.v2.Router", ".http.router"]) {
            Kind::Router
        } else {
            Kind::Other
        };
        let what = in_short(kind_name);
        let is_off = node.may_be_on("disabled");
        Self { node: node.clone(), name, kind, is_off, body, what, passed_by }
    }

    /// Whether it decides.
    pub(super) fn is_guard(&self) -> bool {
        matches!(self.kind, Kind::Module | Kind::Asks)
    }
}

/// `jwt_authn` of `envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication`.
fn in_short(name: &str) -> &str {
    let (_, rest) = name.split_once(".http.").unwrap_or(("", name));
    rest.split('.').next().unwrap_or(rest)
}

/// All of them.
#[derive(Debug)]
pub(super) struct Chain<'t> {
    /// The list, or what should have it.
    pub(super) node: Node<'t>,
    pub(super) filters: Vec<Filter<'t>>,
}

/// What the rest of a connection manager means to its filters.
#[derive(Clone, Copy, Debug)]
pub(super) struct Surroundings {
    /// Headers with an underscore come in.
    pub(super) underscores_come: bool,
    /// A client's address is the connection's.
    pub(super) knows_addresses: bool,
    /// An upstream may speak HTTP/2, or later.
    pub(super) trailers_go_on: bool,
}

impl<'t> Chain<'t> {
    pub(super) fn read(of: &Node<'t>, field: &str, found: &Found<'t>) -> Self {
        let node = of.get(field).unwrap_or_else(|| of.clone());
        let filters = of.list(field).iter().map(|filter| Filter::read(filter, found)).collect();
        Self { node, filters }
    }

    /// The filters that decide.
    pub(super) fn guards(&self) -> impl Iterator<Item = &Filter<'t>> {
        self.filters.iter().filter(|filter| filter.is_guard())
    }

    /// Whether a filter behind the module asks where it has not allowed.
    pub(super) fn falls_back(&self) -> bool {
        let behind = self.filters.iter().skip_while(|filter| filter.kind != Kind::Module);
        let mut asking = behind.filter(|filter| filter.kind == Kind::Asks);
        asking.any(|filter| !filter.is_off)
    }

    /// The filters that the routers have for requests to upstreams.
    pub(super) fn upstream_filters(&self) -> Vec<Node<'t>> {
        let routers = self.filters.iter().filter(|filter| filter.kind == Kind::Router);
        let bodies = routers.filter_map(|router| router.body.as_ref());
        bodies.flat_map(|body| body.list("upstream_http_filters")).collect()
    }

    /// What the routers log of requests to upstreams.
    pub(super) fn upstream_logs(&self) -> Vec<Node<'t>> {
        let routers = self.filters.iter().filter(|filter| filter.kind == Kind::Router);
        let bodies = routers.filter_map(|router| router.body.as_ref());
        bodies.flat_map(|body| body.list("upstream_log")).collect()
    }

    /// Looks at a chain with a filter that decides.
    pub(super) fn look(&self, around: Surroundings, report: &mut Report) {
        for filter in self.guards() {
            self.look_at_guard(filter, around, report);
        }
        self.look_before(report);
        self.look_at_order(report);
        self.look_behind(report);
        look_upstream(&self.upstream_filters(), report);
        let drops = || self.filters.iter().filter(|filter| !filter.is_off).any(drops_trailers);
        if around.trailers_go_on && !drops() {
            report.warn(
                &self.node,
                "trailers of requests pass without being checked: an upstream that speaks HTTP/2 \
                 may read an x-user-role there as a header",
                "add header_mutation with request_trailers_mutations, as in envoy/envoy.yaml",
            );
        }
    }

    fn look_at_guard(&self, filter: &Filter<'t>, around: Surroundings, report: &mut Report) {
        let Filter { node, kind, .. } = filter;
        if let Some(matcher) = &filter.passed_by {
            report.error(
                matcher,
                "a matcher decides which requests pass the filter by, and clients may control what \
                 it looks at",
                "take the filter out of ExtensionWithMatcher; for public paths, write a rule with \
                 access = \"public\"",
            );
        }
        if node.may_be_on("is_optional") {
            report.grave(
                *kind == Kind::Asks || !self.falls_back(),
                node,
                "an Envoy that does not know the filter silently skips it".to_owned(),
                "remove is_optional",
            );
        }
        let Some(body) = &filter.body else {
            report.warn(
                node,
                "the configuration of this filter is not in this file",
                "look at what /config_dump of a running Envoy prints",
            );
            return;
        };
        match kind {
            Kind::Module => {
                module::look(body, self.falls_back(), around.knows_addresses, report);
            }
            _ => asking::look(body, around.underscores_come, report),
        }
    }

    /// Filters that have done something before anybody was asked.
    fn look_before(&self, report: &mut Report) {
        let before = self.filters.iter().take_while(|filter| !filter.is_guard());
        for Filter { node, what, kind, .. } in before.filter(|filter| !filter.is_off) {
            let fix = "put the filter that asks portcullis before it";
            if *kind == Kind::Router {
                report.error(node, "it forwards requests before anybody is asked", fix);
            } else if REMEMBERING.contains(what) {
                let cause =
                    "it answers before anybody is asked, with what was meant for another caller";
                report.error(node, cause, fix);
            } else if !HARMLESS.contains(what) {
                let cause =
                    format!("{what} may answer or change a request before anybody is asked");
                report.warn(node, cause, fix);
            }
        }
    }

    /// The module, and `ext_authz` behind it.
    fn look_at_order(&self, report: &mut Report) {
        let module = self.filters.iter().position(|filter| filter.kind == Kind::Module);
        let asking = self.filters.iter().enumerate().filter(|(_, it)| it.kind == Kind::Asks);
        for (at, filter) in asking {
            let is_behind = module.is_some_and(|module| module < at);
            let fix = "write [module, ext_authz], with filter_enabled_metadata as in \
                        envoy/module.yaml";
            if module.is_some() && !is_behind {
                report.warn(
                    &filter.node,
                    "it stands before the module, which then decides a second time",
                    fix,
                );
            }
            let body = filter.body.as_ref();
            let Some(metadata) = body.and_then(|body| body.get("filter_enabled_metadata")) else {
                if is_behind && body.is_some() {
                    report.warn(
                        &filter.node,
                        "it asks once more about requests that the module has already allowed",
                        fix,
                    );
                }
                continue;
            };
            if !asking::is_fallback(&metadata) {
                report.error(
                    &metadata,
                    "whether anybody is asked depends on metadata other than the module's decision",
                    "write filter: envoy.filters.http.ext_authz, path: [{ key: decision }], value: \
                     { string_match: { exact: allow } }, invert: true; or leave it out",
                );
            } else if module.is_none() {
                report.warn(
                    &metadata,
                    "there is no module that writes the metadata it looks at",
                    "remove filter_enabled_metadata, or put the module before it",
                );
            }
            let others = self.filters.iter().take(at).filter(|other| !other.is_guard());
            for other in others {
                if other.body.as_ref().is_some_and(asking::names_decision) {
                    report.error(
                        &other.node,
                        "it writes where ext_authz looks for the module's decision, so possibly \
                         nobody is asked",
                        "let it write under a name other than envoy.filters.http.ext_authz",
                    );
                }
            }
        }
    }

    /// What is told to an upstream beside what portcullis says.
    fn look_behind(&self, report: &mut Report) {
        let first = self.filters.iter().position(Filter::is_guard).unwrap_or_default();
        for (at, filter) in self.filters.iter().enumerate() {
            let Some(body) = &filter.body else { continue };
            if filter.what == "jwt_authn" {
                look_at_claims(body, at > first, report);
            }
            if filter.what == "header_mutation" && at > first {
                look_at_mutations(body, report);
            }
        }
    }
}

/// What `jwt_authn` writes into headers.
fn look_at_claims(body: &Node<'_>, is_behind: bool, report: &mut Report) {
    let providers = body.get("providers").map(|providers| providers.entries()).unwrap_or_default();
    for (_, provider) in providers {
        let claims = provider.list("claim_to_headers");
        let headers = claims.iter().filter_map(|claim| claim.get("header_name"));
        for header in provider.get("forward_payload_header").into_iter().chain(headers) {
            let name = header.as_text().unwrap_or_default();
            let is_identity = names::is_identity(name);
            report.grave(
                is_identity && is_behind,
                &header,
                if is_identity {
                    format!("{name} is set by jwt_authn, which knows no roles and no revocation")
                } else {
                    format!(
                        "{name} tells the upstream who the caller is, but the filter that sets it \
                         knows no roles and no revocation"
                    )
                },
                "remove it: portcullis verifies the token, and sets x-user headers",
            );
        }
    }
}

/// Filters for requests to upstreams, which have been decided.
pub(super) fn look_upstream(filters: &[Node<'_>], report: &mut Report) {
    for filter in filters {
        if let Some(typed) = filter.typed("typed_config")
            && in_short(typed.name) == "header_mutation"
        {
            look_at_mutations(&typed.body, report);
        }
    }
}

/// Headers that a `HeaderMutation` sets, of the filter or of a route.
pub(super) fn look_at_mutations(body: &Node<'_>, report: &mut Report) {
    let mutations = body.get("mutations");
    for mutation in mutations.map(|all| all.list("request_mutations")).unwrap_or_default() {
        if let Some(key) = mutation.way(&["append", "header", "key"]) {
            asking::look_at_added(&key, key.as_text().unwrap_or_default(), report);
        }
    }
}

/// Whether a filter takes forged trailers off.
fn drops_trailers(filter: &Filter<'_>) -> bool {
    let mutations = filter.body.as_ref().and_then(|body| body.get("mutations"));
    let Some(mutations) = mutations.filter(|_| filter.what == "header_mutation") else {
        return false;
    };
    let removals = mutations.list("request_trailers_mutations");
    names::SET.iter().chain(&names::WITH_UNDERSCORES).all(|name| {
        removals.iter().any(|removal| {
            let matcher = removal.way(&["remove_on_match", "key_matcher"]);
            removal.text("remove") == Some(*name)
                || matcher.is_some_and(|matcher| names::matches(&matcher, name))
        })
    })
}
