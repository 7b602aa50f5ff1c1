//! What of an Envoy's configuration leaves a way past: `check-envoy` says so, and says
//! nothing of the configurations that are shipped.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    envoy_module,
    stack::{Mode, NEWEST, envoy, envoy_of, replace, with_ports},
    support::{Running, eventually, free_port, listens, output, portcullis, read},
};

/// What it says to a file, its exit code first.
fn check(text: &str, arguments: &[&str]) -> (i32, String, String) {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("envoy.yaml");
    fs::write(&file, text).unwrap();
    let mut command = portcullis();
    command.arg("check-envoy").args(arguments).arg(&file);
    let done = output(&mut command, "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// What it finds, and whether its exit code fits.
fn findings(text: &str, arguments: &[&str]) -> Vec<Value> {
    let (code, out, err) = check(text, &[&["--json"], arguments].concat());
    let found: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let has_errors = found.iter().any(|finding| finding["severity"] == "error");
    assert_eq!(code, i32::from(has_errors), "{found:?}");
    found
}

fn is_clean(text: &str, arguments: &[&str]) {
    let found = findings(text, arguments);
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(check(text, arguments), (0, "ok\n".to_owned(), String::new()));
}

const ASKS: &str = "                      failure_mode_allow: false\n";
const FILTER: &str = "                  - name: envoy.filters.http.ext_authz\n";
const ROUTER: &str = "                  - name: envoy.filters.http.router\n";
const LAST: &str = "                        - match: { prefix: \"/\" }
                          route: { cluster: agents, timeout: 15s }\n";
const HOST: &str = "                    - name: all\n                      domains: [\"*\"]\n";
const TABLE: &str = "                route_config:\n                  name: routes\n";
const MANAGER: &str = "                use_remote_address: true\n";
const PATH: &str = "\"%PATH(NQ)%\"";
const LISTENERS: &str = "  listeners:\n";

const PER_ROUTE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";
const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
const NAME: &str = "envoy.filters.http.ext_authz";

/// A line with this much before it.
fn line(indent: usize, text: &str) -> String {
    format!("{}{text}\n", " ".repeat(indent))
}

/// What is behind this text in a configuration.
fn with(config: &str, behind: &str, more: &str) -> String {
    replace(config, behind, &format!("{behind}{more}"))
}

/// What is before this text in a configuration.
fn before(config: &str, text: &str, more: &str) -> String {
    replace(config, text, &format!("{more}{text}"))
}

/// What a level of the routes says of the filter.
fn per_filter(indent: usize, name: &str, said: &str) -> String {
    line(indent, &format!("typed_per_filter_config: {{ {name}: {{ {said} }} }}"))
}

fn disabled() -> String {
    format!("\"@type\": {PER_ROUTE}, disabled: true")
}

/// A filter of this type, with what it is told.
fn filter(kind: &str, told: &str) -> String {
    let name = kind.split('.').rev().nth(2).unwrap();
    let url = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
    let typed = format!("{{ \"@type\": {url}{told} }}");
    line(18, &format!("- name: {name}")) + &line(20, &format!("typed_config: {typed}"))
}

/// A configuration without one of the filters.
fn without(config: &str, name: &str) -> String {
    let begin = config.find(&format!("                  - name: {name}\n")).unwrap();
    let rest = &config[begin..];
    let next = rest.find("\n                  - name: ").unwrap() + 1;
    format!("{}{}", &config[..begin], &rest[next..])
}

/// An edit, and what is to be found then.
struct Case {
    config: String,
    severity: &'static str,
    /// What is in the cause.
    cause: &'static str,
    /// What the place ends with.
    at: &'static str,
    /// Whether a real Envoy takes it, without anything beside it.
    is_taken: bool,
}

fn case(severity: &'static str, cause: &'static str, at: &'static str, config: String) -> Case {
    Case { config, severity, cause, at, is_taken: true }
}

/// What is not as it is told.
fn fault(case: &Case) -> Option<String> {
    let found = findings(&case.config, &[]);
    let is_it = |finding: &&Value| {
        finding["cause"].as_str().unwrap().contains(case.cause)
            && finding["at"].as_str().unwrap().ends_with(case.at)
    };
    let Some(it) = found.iter().find(is_it) else {
        return Some(format!("{:?} at {:?}: {found:#?}", case.cause, case.at));
    };
    (it["severity"] != case.severity).then(|| it.to_string())
}

/// What becomes of a question.
fn of_questions() -> Vec<Case> {
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
            "beside what a client",
            "authorization_response",
            with(&http, "                        authorization_response:\n", &line(26, added)),
        ),
    ]
}

