//! Ways past portcullis in the listener, its logs, and the engine in Envoy itself.

use crate::{
    check_envoy_edits::{
        ASKS, Case, FILTER, FILTER_CONFIG, LAST, LISTENERS, MANAGER, NAME, PATH, before, case,
        disabled, filter, line, per_filter, with, without,
    },
    stack::replace,
    support::read,
};

/// What is made of a request before a filter sees it, and who else listens.
pub(crate) fn of_listeners() -> Vec<Case> {
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
            "may stay open for ever",
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
            "forwards raw bytes",
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
pub(crate) fn of_logs() -> Vec<Case> {
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
    let wasm = case("warning", "it is not known", "access_log[0].typed_config", log(wasm, ""));
    cases.push(Case { is_taken: false, ..wasm });
    cases
}

/// The engine in Envoy, and its fallback.
pub(crate) fn of_the_module() -> Vec<Case> {
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
    let denies = "                      deny_at_disable: { default_value: true, runtime_key: x }\n";
    let hangs = "depends on metadata other";
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
            "silently skips it",
            "http_filters[0]",
            with(&config, module, &line(20, "is_optional: true")),
        ),
        case(
            "error",
            "silently skips it",
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
            "there is no module",
            ".filter_enabled_metadata",
            without(&config, "portcullis"),
        ),
        case("error", "it writes where", "http_filters[1]", before(&config, FILTER, &writes)),
        case("warning", "ext_authz is off here", "", with(&config, LAST, &off)),
        case(
            "error",
            "what clients write into x-forwarded-for",
            "http_filters[0].typed_config",
            to(MANAGER, ""),
        ),
        case(
            "error",
            "leaves requests to ext_authz",
            "http_filters[0].typed_config",
            without(&config, NAME),
        ),
        case("warning", "is denied", ".deny_at_disable", with(&config, ASKS, denies)),
        case("error", "the filter is turned off", "[\"portcullis\"]", with(&config, LAST, &both)),
    ];
    // An Envoy would look for the module.
    cases.into_iter().map(|case| Case { is_taken: false, ..case }).collect()
}
