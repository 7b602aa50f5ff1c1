//! Ways past portcullis in what is asked, by which filters, and on which routes: each an
//! edit of `envoy/envoy.yaml`, and what is to be found then.

use crate::{
    check_envoy_edits::{
        ASKS, Case, FILTER, FILTER_CONFIG, HOST, LAST, NAME, PER_ROUTE, ROUTER, TABLE, before,
        case, disabled, filter, line, per_filter, with, without,
    },
    stack::{Mode, envoy, replace},
    support::read,
};

/// What becomes of a question.
pub(crate) fn of_questions() -> Vec<Case> {
    let config = read("envoy/envoy.yaml");
    let told = |text: &str| with(&config, ASKS, &line(22, text));
    let fails = |to: &str| replace(&config, "failure_mode_allow: false", to);
    let share = |numerator: u8, more: &str| {
        told(&format!("filter_enabled: {{ default_value: {{ numerator: {numerator} }} }}{more}"))
    };
    let denies = "\n                      deny_at_disable: { default_value: true, runtime_key: x }";
    let list = replace(
        &config,
        "                          - safe_regex: { regex: 'x[[:punct:]](user",
        "                          - safe_regex: { regex: 'x-(user",
    );
    let open = replace(&list, "REJECT_REQUEST", "ALLOW");
    let pages = replace(&config, "                          - exact: origin\n", "");
    let pages = replace(&pages, "                          - exact: sec-fetch-site\n", "");
    let never = "disallowed_headers: { patterns: [{ prefix: x_user_ }] }";
    let shown = replace(&told(never), "REJECT_REQUEST", "ALLOW");
    let rules = "decoder_header_mutation_rules: { disallow_all: true }";
    let some = "decoder_header_mutation_rules: { disallow_expression: { regex: x-user-r.* } }";
    let partly = "with_request_body: { max_request_bytes: 9, allow_partial_message: true }";
    let http = envoy(Mode::Http);
    let role = "{ prefix: x-user-, ignore_case: true }";
    let added = "allowed_upstream_headers_to_append: { patterns: [{ exact: x-user-id }] }";
    vec![
        case("error", "cannot be asked", ".failure_mode_allow", fails("failure_mode_allow: true")),
        case("error", "cannot be asked", ".failureModeAllow", fails("failureModeAllow: \"true\"")),
        case("error", "cannot be asked", ".failure_mode_allow", fails("failure_mode_allow: yes")),
        case(
            "warning",
            "nobody was asked",
            "header_add",
            told("failure_mode_allow_header_add: true"),
        ),
        case("error", "a no is noted", ".shadow_mode", told("shadow_mode: true")),
        case("error", "only a part", ".filter_enabled", share(99, "")),
        case(
            "error",
            "only a part",
            ".filter_enabled",
            told(
                "filter_enabled: { default_value: { numerator: 100, denominator: TEN_THOUSAND } }",
            ),
        ),
        case("warning", "the rest is denied", ".filter_enabled", share(99, denies)),
        case("warning", "the runtime", ".filter_enabled", share(100, "")),
        case("warning", "a long body", ".with_request_body", told(partly)),
        case("warning", "chosen again", "[0].typed_config", told("clear_route_cache: true")),
        case("error", "may not change x-user-id", "_mutation_rules", told(rules)),
        case("error", "may not change x-user-role", "_mutation_rules", told(some)),
        case("error", "x_user_role is not shown", ".allowed_headers", open),
        case("error", "x_user_role is not shown", ".allowed_headers", shown),
        case("warning", "x.user.role is not shown", ".allowed_headers", list),
        case("warning", "which page", ".allowed_headers", pages),
        case(
            "error",
            "x-user-id of the answer",
            "authorization_response",
            replace(&http, role, "{ exact: x-user-role }"),
        ),
        case(
            "error",
            "to the value that the client wrote",
            "authorization_response",
            with(&http, "                        authorization_response:\n", &line(26, added)),
        ),
    ]
}

