//! A client's view of a real gateway, the real binary, and the agents. Over 400
//! lines, since every gateway is started in the same way.

use std::{
    collections::BTreeMap,
    io::{Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    envoy_module, jwt, one_route,
    support::{
        PATIENCE, Running, address_of_listener, eventually, free_port, listens, read, root, serve,
    },
};

pub(crate) const VERSIONS: [&str; 3] = ["1.36.4", "1.37.0", "1.40.0"];
pub(crate) const NEWEST: &str = "1.40.0";

/// Which gateway it is, and how it is configured.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Mode {
    /// By `envoy/envoy.yaml` as it is.
    Strict,
    /// Nothing normalised, nothing refused, so that all reaches portcullis.
    Lax,
    /// The same, with headers sent as a list of bytes.
    LaxRaw,
    /// Strict, with the routes of `envoy/plans.yaml`, and a header sent that a
    /// condition reads.
    Plans,
    /// Strict, with the body sent as in `envoy/body.yaml`, and the headers that are
    /// looked at beside it.
    Bodies,
    /// By `envoy/mcp.yaml` as it is, for an MCP server.
    Mcp,
    /// Strict, with the MCP filter of `envoy/mcp_filter.yaml`, and the same headers.
    McpFilter,
    /// The same, which takes members that are there twice, as by default.
    McpFilterLoose,
    /// By `envoy/module.yaml` as it is: the engine in Envoy itself, told by portcullis.
    Fed,
    /// The same, with the routes of `envoy/plans.yaml`.
    FedPlans,
    /// The same as `Fed`, with a file to decide by.
    Module,
    /// Strict, asking over HTTP.
    Http,
    /// What nobody should do: an error is consent, and each question comes with
    /// more metadata than portcullis reads.
    Open,
    /// Not Envoy: `nginx/nginx.conf` as it is.
    Nginx,
    /// Not Envoy: `examples/Caddyfile` as it is.
    Caddy,
    /// As Envoy Gateway configures it by `k8s/envoy-gateway/one-route/grpc`.
    RouteGrpc,
    /// The same by `one-route/http`.
    RouteHttp,
    /// The same by Texera's own policy, which lacks both lists.
    Texera,
    /// Not Envoy: a server that includes `nginx/portcullis.conf`.
    Location,
    /// The same, asking where Envoy does, by HTTP/1.0 or 1.1.
    AsksAtEnvoys(u8),
}

impl Mode {
    /// Whether it knows 401 and 403 alone.
    pub(crate) fn is_nginx(self) -> bool {
        matches!(self, Self::Nginx | Self::Location | Self::AsksAtEnvoys(_))
    }

    pub(crate) fn is_envoy(self) -> bool {
        !self.is_nginx() && self != Self::Caddy
    }
}

/// Variables of a program's environment.
type Variables<'a> = &'a [(&'a str, &'a str)];

/// A variable that names the port of whoever stands in for the internal
/// listener.
pub(crate) const STANDS_IN: &str = "STANDS_IN";

/// A variable that names the port of whoever stands in for the agents.
pub(crate) const UPSTREAM: &str = "UPSTREAM";

/// A variable by which a gateway hands on what becomes of the credential.
pub(crate) const REPLACES_CREDENTIAL: (&str, &str) = ("REPLACES_CREDENTIAL", "1");

/// What begins a variable that is the agents' alone.
pub(crate) const AGENTS_ALONE: &str = "agents:";

/// The built-in rules, and a public path at which the agents show what
/// arrived.
const RULES: &str = r#"[
    { name = "agents", path_prefix = "/api/agents", roles = ["REGULAR", "ADMIN"] },
    { name = "health", path = "/api/healthcheck", access = "public" },
    { name = "open", path_prefix = "/open", access = "public" },
]"#;

pub(crate) const MODES: [Mode; 3] = [Mode::Strict, Mode::Lax, Mode::LaxRaw];

/// Replaces text that has to be there.
pub(crate) fn replace(config: &str, from: &str, to: &str) -> String {
    assert!(config.contains(from), "envoy.yaml has no {from:?}");
    config.replace(from, to)
}

