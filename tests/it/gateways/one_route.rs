//! Gateways that are there already, of which one route or location is guarded:
//! by the policies of `k8s/envoy-gateway/one-route`, as Envoy Gateway 1.9.1
//! translates them, and by `nginx/portcullis.conf`.

use crate::{
    stack::{Mode, replace},
    support::read,
};

/// Where a request goes that no policy is on: to the agents' health check.
pub(crate) const ELSEWHERE: &str = "/elsewhere";

/// The filter's name: `SecurityPolicy`, its namespace and name
/// (`internal/xds/translator/utils.go`, `perRouteFilterName`).
const FILTER: &str = "envoy.filters.http.ext_authz/securitypolicy/agents/one-route";

/// What Texera has, with our Service in the place of its own.
const TEXERA: &str = "
  extAuth:
    http:
      path: /api/auth
      headersToBackend:
        - x-user-id
        - x-user-name
        - x-user-email
";

/// The texts of a list in a manifest.
fn list<'a>(manifest: &'a str, key: &str) -> Vec<&'a str> {
    let mut lines = manifest.lines().map(str::trim).skip_while(|line| *line != format!("{key}:"));
    lines.next();
    lines.filter(|line| !line.starts_with('#')).map_while(|line| line.strip_prefix("- ")).collect()
}

/// What stands behind a key of a manifest.
fn value<'a>(manifest: &'a str, key: &str) -> Option<&'a str> {
    manifest.lines().find_map(|line| line.trim().strip_prefix(key)?.strip_prefix(": "))
}

/// A `ListStringMatcher`: names alone, in any case.
fn patterns(names: &[&str]) -> String {
    let pattern = |name: &&str| format!("{{ exact: \"{name}\", ignore_case: true }}");
    let patterns: Vec<String> = names.iter().map(pattern).collect();
    format!("{{ patterns: [{}] }}", patterns.join(", "))
}

/// The manifest of this mode.
fn manifest(mode: Mode) -> String {
    match mode {
        Mode::RouteGrpc => read("k8s/envoy-gateway/one-route/grpc/policy.yaml"),
        Mode::RouteHttp => read("k8s/envoy-gateway/one-route/http/policy.yaml"),
        _ => TEXERA.to_owned(),
    }
}