/// Which filters there are, and in which order.
pub(crate) fn of_filters() -> Vec<Case> {
    let config = read("envoy/envoy.yaml");
    let said = |text: &str| with(&config, FILTER, &line(20, text));
    let first = |kind: &str, told: &str| before(&config, FILTER, &filter(kind, told));
    let last = |kind: &str, told: &str| before(&config, ROUTER, &filter(kind, told));
    let jwt = |told: &str| {
        format!(
            ", providers: {{ corp: {{ issuer: a, local_jwks: {{ inline_string: \"{{\\\"keys\\\": [{{\\\"kty\\\": \\\"oct\\\", \\\"alg\\\": \\\"HS256\\\", \\\"k\\\": \\\"YWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWFhYWE\\\"}}]}}\" }}, {told} }} }}"
        )
    };
    let claim = jwt("claim_to_headers: [{ header_name: X-User-Role, claim_name: role }]");
    let payload = jwt("forward_payload_header: x-jwt");
    let sets = ", mutations: { request_mutations: [{ append: { header: { key: X_User_Role, value: ADMIN } } }] }";
    let (jwt_authn, mutation) =
        ("jwt_authn.v3.JwtAuthentication", "header_mutation.v3.HeaderMutation");
    let lua = ", default_source_code: { inline_string: \"function envoy_on_request(h) end\" }";
    let begin = config.find(FILTER).unwrap();
    let end = config.find("                  # Trailers, which").unwrap();
    let own: String =
        config[begin..end].lines().map(|line| format!("          {line}\n")).collect();
    let own = own.replacen("- name:", "  name:", 1);
    let skip = "on_match: { action: { name: skip, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.common.matcher.action.v3.SkipFilter } } }";
    let input = "input: { name: a, typed_config: { \"@type\": type.googleapis.com/envoy.type.matcher.v3.HttpRequestHeaderMatchInput, header_name: x-skip } }";
    let matcher = format!(
        "{FILTER}                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.common.matching.v3.ExtensionWithMatcher
                      xds_matcher: {{ matcher_list: {{ matchers: [{{ predicate: {{ single_predicate: {{ {input}, value_match: {{ exact: a }} }} }}, {skip} }}] }} }}
                      extension_config:
{own}"
    );
    let mut skipped = config.clone();
    skipped.replace_range(begin..end, &matcher);
    let upgrade = "                  - upgrade_type: websocket\n";
    let router = "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router";
    let alone = format!("filters: [{{ name: r, typed_config: {{ \"@type\": {router} }} }}]");
    let speaks = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";
    let speaks = format!(
        "typed_extension_protocol_options: {{ envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {{ \"@type\": {speaks}, explicit_http_config: {{ http2_protocol_options: {{}} }} }} }}"
    );
    // The same for requests to upstreams, about which somebody was asked.
    let typed = filter(mutation, sets).replace('\n', " ");
    let (_, typed) = typed.split_once("typed_config: ").unwrap();
    let codec = "{ name: c, typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec } }";
    let filters = format!("http_filters: [{{ name: m, typed_config: {typed} }}, {codec}]");
    let upstream =
        with(&config, "http.router.v3.Router\n", &line(22, &format!("upstream_{filters}")));
    let of_cluster =
        speaks.replace("explicit_http_config", &format!("{filters}, explicit_http_config"));
    let of_cluster = with(&config, "    - name: agents\n", &line(6, &of_cluster));
    let trailers = without(&config, "envoy.filters.http.header_mutation");
    let discovered = replace(
        &config[..],
        &config[begin + FILTER.len()..end],
        &(line(20, "config_discovery:")
            + &line(22, "config_source: { ads: {}, resource_api_version: V3 }")
            + &line(
                22,
                "type_urls: [type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz]",
            )),
    );
    vec![
        case("error", "no filter asks", ".http_filters", without(&config, NAME)),
        case("error", "no filter is on", ".routes[2]", said("disabled: true")),
        case("error", "does not know the filter", "http_filters[0]", said("is_optional: true")),
        case("error", "pass the filter by", ".xds_matcher", skipped),
        case(
            "error",
            "no filter asks",
            "upgrade_configs[0].filters",
            with(&config, upgrade, &line(20, &alone)),
        ),
        case("warning", "lua may answer", "http_filters[0]", first("lua.v3.Lua", lua)),
        case("warning", "jwt_authn may answer", "http_filters[0]", first(jwt_authn, &payload)),
        case("warning", "x-jwt tells", ".forward_payload_header", first(jwt_authn, &payload)),
        case(
            "warning",
            "X-User-Role is set by jwt_authn",
            ".header_name",
            first(jwt_authn, &claim),
        ),
        case("error", "X-User-Role is set by jwt_authn", ".header_name", last(jwt_authn, &claim)),
        case("error", "X_User_Role is set after", ".key", last(mutation, sets)),
        case("error", "X_User_Role is set after", ".key", upstream),
        case("error", "X_User_Role is set after", ".key", of_cluster),
        Case {
            is_taken: false,
            ..case(
                "error",
                "was meant for another caller",
                "http_filters[0]",
                first("cache.v3.CacheConfig", ""),
            )
        },
        Case {
            is_taken: false,
            ..case(
                "error",
                "before anybody is asked",
                "http_filters[0]",
                first("router.v3.Router", ""),
            )
        },
        Case {
            is_taken: false,
            ..case("warning", "is not in this file", "http_filters[0]", discovered)
        },
        case(
            "warning",
            "trailers of requests",
            ".http_filters",
            with(&trailers, "    - name: agents\n", &line(6, &speaks)),
        ),
    ]
}

