//! What an upstream gets in the place of the credential: a token that it can
//! verify by itself, in any language, by the public keys that the gateway's
//! address leads to.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    jwt,
    stack::{AGENTS_ALONE, Mode, NEWEST, REPLACES_CREDENTIAL, Stack, UPSTREAM, token},
    support::{free_port, output, portcullis, read, root},
};

const AUDIENCE: &str = "https://tools.internal";
/// As in the book, in place of the gateway's address.
const PRINTED_GATEWAY: &str = "https://gw.example.com";

const WEBSOCKET: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// A gateway, and what came last to the upstream behind it.
struct Minting {
    stack: Stack,
    gateway: String,
    arrived: Arc<Mutex<String>>,
    _room: tempfile::TempDir,
}

/// Keeps the head of what comes.
fn keeps_heads() -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let last = Arc::<Mutex<String>>::default();
    let kept = Arc::clone(&last);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head, mut chunk) = (stream.unwrap(), Vec::new(), [0; 4096]);
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(length @ 1..) => head.extend_from_slice(&chunk[..length]),
                    _ => break,
                }
            }
            *kept.lock().unwrap() = String::from_utf8_lossy(&head).into_owned();
            let answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (port, last)
}

/// The variables of a service that mints for upstreams, with a key in this room.
fn variables(room: &Path, gateway: &str, algorithm: &str) -> Vec<(&'static str, String)> {
    let pem = room.join("upstream.pem");
    let made = output(portcullis().args(["key-pair", "--alg", algorithm]), "");
    assert!(made.status.success(), "{made:?}");
    std::fs::write(&pem, made.stdout).unwrap();
    let keys = format!(
        "[{{ secret = {:?} }}, {{ kid = \"2026-11\", private_key_file = \"{}\" }}]",
        jwt::SECRET,
        pem.display()
    );
    vec![
        ("PORTCULLIS__HTTP__PUBLIC_URL", gateway.to_owned()),
        ("PORTCULLIS__TOKENS__KEYS", keys),
        ("PORTCULLIS__TOKENS__FORWARD", format!("{{ minted = {{ audience = {AUDIENCE:?} }} }}")),
    ]
}