pub(crate) fn start_portcullis(port: u16, environment: &[(&str, &str)]) -> Running {
    let mut environment = environment.to_vec();
    let says = |(name, _): &(&str, &str)| ["PORTCULLIS__RULES", "PORTCULLIS_CONFIG"].contains(name);
    if !environment.iter().any(says) {
        environment.push(("PORTCULLIS__RULES", RULES));
    }
    serve(&format!("127.0.0.1:{port}"), &environment)
}

/// The agents of the examples on this port, with these variables.
pub(crate) fn start_agents(port: u16, environment: &[(&str, &str)]) -> Running {
    let agents = agents(port, environment);
    agents.line("listening on");
    agents
}

/// The same, which may not come up.
pub(crate) fn agents(port: u16, environment: &[(&str, &str)]) -> Running {
    let agents = Path::new(env!("CARGO_BIN_EXE_portcullis"));
    let agents = agents.with_file_name("agents");
    assert!(agents.exists(), "no agents: cargo build --package portcullis-agents");
    Running::start(
        Command::new(agents)
            .env("AUTH_JWT_SECRET", jwt::SECRET)
            .env("PORTCULLIS__RULES", RULES)
            .env("AGENTS_LISTEN", format!("127.0.0.1:{port}"))
            .envs(environment.iter().copied()),
    )
}

pub(crate) struct Stack {
    pub(crate) port: u16,
    pub(crate) portcullis_port: u16,
    pub(crate) portcullis: Option<Running>,
    pub(crate) gateway: Running,
    /// Where Envoy tells of itself.
    pub(crate) admin: u16,
    pub(crate) agents: Running,
    room: tempfile::TempDir,
}

/// The gateway's command, with its configuration in the room.
fn gateway(
    version: &str,
    mode: Mode,
    ports: [(u16, u16); 6],
    room: &Path,
    replaces_credential: bool,
) -> Command {
    // What stands there for a `forward` other than "as-is".
    let whole = |text: String| {
        let lines = [
            "auth_request_set $",
            "proxy_set_header ",
            "copy_headers Authorization",
            "header_up -X-Api-Key",
        ];
        let uncomment = |text: String, line: &&str| text.replace(&format!("# {line}"), line);
        if replaces_credential { lines.iter().fold(text, uncomment) } else { text }
    };
    let file = |name: &str, text: &str| {
        let file = room.join(name);
        std::fs::write(&file, text).unwrap();
        file
    };
    match mode {
        Mode::Nginx | Mode::Location | Mode::AsksAtEnvoys(_) => {
            let files = match mode {
                Mode::Nginx => vec![("nginx.conf", read("nginx/nginx.conf"))],
                _ => one_route::nginx(mode).into(),
            };
            for (name, text) in files {
                file(name, &with_ports(&whole(text), "127.0.0.1:", &ports));
            }
            let mut command = Command::new("nginx");
            command.arg("-p").arg(room).arg("-c").arg(room.join("nginx.conf"));
            command.args(["-g", "daemon off;"]);
            command
        }
        Mode::Caddy => {
            let config = whole(read("examples/Caddyfile"));
            let config = with_ports(&config, "127.0.0.1:", &ports);
            let config = with_ports(&config, "http://:", &ports);
            let config = file("Caddyfile", &config);
            let mut command = Command::new("caddy");
            command.args(["run", "--adapter", "caddyfile", "--config"]).arg(config);
            command.env("HOME", room).env("XDG_DATA_HOME", room).env("XDG_CONFIG_HOME", room);
            command
        }
        _ => envoy_of(version, &with_ports(&envoy(mode), "port_value: ", &ports), room),
    }
}

/// A gateway in front of whoever listens on these ports; where each is usually, and
/// where it is here.
pub(crate) fn start_gateway(mode: Mode, ports: [(u16, u16); 6], room: &Path) -> Running {
    let running = Running::start(&mut gateway(NEWEST, mode, ports, room, false));
    listens(ports[0].1);
    running
}

/// An Envoy with this configuration, which is written into the room.
pub(crate) fn envoy_of(version: &str, config: &str, room: &Path) -> Command {
    let binary = root().join("target/envoy").join(version).join("envoy");
    assert!(binary.exists(), "no Envoy {version}: run envoy/install {version}");
    let file = room.join("envoy.yaml");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new(binary);
    command.arg("--config-path").arg(file);
    command.args(["--concurrency", "1", "--disable-hot-restart", "--log-level", "warning"]);
    command
}