/// Which filters there are, and in which order.
fn of_filters() -> Vec<Case> {
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
    // As above, for what has been decided.
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
                "somebody else may see",
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
fn of_routes() -> Vec<Case> {
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

/// What is made of a request before a filter sees it, and who else listens.
fn of_listeners() -> Vec<Case> {
    let config = read("envoy/envoy.yaml");
    let to = |from: &str, to: &str| replace(&config, from, to);
    let tracing = |more: &str| with(&config, MANAGER, &line(16, &format!("tracing: {{ {more} }}")));
    let upgrade = "                  - upgrade_type: websocket\n";
    let begin = config.find("    - name: gateway\n").unwrap();
    let end = config.find("\n  clusters:\n").unwrap();
    let second = replace(&without(&config[begin..end], NAME), "name: gateway", "name: second");
    let second = second.replace("8000", "8001");
    let tcp = "    - name: bytes
      address: { socket_address: { address: 127.0.0.1, port_value: 8002 } }
      filter_chains:
        - filters:
            - name: tcp
              typed_config: { \"@type\": type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: a, cluster: agents }\n";
    let admin = "admin:\n  address: { socket_address: { address: 127.0.0.1";
    let lds = "dynamic_resources: { lds_config: { ads: {}, resource_api_version: V3 } }\n";
    vec![
        case(
            "warning",
            "dot segments",
            ".typed_config",
            to("normalize_path: true", "normalize_path: false"),
        ),
        case(
            "warning",
            "with //",
            ".typed_config",
            to("                merge_slashes: true\n", ""),
        ),
        case(
            "warning",
            "with %2F",
            ".typed_config",
            to("UNESCAPE_AND_REDIRECT", "UNESCAPE_AND_FORWARD"),
        ),
        case("warning", "with an underscore", ".typed_config", to("REJECT_REQUEST", "ALLOW")),
        case("warning", "x-forwarded-for", ".typed_config", to(MANAGER, "")),
        case(
            "warning",
            "in a tunnel of CONNECT",
            "upgrade_configs[1]",
            with(&config, upgrade, &upgrade.replace("websocket", "CONNECT")),
        ),
        case(
            "warning",
            "may live for ever",
            "upgrade_configs[0]",
            to("max_stream_duration: 3600s", "idle_timeout: 300s").replacen(
                "                  idle_timeout: 300s\n",
                "",
                1,
            ),
        ),
        case("warning", "spans tell the query", ".tracing", tracing("")),
        case(
            "error",
            "is a credential",
            "custom_tags[0].value",
            tracing("max_path_tag_length: 0, custom_tags: [{ tag: a, value: '%REQ(COOKIE)%' }]"),
        ),
        case(
            "error",
            "spans tell a credential",
            "custom_tags[0]",
            tracing(
                "max_path_tag_length: 0, custom_tags: [{ tag: a, request_header: { name: Authorization } }]",
            ),
        ),
        case(
            "error",
            "no filter asks",
            "listeners[0].filter_chains[0].filters[0].typed_config.http_filters",
            with(&config, LISTENERS, &second),
        ),
        case(
            "warning",
            "hands on bytes",
            "listeners[0].filter_chains[0].filters[0]",
            with(&config, LISTENERS, tcp),
        ),
        case(
            "warning",
            "listens on 0.0.0.0",
            "admin",
            to(admin, &admin.replace("127.0.0.1", "0.0.0.0")),
        ),
        Case {
            is_taken: false,
            ..case("warning", "more listeners", ".lds_config", format!("{lds}{config}"))
        },
    ]
}

/// What access logs tell.
fn of_logs() -> Vec<Case> {
    let config = read("envoy/envoy.yaml");
    let mut cases = Vec::new();
    for operator in [
        "%PATH%",
        "%PATH(WQ)%",
        "%PATH(WQ:ORIG):80%",
        "%REQ(:PATH)%",
        "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%",
        "%REQUEST_HEADER(:path)%",
        "%QUERY_PARAMS%",
        "%START_TIME(%H:%M)%%PATH%",
        "%CEL(request.path)%",
        "%CEL(request.query)%",
    ] {
        let config = replace(&config, PATH, &format!("'{operator}'"));
        cases.push(case("warning", "has the query", ".json_format.path", config));
    }
    for operator in [
        "%REQ(AUTHORIZATION)%",
        "%REQ(X-A?COOKIE):9%",
        "%REQUEST_HEADER(x-api-key)%",
        "%RESP(SET-COOKIE)%",
        "%QUERY_PARAM(access-token)%",
        "%CEL(request.headers[\"authorization\"])%",
        "%CEL(request.headers)%",
    ] {
        let config = replace(&config, PATH, &format!("'{operator}'"));
        cases.push(case("error", "is a credential", ".json_format.path", config));
    }
    let begin = config.find("                      log_format:\n").unwrap();
    let end = config.find("                http_filters:\n").unwrap();
    let format = |text: &str| {
        let mut config = config.clone();
        config.replace_range(begin..end, text);
        config
    };
    cases.push(case("warning", "Envoy's own format", "access_log[0].typed_config", format("")));
    let inline = "                      log_format: { text_format_source: { inline_string: \"%REQ(:PATH)%\" } }\n";
    cases.push(case("warning", "has the query", ".inline_string", format(inline)));
    let file = "                      log_format: { text_format_source: { filename: a } }\n";
    let file = case("warning", "not in this file", ".text_format_source", format(file));
    cases.push(Case { is_taken: false, ..file });
    let router = "http.router.v3.Router\n";
    let stdout = "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog";
    let upstream =
        format!("upstream_log: [{{ name: a, typed_config: {{ \"@type\": {stdout} }} }}]");
    let config_of_router = with(&config, router, &line(22, &upstream));
    cases.push(case(
        "warning",
        "Envoy's own format",
        "upstream_log[0].typed_config",
        config_of_router,
    ));
    let logs = "                access_log:\n";
    let grpc =
        "type.googleapis.com/envoy.extensions.access_loggers.grpc.v3.HttpGrpcAccessLogConfig";
    let log = |kind: &str, more: &str| {
        with(
            &config,
            logs,
            &line(18, &format!("- {{ name: a, typed_config: {{ \"@type\": {kind}{more} }} }}")),
        )
    };
    let common = ", common_config: { log_name: a, transport_api_version: V3, grpc_service: { envoy_grpc: { cluster_name: agents } } }";
    let headers = format!("{common}, additional_request_headers_to_log: [Authorization]");
    cases.push(case(
        "warning",
        "the path with its query",
        "access_log[0].typed_config",
        log(grpc, common),
    ));
    cases.push(case(
        "error",
        "Authorization is a credential",
        "headers_to_log[0]",
        log(grpc, &headers),
    ));
    let otel = "type.googleapis.com/envoy.extensions.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig";
    let body = format!("{common}, body: {{ string_value: \"%REQ(:PATH)%\" }}");
    cases.push(case("warning", "has the query", ".body.string_value", log(otel, &body)));
    let wasm = "type.googleapis.com/envoy.extensions.access_loggers.wasm.v3.WasmAccessLog";
    let wasm = case("warning", "nobody here knows", "access_log[0].typed_config", log(wasm, ""));
    cases.push(Case { is_taken: false, ..wasm });
    cases
}

/// The engine in Envoy, and its fallback.
fn of_the_module() -> Vec<Case> {
    let config = read("envoy/module.yaml");
    let to = |from: &str, to: &str| replace(&config, from, to);
    let open = "                        do_not_close: true\n";
    let module = "                  - name: portcullis\n";
    let remote = "module: { remote: { http_uri: { uri: https://a, cluster: agents, timeout: 1s }, sha256: aa } }";
    let fetched = with(&config, open, &line(24, remote));
    let swapped = {
        let begin = config.find(module).unwrap();
        let end = config.find(FILTER).unwrap();
        let own = config[begin..end].to_owned();
        let rest = format!("{}{}", &config[..begin], &config[end..]);
        let mutation =
            rest.find("                  - name: envoy.filters.http.header_mutation").unwrap();
        format!("{}{own}{}", &rest[..mutation], &rest[mutation..])
    };
    let begin = config.find("                      filter_enabled_metadata:\n").unwrap();
    let end = config.find("                      grpc_service:\n").unwrap();
    let mut asked_twice = config.clone();
    asked_twice.replace_range(begin..end, "");
    let rules = "[{ header: x, on_header_present: { metadata_namespace: envoy.filters.http.ext_authz, key: decision } }]";
    let writes = filter("header_to_metadata.v3.Config", &format!(", request_rules: {rules}"));
    let off = per_filter(26, NAME, &disabled());
    let feed = "{\"config\": \"/etc/portcullis/portcullis.toml\", \"use_remote_address\": true}";
    let feed = to(feed, "{\"feed\": \"/run/portcullis/feed.sock\"}");
    let denies = "                      deny_at_disable: { default_value: true, runtime_key: x }\n";
    let hangs = "hangs on other metadata";
    let both = format!(
        "typed_per_filter_config: {{ portcullis: {{ \"@type\": {FILTER_CONFIG}, disabled: true }}, {NAME}: {{ {} }} }}",
        disabled()
    );
    let both = line(26, &both);
    let cases = vec![
        case("warning", "may be unloaded", ".dynamic_module_config", to(open, "")),
        case(
            "warning",
            "may be unloaded",
            ".dynamic_module_config",
            to("do_not_close: true", "do_not_close: false"),
        ),
        case("warning", "cannot be fetched", ".dynamic_module_config", fetched.clone()),
        case("error", "cannot be fetched", ".dynamic_module_config", without(&fetched, NAME)),
        case(
            "warning",
            "leaves it out",
            "http_filters[0]",
            with(&config, module, &line(20, "is_optional: true")),
        ),
        case(
            "error",
            "leaves it out",
            "http_filters[0]",
            without(&with(&config, module, &line(20, "is_optional: true")), NAME),
        ),
        case(
            "error",
            hangs,
            ".filter_enabled_metadata",
            to("                        invert: true\n", ""),
        ),
        case("error", hangs, ".filter_enabled_metadata", to("{ exact: allow }", "{ prefix: a }")),
        case(
            "error",
            hangs,
            ".filter_enabled_metadata",
            to("filter: envoy.filters.http.ext_authz", "filter: envoy.filters.http.jwt_authn"),
        ),
        case(
            "error",
            hangs,
            ".filter_enabled_metadata",
            to("[{ key: decision }]", "[{ key: rule }]"),
        ),
        case("warning", "stands before the module", "http_filters[0]", swapped),
        case("warning", "asks once more", "http_filters[1]", asked_twice),
        case(
            "warning",
            "no module says",
            ".filter_enabled_metadata",
            without(&config, "portcullis"),
        ),
        case("error", "it writes where", "http_filters[1]", before(&config, FILTER, &writes)),
        case("warning", "ext_authz is off here", "", with(&config, LAST, &off)),
        case(
            "error",
            "what they write into x-forwarded-for",
            "http_filters[0].typed_config",
            to(MANAGER, ""),
        ),
        case("warning", "knows nothing yet", "http_filters[0].typed_config", without(&feed, NAME)),
        case("warning", "is denied", ".deny_at_disable", with(&config, ASKS, denies)),
        case("error", "the filter is turned off", "[\"portcullis\"]", with(&config, LAST, &both)),
    ];
    // An Envoy would look for the module.
    cases.into_iter().map(|case| Case { is_taken: false, ..case }).collect()
}

#[test]
fn each_way_past_is_found_where_it_is() {
    let all =
        [of_questions(), of_filters(), of_routes(), of_listeners(), of_logs(), of_the_module()];
    let faults: Vec<String> = all.iter().flatten().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// No case is one that no Envoy would run.
#[test]
fn each_way_past_is_one_that_an_envoy_takes() {
    let room = tempfile::tempdir().unwrap();
    let all = [of_questions(), of_filters(), of_routes(), of_listeners(), of_logs()];
    let taken: Vec<Case> = all.into_iter().flatten().filter(|case| case.is_taken).collect();
    assert!(taken.len() > 60, "{}", taken.len());
    let mut faults = Vec::new();
    for case in taken {
        let mut command = envoy_of(NEWEST, &case.config, room.path());
        let said = output(command.args(["--mode", "validate"]), "");
        if !said.status.success() {
            let text = String::from_utf8_lossy(&said.stderr).into_owned();
            faults.push(format!("{} {}: {text}", case.cause, case.at));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_configurations_that_are_shipped_are_clean() {
    for name in ["envoy.yaml", "mcp.yaml", "module.yaml"] {
        is_clean(&read(&format!("envoy/{name}")), &[]);
    }
    // With the pieces of the others in it.
    for mode in [Mode::Http, Mode::Plans, Mode::Bodies, Mode::McpFilter] {
        is_clean(&envoy(mode), &[]);
    }
}

const RULES: &str = r#"[{ name = "all", path_prefix = "/", access = "authenticated" }]"#;

/// A real Envoy by this configuration, and what it prints of itself.
fn dump_of(config: &str, is_module: bool) -> String {
    let [port, admin] = [(); 2].map(|()| free_port());
    let config = with_ports(config, "port_value: ", &[(8000, port), (9901, admin)]);
    let room = tempfile::tempdir().unwrap();
    let mut command = envoy_of(NEWEST, &config, room.path());
    if is_module {
        envoy_module::prepare(&mut command, room.path(), RULES, &[]);
    }
    let _envoy = Running::start(&mut command);
    listens(admin);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "20", &format!("http://127.0.0.1:{admin}/config_dump")]);
    eventually("a dump with its listeners", || {
        let dump = String::from_utf8(output(&mut curl, "").stdout).unwrap();
        dump.contains("static_listeners").then_some(dump)
    })
}

#[test]
fn what_a_real_envoy_prints_of_itself_is_read_as_its_file_is() {
    let config = read("envoy/envoy.yaml");
    let dump = dump_of(&config, false);
    is_clean(&dump, &[]);
    // From stdin, too.
    let done = output(portcullis().args(["check-envoy", "-"]), &dump);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let open = replace(&config, "failure_mode_allow: false", "failure_mode_allow: true");
    let open = with(&open, LAST, &per_filter(26, NAME, &disabled()));
    let found = findings(&dump_of(&open, false), &[]);
    let at = |cause: &str| {
        let is_it = |finding: &&Value| finding["cause"].as_str().unwrap().contains(cause);
        let it = found.iter().find(is_it).unwrap_or_else(|| panic!("{cause}: {found:#?}"));
        assert_eq!((&it["severity"], &it["listener"]), (&json!("error"), &json!("gateway")));
        it["at"].as_str().unwrap().to_owned()
    };
    let manager =
        "configs[2].static_listeners[0].listener.filter_chains[0].filters[0].typed_config";
    assert_eq!(
        at("cannot be asked"),
        format!("{manager}.http_filters[0].typed_config.failure_mode_allow")
    );
    assert_eq!(
        at("the filter is turned off"),
        format!(
            "{manager}.route_config.virtual_hosts[0].routes[2].typed_per_filter_config[\"{NAME}\"]"
        )
    );
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn what_a_real_envoy_with_the_module_prints_is_clean() {
    is_clean(&dump_of(&read("envoy/module.yaml"), true), &[]);
}

/// What is told as open, a real Envoy lets through, with nobody there to ask.
#[test]
fn what_is_called_open_is_open() {
    let upstream = envoy_module::echo();
    let is_open = |config: &str, headers: &[&str]| {
        let [port, admin] = [(); 2].map(|()| free_port());
        // A check of the agents' health would wait for them.
        let (begin, end) = (config.rfind("      health_checks:\n").unwrap(), config.len());
        let mut config = config.to_owned();
        config.replace_range(begin..end, "");
        let nobody = free_port();
        let ports = [(8000, port), (8081, upstream), (9191, nobody), (9901, admin)];
        let room = tempfile::tempdir().unwrap();
        let config = with_ports(&config, "port_value: ", &ports);
        let envoy = Running::start(&mut envoy_of(NEWEST, &config, room.path()));
        listens(port);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--output", "/dev/null", "--write-out"]);
        curl.arg("%{http_code}").args(headers.iter().flat_map(|header| ["-H", header]));
        curl.arg(format!("http://127.0.0.1:{port}/api/agents"));
        let code = String::from_utf8(output(&mut curl, "").stdout).unwrap();
        assert!(code == "200" || code == "503", "{code}: {}", envoy.log());
        code == "200"
    };
    assert!(!is_open(&read("envoy/envoy.yaml"), &[]));
    let ways = [
        "cannot be asked",
        "a no is noted",
        "only a part",
        "the filter is turned off",
        "no filter is on",
        "pass the filter by",
        "no filter asks",
    ];
    let mut tried = 0;
    for case in [of_questions(), of_filters(), of_routes()].iter().flatten() {
        // Where it is the listener's, and not that of one of portcullis' own paths.
        let is_way = ways.iter().any(|way| case.cause == *way) && case.severity == "error";
        if !is_way || case.cause == "only a part" && case.config.contains("numerator: 99") {
            continue;
        }
        let upgrade = ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"];
        let upgrades = case.at.contains("upgrade");
        let headers = if upgrades { &upgrade[..] } else { &["x-skip: a"] };
        let found = findings(&case.config, &[]);
        assert!(is_open(&case.config, headers), "{} {found:#?}", case.cause);
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn every_form_of_a_file_is_read() {
    let config =
        replace(&read("envoy/envoy.yaml"), "failure_mode_allow: false", "failure_mode_allow: true");
    let dump: Value = serde_json::from_str(&dump_of(&config, false)).unwrap();
    let of = |kind: &str| {
        let mut configs = dump["configs"].as_array().unwrap().iter();
        configs.find(|it| it["@type"].as_str().unwrap().ends_with(kind)).unwrap().clone()
    };
    let listener = of("ListenersConfigDump")["static_listeners"][0]["listener"].clone();
    let state = json!({ "name": "gateway", "active_state": { "listener": listener } });
    let dynamic = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump";
    let mut untyped = listener.clone();
    untyped.as_object_mut().unwrap().remove("@type");
    let manager =
        "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.failure_mode_allow";
    let bootstrap = of("BootstrapConfigDump");
    for (form, before) in [
        (listener.clone(), ""),
        (untyped.clone(), ""),
        (json!([listener]), "[0]."),
        (json!({ "version_info": "1", "resources": [listener] }), "resources[0]."),
        (
            json!({ "resources": [{ "name": "gateway", "resource": listener }] }),
            "resources[0].resource.",
        ),
        (json!({ "configs": [bootstrap] }), "configs[0].bootstrap.static_resources.listeners[0]."),
        (
            json!({ "configs": [{ "@type": dynamic, "dynamic_listeners": [state] }] }),
            "configs[0].dynamic_listeners[0].active_state.listener.",
        ),
        (
            json!({ "configs": [{ "@type": format!("{dynamic}.DynamicListener"), "warming_state": { "listener": listener } }] }),
            "configs[0].warming_state.listener.",
        ),
        (
            json!({ "ns": { "pod": dump } }),
            "[\"ns\"][\"pod\"].configs[2].static_listeners[0].listener.",
        ),
        (
            json!({ "static_resources": { "listeners": [untyped] } }),
            "static_resources.listeners[0].",
        ),
    ] {
        let found = findings(&form.to_string(), &[]);
        let it = found.iter().find(|it| it["severity"] == "error").unwrap();
        assert_eq!(it["at"], json!(format!("{before}{manager}")), "{found:#?}");
        assert_eq!(it["listener"], "gateway");
    }
}

#[test]
fn what_an_rds_or_an_ecds_has_sent_is_looked_at_where_a_dump_has_it() {
    let config = read("envoy/envoy.yaml");
    let open = with(&config, LAST, &per_filter(26, NAME, &disabled()));
    let open = replace(&open, "failure_mode_allow: false", "failure_mode_allow: true");
    let mut dump: Value = serde_json::from_str(&dump_of(&open, false)).unwrap();
    // Those of a listener, under the same name.
    assert!(dump["configs"][4]["static_route_configs"][0]["route_config"]["name"] == "routes");
    let listener = "/configs/2/static_listeners/0/listener/filter_chains/0/filters/0/typed_config";
    let manager = dump.pointer_mut(listener).unwrap();
    let table = manager.as_object_mut().unwrap().remove("route_config").unwrap();
    manager["rds"] = json!({ "route_config_name": "routes" });
    let asking = manager["http_filters"][0]["typed_config"].clone();
    manager["http_filters"][0] = json!({ "name": NAME, "config_discovery": {
        "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"] } });
    let filter = json!({ "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": NAME, "typed_config": asking });
    dump["configs"].as_array_mut().unwrap().extend([
        json!({ "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [{ "route_config": table }] }),
        json!({ "@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump", "ecds_filters": [{ "ecds_filter": filter }] }),
    ]);
    let found = findings(&dump.to_string(), &[]);
    let places: Vec<&str> = found.iter().map(|it| it["at"].as_str().unwrap()).collect();
    assert_eq!(places.len(), 2, "{found:#?}");
    assert_eq!(places[0], "configs[7].ecds_filters[0].ecds_filter.typed_config.failure_mode_allow");
    assert!(
        places[1].starts_with("configs[6].dynamic_route_configs[0].route_config."),
        "{places:?}"
    );
}

#[test]
fn a_file_that_is_none_is_told_with_its_mend() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(200), close.repeat(200));
    for (text, told) in [
        ("", "no listener in it"),
        ("{}", "no listener in it"),
        ("- 1\n- a\n", "no listener in it"),
        ("admin: { address: {} }\n", "no listener in it"),
        ("{\"a\": ", "EOF"),
        ("a: [", "error:"),
        ("a: 1\na: 2\n", "a"),
        ("{\"a\": 1, \"a\": 2}", "\"a\" is there twice"),
        ("{\"failure_mode_allow\": false, \"failureModeAllow\": true}", "is there twice"),
        ("failureModeAllow: true\nfailure_mode_allow: false\n", "is there twice"),
        ("a: &x { b: 1 }\nc: { <<: *x }\n", "erge"),
        (&deep("[", "]"), "recursion limit"),
        (&deep("{\"a\":", "}"), "recursion limit"),
        (&format!("a: {}", deep("[", "]")), "epth"),
    ] {
        let (code, out, err) = check(text, &[]);
        assert_eq!((code, out.as_str()), (2, ""), "{text}: {err}");
        assert!(err.contains(told) && err.contains("\n  mend: "), "{text}: {err}");
    }
    let room = tempfile::tempdir().unwrap();
    let of = |name: &str| {
        let mut command = portcullis();
        let done = output(command.arg("check-envoy").arg(room.path().join(name)), "");
        assert_eq!(done.status.code(), Some(2));
        String::from_utf8(done.stderr).unwrap()
    };
    fs::write(room.path().join("latin"), b"a: \xff\n").unwrap();
    assert!(of("latin").contains("no UTF-8"));
    // It takes no room on a disk.
    fs::File::create(room.path().join("long")).unwrap().set_len((64 << 20) + 1).unwrap();
    assert!(of("long").contains("more than 64 MiB"));
    assert!(of("nowhere").contains("No such file"));
}

/// One route is enough to find the rest by, where a tool has written it on each.
#[test]
fn what_stands_on_every_route_is_told_once() {
    let config = read("envoy/envoy.yaml");
    let config = replace(&config, "                  max_stream_duration: 3600s\n", "");
    let config = replace(
        &config,
        "                upgrade_configs:\n                  - upgrade_type: websocket\n",
        "",
    );
    let ways = |kinds: &str| {
        let route = |path: &str| {
            format!(
                "                        - match: {{ prefix: {path} }}
                          route: {{ cluster: agents, upgrade_configs: [{kinds}] }}\n"
            )
        };
        findings(&before(&config, LAST, &["/a", "/b", "/c"].map(route).concat()), &[])
    };
    let found = ways("{ upgrade_type: websocket }, { upgrade_type: CONNECT }");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0]["at"].as_str().unwrap().ends_with("routes[2].route.upgrade_configs[0]"));
    assert!(found[1]["cause"].as_str().unwrap().contains("a tunnel of CONNECT"));
    assert!(ways("{ upgrade_type: h2c, enabled: false }").is_empty());
}

#[test]
fn what_is_meant_to_be_open_is_not_told() {
    let config = read("envoy/envoy.yaml");
    // A public site, by its cluster's name.
    let site = "                        - match: { prefix: /site }
                          route: { cluster: site }\n";
    let site = before(&config, LAST, &format!("{site}{}", per_filter(26, NAME, &disabled())));
    assert_eq!(findings(&site, &[]).len(), 1);
    is_clean(&site, &["--open", "site"]);
    // A listener that sends everybody to another, and one for the numbers of Envoy itself.
    let listener = |name: &str, route: &str| {
        let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        format!(
            "    - name: {name}
      filter_chains: [{{ filters: [{{ name: m, typed_config: {{ \"@type\": {manager}, stat_prefix: a,
        route_config: {{ virtual_hosts: [{{ name: a, domains: [\"*\"], routes: [{route}] }}] }} }} }}] }}]\n"
        )
    };
    let redirect =
        listener("plain", "{ match: { prefix: / }, redirect: { https_redirect: true } }");
    is_clean(&with(&config, LISTENERS, &redirect), &[]);
    let cluster = "    - name: itself
      load_assignment: { endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } } }] }] }\n";
    let own = with(&config, "  clusters:\n", cluster);
    let stats = |path: &str| {
        let route = format!("{{ match: {{ {path} }}, route: {{ cluster: itself }} }}");
        with(&own, LISTENERS, &listener("stats", &route))
    };
    is_clean(&stats("path: /stats/prometheus"), &[]);
    let all = findings(&stats("prefix: /"), &[]);
    assert!(
        all.iter().any(|it| it["severity"] == "error" && it["listener"] == "stats"),
        "{all:#?}"
    );
    // A filter that is off, and that each route turns on.
    let on = format!("\"@type\": {PER_ROUTE}, check_settings: {{}}");
    let off = with(&config, FILTER, &line(20, "disabled: true"));
    is_clean(&with(&off, LAST, &per_filter(26, NAME, &on)), &[]);
    // A route that turns it on again.
    let again = with(&config, HOST, &per_filter(22, NAME, &disabled()));
    is_clean(&with(&again, LAST, &per_filter(26, NAME, &on)), &[]);
}