/// The `ExtAuthz` of a manifest (`internal/xds/translator/extauth.go`,
/// `extAuthConfig`): `failOpen` is `failure_mode_allow`, `statusOnError` is
/// `status_on_error`, `headersToExtAuth` is `allowed_headers`, each name
/// `exact` in any case; `timeout` and `retry` are the service's.
fn ext_authz(mode: Mode) -> String {
    let manifest = manifest(mode);
    let number = |key, default| value(&manifest, key).unwrap_or(default).to_owned();
    let timeout = number("timeout", "10000ms").replace("250ms", "0.25s").replace("10000ms", "10s");
    let retry = value(&manifest, "triggers").map_or(String::new(), |triggers| {
        let triggers = triggers.trim_matches(['[', ']']).replace(", ", ",");
        let retries = number("numRetries", "2");
        format!(
            "retry_policy: {{ num_retries: {retries}, retry_on: \"{triggers}\", \
             retry_back_off: {{ base_interval: 0.005s, max_interval: 0.12s }} }}"
        )
    });
    let service = if mode == Mode::RouteGrpc {
        format!(
            "grpc_service:
                        envoy_grpc: {{ cluster_name: portcullis, authority: \"portcullis.portcullis:9191\" }}
                        timeout: {timeout}
                        {retry}"
        )
    } else {
        // `path` is `path_prefix`; `headersToBackend` is
        // `authorization_response.allowed_upstream_headers`.
        format!(
            "http_service:
                        server_uri:
                          uri: http://portcullis-internal.portcullis:9192{path}
                          cluster: portcullis_internal
                          timeout: {timeout}
                        path_prefix: {path}
                        {retry}
                        authorization_response:
                          allowed_upstream_headers: {backend}",
            path = value(&manifest, "path").unwrap(),
            backend = patterns(&list(&manifest, "headersToBackend")),
        )
    };
    let sent = list(&manifest, "headersToExtAuth");
    let sent = (!sent.is_empty()).then(|| format!("allowed_headers: {}", patterns(&sent)));
    format!(
        "                  - name: {FILTER}
                    disabled: true
                    typed_config:
                      \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz
                      transport_api_version: V3
                      failure_mode_allow: {fail_open}
                      status_on_error: {{ code: {status} }}
                      {sent}
                      {service}
",
        fail_open = number("failOpen", "false"),
        status = number("statusOnError", "403"),
        sent = sent.unwrap_or_default(),
    )
}

/// An Envoy as Envoy Gateway configures one: the filter is there and disabled,
/// and a route with the policy has it enabled by `ExtAuthzPerRoute` with empty
/// `check_settings` (`patchRoute`). Its defaults for clients are those of
/// `envoy/envoy.yaml`: `normalize_path`, `merge_slashes`,
/// `UNESCAPE_AND_REDIRECT` and `REJECT_REQUEST`. It has no filter for trailers.
pub(crate) fn envoy(mode: Mode) -> String {
    let mut config = read("envoy/envoy.yaml");
    let begin = config.find("                  - name: envoy.filters.http.ext_authz\n").unwrap();
    let end = config.find("                  - name: envoy.filters.http.router\n").unwrap();
    config.replace_range(begin..end, &ext_authz(mode));
    config = replace(
        &config,
        "http.router.v3.Router\n",
        "http.router.v3.Router\n                      suppress_envoy_headers: true\n",
    );
    config = replace(
        &config,
        "                upgrade_configs:\n                  - upgrade_type: websocket\n",
        "",
    );
    let routes = "                      routes:\n";
    let begin = config.find(routes).unwrap() + routes.len();
    let end = config.find("  clusters:\n").unwrap();
    let of_agents = format!(
        "                        - match: {{ path_separated_prefix: {ELSEWHERE} }}
                          route: {{ cluster: agents, prefix_rewrite: /api/healthcheck }}
                        - match: {{ prefix: / }}
                          route:
                            cluster: agents
                            upgrade_configs: [{{ upgrade_type: websocket }}]
                          typed_per_filter_config:
                            {FILTER}:
                              \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute
                              check_settings: {{}}
"
    );
    config.replace_range(begin..end, &of_agents);
    let cluster = read("envoy/portcullis_internal.yaml");
    replace(&config, "  clusters:\n", &format!("  clusters:\n{cluster}"))
}

/// A server that was there before, as in Texera: WebSockets go on as the client
/// asks for them. Its location `/` has got the four lines of `portcullis.conf`,
/// and another location has not.
const SERVER: &str = r#"
pid nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    server_tokens off;
    upstream portcullis { server 127.0.0.1:9192; keepalive 64; keepalive_timeout 10s; }
    server {
        listen 127.0.0.1:8000;
        include portcullis.conf;

        location / {
            # four lines
            proxy_pass http://127.0.0.1:8081;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_set_header Host $host;
            proxy_set_header X-Real-IP $remote_addr;
            proxy_read_timeout 1d;
        }
        location /elsewhere {
            proxy_pass http://127.0.0.1:8081/api/healthcheck;
        }
    }
}
"#;

/// The four lines that `portcullis.conf` tells of.
fn four_lines(included: &str) -> Vec<&str> {
    let told = included.lines().skip_while(|line| !line.contains("in each location")).skip(2);
    told.map_while(|line| line.strip_prefix("#    ")).collect()
}

/// The configuration of that nginx, and what it includes.
pub(crate) fn nginx(mode: Mode) -> [(&'static str, String); 3] {
    let mut included = read("nginx/portcullis.conf");
    let lines = four_lines(&included).join("\n");
    assert_eq!(lines.lines().count(), 4, "{lines}");
    if let Mode::AsksAtEnvoys(version) = mode {
        // As one does who has read how Envoy asks.
        let ask = "proxy_pass http://portcullis/auth/nginx;\n    proxy_http_version 1.1;";
        let (before, rest) = included.split_once(ask).unwrap();
        let (_, after) = rest.split_once("proxy_set_header Content-Length").unwrap();
        let (_, after) = after.split_once("}\n").unwrap();
        let version = match version {
            1 => "proxy_http_version 1.1; proxy_set_header Connection \"\";",
            _ => "",
        };
        included = format!(
            "{before}proxy_pass http://portcullis/api/auth$request_uri; {version}
            proxy_pass_request_body off; proxy_set_header Content-Length \"\";
            proxy_set_header Host $http_host; }}{after}"
        );
    }
    [
        ("nginx.conf", replace(SERVER, "# four lines", &lines)),
        ("portcullis.conf", included),
        ("portcullis_location.conf", read("nginx/portcullis_location.conf")),
    ]
}

#[test]
fn the_included_location_asks_and_answers_as_the_whole_configuration_does() {
    let (whole, included) = (read("nginx/nginx.conf"), read("nginx/portcullis.conf"));
    let location = read("nginx/portcullis_location.conf");
    // The comments and the names are their own.
    let plain = |text: &str| -> Vec<String> {
        let words = text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
        let renamed = words.map(|line| {
            line.replace("$portcullis_sign_in", "$sign_in")
                .replace("$portcullis_user_", "$user_")
                .replace("$portcullis_renewed", "$renewed")
                .replace("$portcullis_reason", "$denied_for")
                .replace("$portcullis_challenge", "$challenge")
        });
        renamed.filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    };
    let block = |text: &str, begin: &str| -> Vec<String> {
        let (_, rest) = text.split_once(begin).unwrap_or_else(|| panic!("no {begin}"));
        plain(rest.split_once("\n        }\n").or_else(|| rest.split_once("\n}\n")).unwrap().0)
    };
    let mut asks = block(&included, "location = /_portcullis {");
    // Where the location itself lets WebSockets alone pass, this needs no answer.
    assert_eq!(asks.pop().unwrap(), "proxy_set_header Upgrade $http_upgrade;");
    assert_eq!(asks, block(&whole, "location = /_portcullis {"));
    for (here, there) in [
        ("location @portcullis_unauthenticated {", "location @unauthenticated {"),
        ("location @portcullis_denied {", "location @denied {"),
    ] {
        assert_eq!(block(&included, here), block(&whole, there));
    }
    let page = plain(&read("docs/src/how-to/one-route.md"));
    for line in plain(&four_lines(&included).join("\n")) {
        assert!(page.contains(&line), "one-route.md has no {line:?}");
    }
    let whole = plain(&whole);
    for line in plain(&location) {
        assert!(whole.contains(&line), "nginx.conf has no {line:?}");
    }
}