/// A configuration with ports of our own, where it has the usual ones.
pub(crate) fn with_ports(config: &str, before: &str, ports: &[(u16, u16)]) -> String {
    ports.iter().fold(config.to_owned(), |config, (theirs, ours)| {
        let mut out = String::new();
        let mut rest = config.as_str();
        while let Some(at) = rest.find(&format!("{before}{theirs}")) {
            let (head, tail) = rest.split_at(at);
            let tail = &tail[before.len() + theirs.to_string().len()..];
            // What was replaced already is longer than the usual four digits.
            let ours = if tail.starts_with(|c: char| c.is_ascii_digit()) { theirs } else { ours };
            out.push_str(&format!("{head}{before}{ours}"));
            rest = tail;
        }
        out + rest
    })
}

/// The configuration with more time for an answer: a machine that is busy with
/// other tests is no error. Envoy takes the second for the time of each try.
pub(crate) fn patient(config: &str) -> String {
    let config = replace(config, "timeout: 0.25s", "timeout: 20s");
    replace(&config, "max_interval: 0.12s", "max_interval: 10s")
}

/// Nothing normalised, nothing refused.
pub(crate) fn lax(config: &str) -> String {
    [
        ("normalize_path: true", "normalize_path: false"),
        ("merge_slashes: true", "merge_slashes: false"),
        ("UNESCAPE_AND_REDIRECT", "KEEP_UNCHANGED"),
        ("REJECT_REQUEST", "ALLOW"),
        ("max_request_headers_kb: 32", "max_request_headers_kb: 96"),
    ]
    .iter()
    .fold(config.to_owned(), |config, (from, to)| replace(&config, from, to))
}

/// `envoy/envoy.yaml` in this mode.
pub(crate) fn envoy(mode: Mode) -> String {
    if matches!(mode, Mode::RouteGrpc | Mode::RouteHttp | Mode::Texera) {
        return one_route::envoy(mode);
    }
    if mode == Mode::Mcp {
        return patient(&read("envoy/mcp.yaml"));
    }
    if matches!(mode, Mode::Module | Mode::Fed) {
        return patient(&read("envoy/module.yaml"));
    }
    if mode == Mode::FedPlans {
        return envoy_module::with_plans(&envoy(Mode::Fed));
    }
    let mut config = read("envoy/envoy.yaml");
    if mode == Mode::Http {
        let (begin, end) = ("                      grpc_service:\n", "timeout: 0.25s\n");
        let at = config.find(begin).unwrap();
        let grpc = &config[at..at + config[at..].find(end).unwrap() + end.len()].to_owned();
        config = replace(&config, grpc, &read("envoy/http_service.yaml"));
        // It has its own list of headers.
        let begin = config.find("                      # What a decision can need").unwrap();
        let end = begin + config[begin..].find("                  - name:").unwrap();
        config.replace_range(begin..end, "");
        let cluster = read("envoy/portcullis_internal.yaml");
        config = replace(&config, "  clusters:\n", &format!("  clusters:\n{cluster}"));
    }
    if matches!(mode, Mode::Lax | Mode::LaxRaw) {
        config = lax(&config);
    }
    if mode == Mode::Plans {
        let last = "                        - match: { prefix: \"/\" }\n                          \
                    route: { cluster: agents, timeout: 15s }\n";
        config = replace(&config, last, &read("envoy/plans.yaml"));
        let header = "                          - exact: origin\n";
        config =
            replace(&config, header, &format!("{header}{}", header.replace("origin", "x-tenant")));
    }
    if matches!(mode, Mode::McpFilter | Mode::McpFilterLoose) {
        let check = "                  - name: envoy.filters.http.ext_authz\n";
        config = replace(&config, check, &format!("{}{check}", read("envoy/mcp_filter.yaml")));
        if mode == Mode::McpFilterLoose {
            config = replace(&config, "                      reject_duplicate_keys: true\n", "");
        }
        let decision = "                          decision: ";
        let told = "mcp: \"%DYNAMIC_METADATA(envoy.filters.http.mcp)%\"";
        config =
            replace(&config, decision, &format!("                          {told}\n{decision}"));
    }
    if matches!(mode, Mode::Bodies | Mode::McpFilter | Mode::McpFilterLoose) {
        let before = "                      # What a decision can need";
        let more = match mode {
            Mode::Bodies => read("envoy/body.yaml"),
            _ => "                      metadata_context_namespaces: [envoy.filters.http.mcp]\n"
                .to_owned(),
        };
        config = replace(&config, before, &format!("{more}{before}"));
        let header = "                          - exact: origin\n";
        let more = ["content-type", "content-encoding", "content-length", "transfer-encoding"];
        let of_mcp = ["mcp-method", "mcp-name", "mcp-protocol-version"];
        let more = more.iter().chain(&of_mcp).map(|name| header.replace("origin", name));
        config = replace(&config, header, &format!("{header}{}", more.collect::<String>()));
    }
    if mode == Mode::Open {
        config = replace(&config, "failure_mode_allow: false", "failure_mode_allow: true");
        config = patient(&config);
        let metadata: String = (0..3)
            .map(|n| format!("{{ key: x-long-{n}, value: {:?} }}, ", "x".repeat(15_000)))
            .collect();
        let service = "grpc_service:\n";
        let with = format!("{service}                        initial_metadata: [{metadata}]\n");
        config = replace(&config, service, &with);
    }
    if mode == Mode::LaxRaw {
        config = replace(&config, "validate_mutations: true", "encode_raw_headers: true");
    }
    config
}