fn borrowed<'a>(variables: &'a [(&'a str, String)]) -> Vec<(&'a str, &'a str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

impl Minting {
    fn start(mode: Mode, algorithm: &str) -> Self {
        let room = tempfile::tempdir().unwrap();
        let port = free_port();
        let gateway = format!("http://127.0.0.1:{port}");
        let (upstream, arrived) = keeps_heads();
        let mut variables = variables(room.path(), &gateway, algorithm);
        variables.push((UPSTREAM, upstream.to_string()));
        variables.push((REPLACES_CREDENTIAL.0, REPLACES_CREDENTIAL.1.to_owned()));
        let stack = Stack::on(port, "/api/healthcheck", NEWEST, mode, &borrowed(&variables));
        Self { stack, gateway, arrived, _room: room }
    }

    /// What arrived of a request, in lower-case lines.
    fn send(&self, path: &str, headers: &[(&str, &str)]) -> String {
        self.arrived.lock().unwrap().clear();
        let answer = self.stack.send("GET", path, headers);
        assert_eq!(answer.status, 200, "{answer:?}");
        self.arrived.lock().unwrap().clone()
    }
}

/// The one value of `authorization`.
fn authorization(head: &str) -> String {
    let lines = head.lines().filter_map(|line| line.split_once(": "));
    let mut values = lines.filter(|(name, _)| name.eq_ignore_ascii_case("authorization"));
    let (_, value) = values.next().unwrap_or_else(|| panic!("{head}"));
    assert_eq!(values.next(), None, "{head}");
    value.to_owned()
}

/// The claims of a token, of which nothing is verified.
fn claims(authorization: &str) -> Value {
    let token = authorization.strip_prefix("Bearer ").unwrap();
    portcullis::token::peek(token).unwrap().1
}

/// A sample of `examples/upstreams`, made to know this gateway.
struct Sample {
    name: &'static str,
    command: Box<dyn Fn() -> Command>,
}

fn text(name: &str, gateway: &str) -> String {
    let text = read(&format!("examples/upstreams/{name}"));
    assert!(text.contains(PRINTED_GATEWAY), "{name}");
    text.replace(PRINTED_GATEWAY, gateway)
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let (out, err) = (said(&output.stdout), said(&output.stderr));
    assert!(output.status.success(), "{command:?}\n{out}\n{err}");
}

/// Strictly compiled, then run by Node.
fn typescript(room: &Path, gateway: &str) -> Sample {
    let modules = root().join("target/npm/node_modules");
    assert!(modules.join("jose").exists(), "no jose: run tests/run, or tests/node/install");
    // Where its modules are found.
    let home = room.join("typescript");
    std::fs::create_dir(&home).unwrap();
    std::os::unix::fs::symlink(&modules, home.join("node_modules")).unwrap();
    std::fs::write(home.join("package.json"), r#"{ "type": "module" }"#).unwrap();
    std::fs::write(home.join("verify.ts"), text("verify.ts", gateway)).unwrap();
    let compiler = modules.join("typescript/bin/tsc");
    let options = ["--strict", "--module", "nodenext", "--target", "es2022"];
    succeeds(Command::new("node").arg(compiler).args(options).arg("verify.ts").current_dir(&home));
    let program = "import { user } from './verify.js'; let text = '';\
                   for await (const chunk of process.stdin) text += chunk;\
                   const { id, role } = await user(text.trim()); console.log(id, role);";
    let command = move || {
        let mut command = Command::new("node");
        command.args(["--input-type=module", "--eval", program]).current_dir(&home);
        command
    };
    Sample { name: "TypeScript", command: Box::new(command) }
}

fn python(room: &Path, gateway: &str) -> Sample {
    let python = root().join("target/python/bin/python");
    assert!(python.exists(), "no PyJWT: run tests/run, or tests/python/install");
    let home = room.join("python");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("verify.py"), text("verify.py", gateway)).unwrap();
    let program = "import sys, verify; user = verify.user(sys.stdin.read().strip()); \
                   print(user['id'], user['role'])";
    let command = move || {
        let mut command = Command::new(&python);
        command.args(["-c", program]).current_dir(&home);
        command
    };
    Sample { name: "Python", command: Box::new(command) }
}

/// Where there is no Java, and none can be had, that is said.
fn java(room: &Path, gateway: &str) -> Option<Sample> {
    if !crate::java::has_java() {
        return None;
    }
    let library = format!("{}/*", root().join("target/java").display());
    let home: PathBuf = room.join("java");
    std::fs::create_dir(&home).unwrap();
    std::fs::write(home.join("Verify.java"), text("Verify.java", gateway)).unwrap();
    std::fs::write(home.join("Who.java"), read("tests/java/Who.java")).unwrap();
    let sources = ["Verify.java", "Who.java"];
    succeeds(Command::new("javac").args(["-cp", &library]).args(sources).current_dir(&home));
    let command = move || {
        let mut command = Command::new("java");
        command.args(["-cp", &format!("{library}:."), "Who"]).current_dir(&home);
        command
    };
    Some(Sample { name: "Java", command: Box::new(command) })
}

#[test]
fn an_upstream_in_every_language_knows_who_it_is_by_the_public_keys_alone() {
    for algorithm in ["ES256", "EdDSA"] {
        let minting = Minting::start(Mode::Strict, algorithm);
        let own = token(&json!({}));
        let given = authorization(
            &minting.send("/api/agents", &[("authorization", &format!("Bearer {own}"))]),
        );
        // Another address's, and one that somebody has changed.
        let (head, signature) = given.rsplit_once('.').unwrap();
        let changed = format!("{head}.{}", signature.chars().rev().collect::<String>());
        let not_ours = format!("Bearer {own}");

        let room = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        let gateway = minting.gateway.as_str();
        let samples = [Some(typescript(room.path(), gateway)), Some(python(room.path(), gateway))];
        for Sample { name, command } in
            samples.into_iter().chain([java(room.path(), gateway)]).flatten()
        {
            let told = output(&mut command(), &given);
            let said = String::from_utf8_lossy(&told.stdout).trim().to_owned();
            let error = String::from_utf8_lossy(&told.stderr).into_owned();
            assert_eq!(said, "7 REGULAR", "{algorithm} {name}: {error}");
            for bad in [&changed, &not_ours] {
                let refused = output(&mut command(), bad);
                assert!(!refused.status.success(), "{algorithm} {name} takes {bad}");
            }
        }
        // The same keys, and another service.
        if algorithm == "ES256" {
            let python = python(elsewhere.path(), gateway);
            let file = elsewhere.path().join("python/verify.py");
            let text = std::fs::read_to_string(&file).unwrap();
            std::fs::write(&file, text.replace(AUDIENCE, "https://other.internal")).unwrap();
            assert!(!output(&mut (python.command)(), &given).status.success());
        }
    }
}

#[test]
fn every_gateway_hands_on_the_minted_token_and_nothing_of_the_credential() {
    for mode in [Mode::Strict, Mode::Http, Mode::Nginx, Mode::Caddy] {
        let minting = Minting::start(mode, "ES256");
        let own = token(&json!({}));
        let (bearer, cookie) = (format!("Bearer {own}"), format!("a=1; token={own}; b=2"));
        let mut ways = vec![
            ("/api/agents", vec![("authorization", bearer.as_str())]),
            ("/api/agents", vec![("cookie", cookie.as_str())]),
        ];
        let path = format!("/api/agents/1/react?access-token={own}&b=2");
        // Over HTTP, nobody can take a parameter away.
        if mode == Mode::Strict {
            ways.push((&path, WEBSOCKET.to_vec()));
        }
        let mut ids = Vec::new();
        for (path, headers) in ways {
            let head = minting.send(path, &headers);
            assert!(!head.contains(&own), "{mode:?}: {head}");
            let told = claims(&authorization(&head));
            let now = SystemClock.now().as_secs();
            let (iat, exp) = (told["iat"].as_i64().unwrap(), told["exp"].as_i64().unwrap());
            assert_eq!(exp - iat, 60, "{told}");
            assert!((now - 60..=now).contains(&iat), "{told}");
            for (name, expected) in [
                ("iss", minting.gateway.as_str()),
                ("aud", AUDIENCE),
                ("sub", "7"),
                ("name", "ann"),
                ("email", "ann@example.com"),
                ("role", "REGULAR"),
            ] {
                assert_eq!(told[name], expected, "{told}");
            }
            ids.push(told["jti"].clone());
        }
        ids.dedup();
        assert_eq!(ids.len(), 1, "one a minute: {ids:?}");
        // On a public route, nobody is nobody.
        let head = minting.send("/open/x", &[("authorization", "Bearer junk")]);
        assert!(!head.contains("junk") && !head.contains("Bearer"), "{mode:?}: {head}");
    }
}

#[test]
fn a_proxy_that_hands_on_what_it_is_told_keeps_the_credential_where_a_rule_says_so() {
    for mode in [Mode::Nginx, Mode::Caddy] {
        let room = tempfile::tempdir().unwrap();
        let (upstream, arrived) = keeps_heads();
        let mut variables = variables(room.path(), "http://localhost:8000", "ES256");
        let rules = r#"[
            { name = "agents", path_prefix = "/api/agents", roles = ["REGULAR"], forward = "as-is" },
            { name = "health", path = "/api/healthcheck", access = "public" },
            { name = "rest", path_prefix = "/", access = "authenticated" },
        ]"#;
        variables.extend([
            (UPSTREAM, upstream.to_string()),
            ("PORTCULLIS__RULES", rules.to_owned()),
            (REPLACES_CREDENTIAL.0, REPLACES_CREDENTIAL.1.to_owned()),
        ]);
        let variables = borrowed(&variables);
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &variables);
        let own = format!("Bearer {}", token(&json!({})));
        let send = |path: &str| {
            let headers = [("authorization", own.as_str()), ("cookie", "a=1; b=2")];
            assert_eq!(stack.send("GET", path, &headers).status, 200);
            arrived.lock().unwrap().clone()
        };
        let kept = send("/api/agents");
        assert_eq!(authorization(&kept), own, "{mode:?}");
        assert!(kept.contains("a=1; b=2") && kept.to_ascii_lowercase().contains("x-user-id: 7"));
        let minted = send("/other");
        assert_ne!(authorization(&minted), own, "{mode:?}");
        assert!(minted.contains("a=1; b=2"), "{mode:?}: {minted}");
    }
}