/// What routes say.
pub(crate) fn of_routes() -> Vec<Case> {
    let config = read("envoy/envoy.yaml");
    let route = |said: &str| with(&config, LAST, &per_filter(26, NAME, said));
    let off = disabled();
    let wrapped = |more: &str| format!("\"@type\": {FILTER_CONFIG}, {more}");
    let settings = |more: &str| format!("\"@type\": {PER_ROUTE}, check_settings: {{ {more} }}");
    let header = "request_headers_to_add: [{ header: { key: x-user-role, value: ADMIN } }]";
    let part = format!(
        "                        - match: {{ prefix: \"/\" }}
                          route: {{ weighted_clusters: {{ clusters: [{{ name: agents, weight: 1, typed_per_filter_config: {{ {NAME}: {{ {off} }} }} }}] }} }}\n"
    );
    let mutation = "type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute";
    let mutates = format!(
        "\"@type\": {mutation}, mutations: {{ request_mutations: [{{ append: {{ header: {{ key: x-user-id, value: a }} }} }}] }}"
    );
    let own = "route: { cluster: portcullis_http, timeout: 35s }";
    let wider = "regex: '/(sso|session|v[23]/login|ui|api)(/.*)?'";
    let rds = "                rds: { route_config_name: routes, config_source: { ads: {}, resource_api_version: V3 } }\n";
    let (begin, end) = (config.find(TABLE).unwrap(), config.find("\n  clusters:\n").unwrap());
    let mut elsewhere = config.clone();
    elsewhere.replace_range(begin..end, rds);
    let vhds = "vhds: { config_source: { ads: {}, resource_api_version: V3 } }";
    let somebody = "grpc_service: { envoy_grpc: { cluster_name: agents } }";
    let partly = "with_request_body: { max_request_bytes: 9, allow_partial_message: true }";
    vec![
        case("error", "the filter is turned off", "routes[2].typed_per_filter_config[\"envoy.filters.http.ext_authz\"]", route(&off)),
        case("error", "the filter is turned off", "virtual_hosts[0].typed_per_filter_config[\"envoy.filters.http.ext_authz\"]", with(&config, HOST, &per_filter(22, NAME, &off))),
        case("error", "the filter is turned off", "route_config.typed_per_filter_config[\"envoy.filters.http.ext_authz\"]", with(&config, TABLE, &per_filter(18, NAME, &off))),
        case("error", "the filter is turned off", "clusters[0].typed_per_filter_config[\"envoy.filters.http.ext_authz\"]", replace(&config, LAST, &part)),
        case("error", "the filter is turned off", "", route(&wrapped("disabled: true"))),
        case("error", "the filter is turned off", "", route(&wrapped(&format!("config: {{ {off} }}")))),
        case("warning", "does not know the filter", "", route(&wrapped(&format!("is_optional: true, config: {{ {} }}", settings(""))))),
        case("error", "guarded on other routes", "routes[0].typed_per_filter_config[\"envoy.filters.http.ext_authz\"]", replace(&config, own, "route: { cluster: agents, timeout: 35s }")),
        case("error", "turned off on a route to cluster \"portcullis_http\"", "", replace(&config, "regex: '/(sso|session|v[23]/login|ui)(/.*)?'", wider)),
        case("error", "x-user-role is set after", ".header.key", with(&config, LAST, &line(26, header))),
        case("error", "x-user-role is set after", ".header.key", with(&config, HOST, &line(22, header))),
        case("error", "x-user-role is set after", ".header.key", with(&config, TABLE, &line(18, header))),
        case("error", "x-user-id is set after", ".header.key", with(&config, LAST, &per_filter(26, "envoy.filters.http.header_mutation", &mutates))),
        case("warning", "a long body", ".with_request_body", route(&settings(partly))),
        case("warning", "somebody else is asked", ".grpc_service", route(&settings(somebody))),
        case("warning", "in a tunnel of CONNECT", "upgrade_configs[0]", replace(&config, LAST, "                        - match: { prefix: \"/\" }
                          route: { cluster: agents, upgrade_configs: [{ upgrade_type: CONNECT }] }\n")),
        Case { is_taken: false, ..case("warning", "routes are not in this file", ".rds", elsewhere) },
        Case { is_taken: false, ..case("warning", "routes are not in this file", ".vhds", with(&config, TABLE, &line(18, vhds))) },
    ]
}