impl Stack {
    pub(crate) fn start(version: &str, mode: Mode) -> Self {
        Self::with(version, mode, &[])
    }

    /// With these variables for portcullis and the agents.
    pub(crate) fn with(version: &str, mode: Mode, environment: &[(&str, &str)]) -> Self {
        let stack = Self::waiting_at("", version, mode, environment);
        // It is up before it has seen that the others are.
        stack.comes_back();
        stack
    }

    /// The same, up when this path is answered.
    pub(crate) fn waiting_at(
        path: &str,
        version: &str,
        mode: Mode,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::on(free_port(), path, version, mode, environment)
    }

    /// The same on this port.
    pub(crate) fn on(
        port: u16,
        path: &str,
        version: &str,
        mode: Mode,
        environment: &[(&str, &str)],
    ) -> Self {
        Self::changed(port, path, version, mode, (environment, environment), &str::to_owned)
    }

    /// The same, with other variables for an engine in Envoy, and with a change of Envoy's
    /// configuration.
    pub(crate) fn changed(
        port: u16,
        path: &str,
        version: &str,
        mode: Mode,
        (environment, of_module): (Variables<'_>, Variables<'_>),
        change: &dyn Fn(&str) -> String,
    ) -> Self {
        let [portcullis_port, agents_port, admin] = [(); 3].map(|()| free_port());

        let room = tempfile::tempdir().unwrap();
        let feed = format!("unix:{}/feed.sock", room.path().display());
        let is_fed = matches!(mode, Mode::Fed | Mode::FedPlans);
        let feed = is_fed.then_some((envoy_module::FEED, feed.as_str()));
        let environment: Vec<(&str, &str)> = environment.iter().copied().chain(feed).collect();
        let environment = &environment[..];
        let portcullis = start_portcullis(portcullis_port, environment);
        let of_agents: Vec<(&str, &str)> = environment
            .iter()
            .map(|(name, value)| (name.strip_prefix(AGENTS_ALONE).unwrap_or(name), *value))
            .collect();
        let agents = start_agents(agents_port, &of_agents);

        let listener = |name| address_of_listener(&portcullis, name).port();
        // Somebody else may answer in their place.
        let stands_in = |variable: &str| {
            let port = environment.iter().find(|(name, _)| *name == variable);
            port.map(|(_, port)| port.parse().unwrap())
        };
        let internal = stands_in(STANDS_IN).unwrap_or_else(|| listener("internal"));
        let upstream = stands_in(UPSTREAM).unwrap_or(agents_port);
        let ports = [
            (8000, port),
            (9191, portcullis_port),
            (9192, internal),
            (8080, listener("http")),
            (8081, upstream),
            (9901, admin),
        ];
        let mut gateway =
            gateway(version, mode, ports, room.path(), environment.contains(&REPLACES_CREDENTIAL));
        if is_fed || mode == Mode::Module {
            // What portcullis is told, the engine in Envoy is.
            let of_module: Vec<_> = of_module.iter().copied().chain(feed).collect();
            envoy_module::prepare(&mut gateway, room.path(), RULES, &of_module);
        }
        let file = room.path().join("envoy.yaml");
        if mode.is_envoy() {
            std::fs::write(&file, change(&std::fs::read_to_string(&file).unwrap())).unwrap();
        }
        let gateway = Running::start(&mut gateway);
        listens(port);
        let portcullis = Some(portcullis);
        let stack = Self { port, portcullis_port, portcullis, gateway, admin, agents, room };
        if !path.is_empty() {
            eventually(path, || (stack.send("GET", path, &[]).status == 200).then_some(()));
        }
        stack
    }