#[test]
fn the_agents_verify_once_more_by_the_gateways_public_keys() {
    let room = tempfile::tempdir().unwrap();
    let port = free_port();
    let gateway = format!("http://127.0.0.1:{port}");
    let mut variables = variables(room.path(), &gateway, "ES256");
    // They have no secret of the gateway's.
    let issuer = format!(
        "[{{ name = \"gateway\", issuer = {gateway:?}, audience = [{AUDIENCE:?}], \
         jwks_uri = \"{gateway}/.well-known/jwks.json\", id_prefix = \"\", \
         claims = {{ name = \"name\", role = \"role\" }} }}]"
    );
    let alone = |name: &str| format!("{AGENTS_ALONE}{name}");
    let (issuers, secret, keys, forward) = (
        alone("PORTCULLIS__ISSUERS"),
        alone("AUTH_JWT_SECRET"),
        alone("PORTCULLIS__TOKENS__KEYS"),
        alone("PORTCULLIS__TOKENS__FORWARD"),
    );
    let other = "[{ secret = \"another-secret-of-at-least-32-bytes\" }]".to_owned();
    variables.extend([
        (issuers.as_str(), issuer),
        (secret.as_str(), String::new()),
        (keys.as_str(), other),
        (forward.as_str(), "as-is".to_owned()),
    ]);
    let stack = Stack::on(port, "/api/healthcheck", NEWEST, Mode::Strict, &borrowed(&variables));
    let bearer = format!("Bearer {}", token(&json!({})));
    // Until the agents have fetched the keys, through the gateway.
    let answer = crate::support::eventually("the agents' consent", || {
        let answer = stack.send("GET", "/api/agents", &[("authorization", &bearer)]);
        (answer.status == 200).then_some(answer)
    });
    assert_eq!(answer.json()["received"]["identity"]["x-user-id"], json!(["7"]), "{answer:?}");
    // Past the gateway, its clients' tokens are nobody's.
    let agents = stack.agents.line("listening on");
    let address = agents.rsplit(' ').next().unwrap();
    let status = |authorization: &str| {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = format!(
            "GET /api/agents HTTP/1.1\r\nhost: a\r\nauthorization: {authorization}\r\n\
             connection: close\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        crate::stack::Answer::read(&mut stream).status
    };
    assert_eq!(status(&bearer), 401);
    assert_eq!(status("Bearer junk"), 401);
}

#[test]
fn the_public_keys_are_published_on_both_listeners() {
    let room = tempfile::tempdir().unwrap();
    let variables = variables(room.path(), "http://localhost:8080", "ES256");
    let running = crate::support::serve("127.0.0.1:0", &borrowed(&variables));
    for listener in ["http", "internal"] {
        let address = crate::support::address_of_listener(&running, listener);
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        let head = "GET /.well-known/jwks.json HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
        stream.write_all(head.as_bytes()).unwrap();
        let answer = crate::stack::Answer::read(&mut stream);
        assert_eq!(answer.headers["cache-control"], "public, max-age=300");
        let keys = answer.json()["keys"].as_array().unwrap().clone();
        assert_eq!(keys.len(), 1, "no secret is among them: {keys:?}");
        let names: Vec<&String> = keys[0].as_object().unwrap().keys().collect();
        assert_eq!(names, ["alg", "crv", "kid", "kty", "use", "x", "y"]);
        assert_eq!(keys[0]["kid"], "2026-11");
    }
}
