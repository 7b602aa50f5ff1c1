//! Metrics as Prometheus reads them, and spans as a collector receives them.
//!
//! Over 400 lines: one collector, one metrics endpoint, all that they are told.

use std::{
    collections::BTreeSet,
    io::Write as _,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use opentelemetry_proto::tonic::{
    collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
    common::v1::any_value::Value as Any,
    trace::v1::Span,
};
use serde_json::json;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status, transport::Endpoint};

use crate::{
    grpc::{bearer, question},
    issuer::table,
    mount::Mount,
    pki::Authority,
    replica::{PASSWORD, Replica, body},
    rogue::Rogue,
    stack::{Mode, NEWEST, envoy, envoy_of, replace, start_agents, start_portcullis, with_ports},
    support::{Running, eventually, free_port, listens, read},
};

/// A collector: what it was sent, with the name of the service that did.
#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, Span)>>>);

#[tonic::async_trait]
impl TraceService for Collector {
    async fn export(
        &self,
        request: Request<ExportTraceServiceRequest>,
    ) -> Result<Response<ExportTraceServiceResponse>, Status> {
        let mut all = self.0.lock().unwrap();
        for spans in request.into_inner().resource_spans {
            let resource = spans.resource.unwrap();
            let service = attribute(&resource.attributes, "service.name").unwrap();
            for span in spans.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                all.push((service.clone(), span));
            }
        }
        Ok(Response::new(ExportTraceServiceResponse::default()))
    }
}

fn attribute(
    attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue],
    key: &str,
) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    match found.value.as_ref()?.value.as_ref()? {
        Any::StringValue(text) => Some(text.clone()),
        other => panic!("{other:?}"),
    }
}

impl Collector {
    /// Starts one, and tells its port.
    async fn start() -> (Self, u16) {
        let collector = Self::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let server = tonic::transport::Server::builder()
            .add_service(TraceServiceServer::new(collector.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        tokio::spawn(server);
        (collector, port)
    }

    fn of(&self, service: &str) -> Vec<Span> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|(own, _)| own == service).map(|(_, span)| span.clone()).collect()
    }