    /// Where the files of the gateway are.
    pub(crate) fn room(&self) -> &Path {
        self.room.path()
    }

    /// Waits until a good token is let through.
    pub(crate) fn comes_back(&self) {
        let good = bearer("ADMIN");
        eventually("a good answer", || {
            let answer = self.send("GET", "/api/agents", &[("authorization", &good)]);
            (answer.status == 200).then_some(())
        });
    }

    /// Sends a request as it is written, over a socket.
    pub(crate) fn send(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request =
            format!("{method} {path} HTTP/1.1\r\nhost: app.example.com\r\n").into_bytes();
        let closes = !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("connection"));
        for (name, value) in headers {
            request.extend(format!("{name}: {value}\r\n").bytes());
        }
        request.extend(if closes { &b"connection: close\r\n\r\n"[..] } else { &b"\r\n"[..] });
        self.send_bytes(&request)
    }

    /// The same with a body.
    pub(crate) fn send_json(&self, method: &str, path: &str, bearer: &str, body: &Value) -> Answer {
        let body = body.to_string();
        self.send_bytes(
            format!(
                "{method} {path} HTTP/1.1\r\nhost: app.example.com\r\nauthorization: {bearer}\r\n\
                 content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            )
            .as_bytes(),
        )
    }

    /// Makes an agent of this model, of the user of [`token`], and tells the
    /// path of its WebSocket.
    pub(crate) fn new_agent(&self, model: &str) -> String {
        let wish = json!({ "modelType": model });
        let made = eventually("an agent", || {
            let made = self.send_json("POST", "/api/agents", &bearer("REGULAR"), &wish);
            (made.status == 201).then_some(made)
        });
        format!("/api/agents/{}/react", made.json()["id"].as_str().unwrap())
    }

    pub(crate) fn send_bytes(&self, request: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // It may have answered, and closed, before it has read all.
        let _ = stream.write_all(request);
        Answer::read(&mut stream)
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) body: String,
}

impl Answer {
    /// Reads an answer with a `content-length`, or up to the end.
    pub(crate) fn read(stream: &mut TcpStream) -> Self {
        let mut bytes = Vec::new();
        let mut chunk = [0; 16 * 1024];
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let answer = Self::parse(head, body);
                let length = answer.headers.get("content-length").and_then(|v| v.parse().ok());
                if length.is_some_and(|length: usize| body.len() >= length) || answer.status == 101
                {
                    return answer;
                }
            }
            if let Ok(length @ 1..) = stream.read(&mut chunk) {
                bytes.extend_from_slice(&chunk[..length]);
            } else {
                let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
                return Self::parse(head, body);
            }
        }
    }

    pub(crate) fn parse(head: &str, body: &str) -> Self {
        let mut lines = head.lines();
        // A connection that is closed without an answer lets nothing through.
        let status =
            lines.next().and_then(|line| line.split(' ').nth(1)?.parse().ok()).unwrap_or(0);
        // A header that is there twice is told as such.
        let mut headers: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            headers
                .entry(name.to_ascii_lowercase())
                .and_modify(|before| *before = format!("{before} | {}", value.trim()))
                .or_insert_with(|| value.trim().to_owned());
        }
        Self { status, headers, body: body.to_owned() }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Whether the upstream has seen the request.
    pub(crate) fn reached(&self) -> bool {
        self.body.contains("\"received\"")
    }
}

pub(crate) fn token(changes: &Value) -> String {
    jwt::token(&jwt::with(SystemClock.now().as_secs(), changes))
}

pub(crate) fn bearer(role: &str) -> String {
    format!("Bearer {}", token(&json!({ "role": role })))
}