    /// Waits for so many spans of that service.
    fn spans(&self, service: &str, count: usize) -> Vec<Span> {
        tokio::task::block_in_place(|| {
            eventually((service, count), || Some(self.of(service)).filter(|all| all.len() >= count))
        })
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

#[tokio::test(flavor = "multi_thread")]
async fn a_check_has_a_span_in_the_trace_of_its_request_when_that_is_sampled() {
    let (collector, port) = Collector::start().await;
    let replica = Replica::start(&format!(
        "telemetry.otlp_endpoint = \"http://127.0.0.1:{port}\"\ncheck.max_message_bytes = 65536\n"
    ));
    let channel = Endpoint::new(format!("http://{}", replica.check)).unwrap();
    let mut client = AuthorizationClient::new(channel.connect().await.unwrap());
    let token = bearer(&json!({}));
    let sampled = format!("00-{TRACE}-{PARENT}-01");
    let ask = |path: &str, trace: &str| {
        let mut headers = vec![("authorization", token.as_str())];
        headers.extend((!trace.is_empty()).then_some(("traceparent", trace)));
        question("GET", path, &headers)
    };
    // None of these: no trace, one that is not sampled, one that is none.
    for trace in ["", &format!("00-{TRACE}-{PARENT}-00"), "00-x-y-01"] {
        client.check(ask("/api/agents", trace)).await.unwrap();
    }
    client.check(ask("/api/agents?access-token=s3cret", &sampled)).await.unwrap();
    client.check(ask("/api/nowhere", &sampled)).await.unwrap();
    // A gateway's own span of the same trace is nearer; of another, it is not the request's.
    for own in [
        format!("00-{TRACE}-00000000000000aa-01"),
        format!("00-{}-00000000000000bb-01", "1".repeat(32)),
    ] {
        let mut call = Request::new(ask("/api/agents", &sampled));
        call.metadata_mut().insert("traceparent", own.parse().unwrap());
        client.check(call).await.unwrap();
    }
    // A trace that the gateway has begun.
    let mut call = Request::new(ask("/api/agents", ""));
    let begun = format!("00-{}-00000000000000cc-01", "2".repeat(32));
    call.metadata_mut().insert("traceparent", begun.parse().unwrap());
    client.check(call).await.unwrap();

    let spans = collector.spans("portcullis", 5);
    let told: Vec<_> = spans
        .iter()
        .map(|span| {
            let told = |key: &str| attribute(&span.attributes, key).unwrap_or_default();
            (
                hex(&span.trace_id),
                hex(&span.parent_span_id),
                told("portcullis.decision"),
                told("portcullis.reason"),
                told("portcullis.rule"),
                told("url.path"),
                told("user.id"),
            )
        })
        .collect();
    let row = |trace: &str, parent: &str, rest: [&str; 5]| {
        let [decision, reason, rule, path, user] = rest.map(str::to_owned);
        (trace.to_owned(), parent.to_owned(), decision, reason, rule, path, user)
    };
    let allowed = ["allow", "", "agents", "/api/agents", "7"];
    assert_eq!(
        told,
        [
            row(TRACE, PARENT, allowed),
            row(TRACE, PARENT, ["deny", "no_rule", "", "/api/nowhere", ""]),
            row(TRACE, "00000000000000aa", allowed),
            row(TRACE, PARENT, allowed),
            row(&"2".repeat(32), "00000000000000cc", allowed),
        ]
    );
    for span in &spans {
        assert_eq!(span.name, "check");
        let took = span.end_time_unix_nano - span.start_time_unix_nano;
        assert!((1..5_000_000_000).contains(&took), "{took} ns");
        let text = format!("{span:?}");
        assert!(!text.contains("s3cret") && !text.contains("eyJ"), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_leads_from_envoy_to_the_check() {
    const TRACING: &str = r#"                tracing:
                  random_sampling: { value: 100 }
                  provider:
                    name: envoy.tracers.opentelemetry
                    typed_config:
                      "@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig
                      grpc_service: { envoy_grpc: { cluster_name: collector }, timeout: 1s }
                      service_name: gateway
"#;
    const COLLECTOR: &str = r#"  clusters:
    - name: collector
      type: STRICT_DNS
      load_assignment:
        cluster_name: collector
        endpoints:
          - lb_endpoints:
              - endpoint:
                  address: { socket_address: { address: 127.0.0.1, port_value: 4317 } }
      typed_extension_protocol_options:
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
          "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
          explicit_http_config: { http2_protocol_options: {} }
"#;
    let (collector, otlp) = Collector::start().await;
    let [gateway, checks, agents, admin] = [(); 4].map(|()| free_port());
    let endpoint = format!("http://127.0.0.1:{otlp}");
    // The variable of every OpenTelemetry exporter works, too.
    let portcullis = start_portcullis(checks, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint)]);
    let _agents = start_agents(agents, &[]);
    let config = replace(
        &envoy(Mode::Strict),
        "                stat_prefix: gateway\n",
        &format!("                stat_prefix: gateway\n{TRACING}"),
    );
    let config = replace(&config, "  clusters:\n", COLLECTOR);
    let ports = [(8000, gateway), (9191, checks), (8081, agents), (9901, admin), (4317, otlp)];
    let room = tempfile::tempdir().unwrap();
    let config = with_ports(&config, "port_value: ", &ports);
    let _envoy = Running::start(&mut envoy_of(NEWEST, &config, room.path()));
    listens(gateway);
    let client = reqwest::Client::new();
    let ask = async || {
        let request = client.get(format!("http://127.0.0.1:{gateway}/api/agents"));
        let trace = format!("00-{TRACE}-{PARENT}-01");
        let request = request.header("authorization", bearer(&json!({})));
        request.header("traceparent", trace).send().await.unwrap().status().as_u16()
    };
    let started = std::time::Instant::now();
    while ask().await != 200 {
        assert!(started.elapsed() < crate::support::PATIENCE, "{}", portcullis.log());
    }
    let checks = collector.spans("portcullis", 1);
    let check = checks.last().unwrap();
    assert_eq!(hex(&check.trace_id), TRACE);
    // Up from the check, over Envoy's spans, to the client's.
    let mut parent = hex(&check.parent_span_id);
    let mut above = Vec::new();
    while parent != PARENT {
        let (name, next) = tokio::task::block_in_place(|| {
            eventually(&parent, || {
                let spans = collector.of("gateway");
                let span = spans.iter().find(|span| hex(&span.span_id) == parent)?;
                Some((span.name.clone(), hex(&span.parent_span_id)))
            })
        });
        above.push(name);
        parent = next;
    }
    assert!(!above.is_empty(), "the check's span is below a span of Envoy's");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collector_that_is_away_costs_no_check_and_is_told_of() {
    let port = free_port();
    let replica =
        Replica::start(&format!("telemetry.otlp_endpoint = \"http://127.0.0.1:{port}\"\n"));
    let channel = Endpoint::new(format!("http://{}", replica.check)).unwrap();
    let mut client = AuthorizationClient::new(channel.connect().await.unwrap());
    let (token, trace) = (bearer(&json!({})), format!("00-{TRACE}-{PARENT}-01"));
    let headers = [("authorization", token.as_str()), ("traceparent", &trace)];
    for _ in 0..100 {
        let answer = client.check(question("GET", "/api/agents", &headers)).await.unwrap();
        assert_eq!(answer.into_inner().status.unwrap().code, 0);
    }
    tokio::task::block_in_place(|| replica.says("opentelemetry"));
}

/// Whether `promtool` has nothing to say about it.
fn promtool(text: &str) {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool, of Debian's package prometheus: run tests/run");
    tool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let said = tool.wait_with_output().unwrap();
    let said = [said.stdout, said.stderr].concat();
    assert!(said.is_empty(), "{}\n{text}", String::from_utf8_lossy(&said));
}

/// Something of everything, and what it should have come to.
#[tokio::test(flavor = "multi_thread")]
async fn every_metric_has_the_value_that_it_should() {
    let replica = Replica::start(
        "[api_keys]\n\
         [[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\nroles = [\"REGULAR\"]\n\
         [[rules]]\nname = \"tried\"\npath_prefix = \"/api/agents\"\nroles = [\"ADMIN\"]\nmode = \"shadow\"\n",
    )
    .ready()
    .await;
    let channel = Endpoint::new(format!("http://{}", replica.check)).unwrap();
    let mut client = AuthorizationClient::new(channel.connect().await.unwrap());
    let (token, expired) = (bearer(&json!({})), bearer(&json!({ "exp": 1 })));
    for (path, token, times) in
        [("/api/agents", &token, 3), ("/api/agents", &expired, 2), ("/nowhere", &token, 1)]
    {
        for _ in 0..times {
            let question = question("GET", path, &[("authorization", token)]);
            client.check(question).await.unwrap();
        }
    }
    let nginx = replica.client.get(format!("http://{}/auth/nginx", replica.internal));
    let nginx = nginx.header("x-original-method", "GET").header("x-original-uri", "/api/agents");
    let nginx = nginx.header("x-original-host", "a").header("authorization", &token);
    assert_eq!(nginx.send().await.unwrap().status(), 204);
    let wrong = replica.post("/session", &body("ann", "wrong")).send().await.unwrap();
    assert_eq!(wrong.status(), 401);
    let mine = replica.token("ann").await;
    let exchanged = replica.exchange(&"A".repeat(43)).await;
    assert_eq!(exchanged.0, 401);
    let out = replica.client.post(replica.url("/session/logout")).bearer_auth(mine);
    assert_eq!(out.send().await.unwrap().status(), 200);
    tokio::task::block_in_place(|| {
        replica.running.signal("HUP");
        replica.says("was reloaded");
    });

    let checks = |labels: &str| format!("portcullis_checks_total{{{labels}}}");
    let logins = |method: &str, result: &str| {
        format!("portcullis_logins_total{{method=\"{method}\",result=\"{result}\"}}")
    };
    let reloads = |result: &str| format!("portcullis_config_reloads_total{{result=\"{result}\"}}");
    for (sample, expected) in [
        (checks("decision=\"allow\",reason=\"\",rule=\"agents\",transport=\"grpc\""), 3.0),
        (checks("decision=\"allow\",reason=\"\",rule=\"agents\",transport=\"nginx\""), 1.0),
        (checks("decision=\"deny\",reason=\"expired\",rule=\"agents\",transport=\"grpc\""), 2.0),
        (checks("decision=\"deny\",reason=\"no_rule\",rule=\"\",transport=\"grpc\""), 1.0),
        ("portcullis_api_keys{state=\"active\"}".into(), 0.0),
        ("portcullis_check_duration_seconds_count".into(), 7.0),
        ("portcullis_check_duration_seconds_bucket{le=\"+Inf\"}".into(), 7.0),
        ("portcullis_shadow_denials_total{rule=\"tried\"}".into(), 6.0),
        (logins("password", "wrong"), 1.0),
        (logins("password", "ok"), 1.0),
        (logins("code", "ok"), 1.0),
        (logins("code", "refused"), 1.0),
        ("portcullis_store_operations_total{operation=\"put_new\",result=\"ok\"}".into(), 1.0),
        ("portcullis_store_operations_total{operation=\"take\",result=\"ok\"}".into(), 2.0),
        // A sign-out: the session, and its token for former versions.
        ("portcullis_store_operations_total{operation=\"revoke\",result=\"ok\"}".into(), 2.0),
        ("portcullis_store_operations_total{operation=\"put_member\",result=\"ok\"}".into(), 1.0),
        ("portcullis_revoked_tokens".into(), 2.0),
        (reloads("ok"), 1.0),
        (reloads("failed"), 0.0),
        ("portcullis_config_last_reload_successful".into(), 1.0),
        (format!("portcullis_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION")), 1.0),
    ] {
        let value = replica.metric(&sample).await;
        assert!((value - expected).abs() < 0.001, "{sample} is {value}, not {expected}");
    }
    let took = replica.metric("portcullis_check_duration_seconds_sum").await;
    assert!(took > 0.0 && took < 1.0, "{took}");
    assert!(replica.metric("portcullis_store_duration_seconds_count").await >= 4.0);
    assert!(replica.metric("portcullis_revocations_age_seconds").await < 5.0);

    let text = replica.metrics().await;
    promtool(&text);
    assert!(
        !text.contains("ann") && !text.contains("nowhere") && !text.contains(PASSWORD),
        "{text}"
    );
    let url = format!("http://{}/metrics", replica.internal);
    let open =
        replica.client.get(url).header("accept", "application/openmetrics-text").send().await;
    let open = open.unwrap();
    assert!(
        open.headers()["content-type"]
            .to_str()
            .unwrap()
            .starts_with("application/openmetrics-text")
    );
    assert!(open.text().await.unwrap().ends_with("# EOF\n"));
}

/// The names of metrics in a text, and those of the labels that it asks for.
fn asked_for(text: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let (mut names, mut labels) = (BTreeSet::new(), BTreeSet::new());
    for (at, _) in text.match_indices("portcullis_") {
        let rest = &text[at..];
        let end = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
        names.insert(rest[..end].to_owned());
        if let Some(selector) = rest[end..].strip_prefix('{') {
            let selector = &selector[..selector.find('}').unwrap()];
            for matcher in selector.split(',') {
                let label: String = matcher.trim().chars().take_while(|c| is_name(*c)).collect();
                labels.insert(label);
            }
        }
    }
    for grouping in ["by (", "by(", "without ("] {
        for (at, _) in text.match_indices(grouping) {
            let rest = &text[at + grouping.len()..];
            let list = &rest[..rest.find(')').unwrap()];
            labels.extend(list.split(',').map(|label| label.trim().to_owned()));
        }
    }
    for (at, _) in text.match_indices("$labels.") {
        let rest = &text[at + "$labels.".len()..];
        labels.insert(rest.chars().take_while(|c| is_name(*c)).collect());
    }
    (names, labels)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dashboard_and_the_alerts_use_metrics_and_labels_that_there_are() {
    let ca = Authority::new("ours");
    let own = ca.issue(1, 2099);
    let issuer = Rogue::start().await;
    let toml = "http.tls = { cert_file = \"tls.crt\", key_file = \"tls.key\" }\n\
                http.public_url = \"https://localhost\"\n\
                [[rules]]\nname = \"a\"\npath = \"/a\"\naccess = \"authenticated\"\n\
                [[rules]]\nname = \"b\"\npath = \"/a\"\naccess = \"deny\"\nmode = \"shadow\"\n\
                [shadow]\nfile = \"next.toml\"\n\
                [api_keys]\n\
                [lifecycle]\ndrain = \"0s\"\n";
    let next = "[[rules]]\nname = \"a\"\npath = \"/a\"\naccess = \"deny\"\n";
    let toml = format!("{toml}{}", table("acme", &issuer.issuer, ""));
    let mount = Mount::new(&[
        ("portcullis.toml", toml.as_str()),
        ("next.toml", next),
        ("tls.crt", &own.certificate),
        ("tls.key", &own.key),
    ]);
    let replica = Replica::serving(&mount.file("portcullis.toml")).ready().await;
    let nginx = replica.client.get(format!("http://{}/auth/nginx", replica.internal));
    let nginx = nginx.header("x-original-method", "GET").header("x-original-uri", "/a");
    assert_eq!(nginx.header("x-original-host", "a").send().await.unwrap().status(), 401);
    let root = reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    let client = reqwest::Client::builder().tls_certs_only([root]).build().unwrap();
    let url = format!("https://localhost:{}/session", replica.http.port());
    assert_eq!(client.post(url).json(&body("x", "y")).send().await.unwrap().status(), 401);

    let text = replica.metrics().await;
    let (there, mut labels) = asked_for(&text);
    // Those that Prometheus adds itself.
    labels.extend(["namespace", "pod", "job", "instance"].map(str::to_owned));
    let files = ["alerts.yaml", "prometheus-rule.yaml", "alerts.test.yaml", "dashboard.json"];
    for file in files {
        let (names, asked) = asked_for(&read(&format!("k8s/monitoring/{file}")).replace('\\', ""));
        assert!(names.len() > 5, "{file}: {names:?}");
        for name in names {
            assert!(there.contains(&name), "{file} asks for {name}, and there is {there:?}");
        }
        for label in asked.iter().filter(|label| !label.is_empty()) {
            assert!(labels.contains(label), "{file} asks for {label}, and there is {labels:?}");
        }
    }
}
