//! The command line: what it prints, its exit codes, and the running service.

use std::{
    fs,
    net::TcpStream,
    process::Output,
    time::{Duration, Instant},
};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    ask, jwt,
    support::{Running, address_of, minted, output, portcullis, portcullis_of, root, serve},
};

fn run(arguments: &[&str]) -> Output {
    output(portcullis().args(arguments), "")
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn err(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A token by the machine's clock, from the command line.
fn mint(role: &str) -> String {
    minted(role, None)
}

#[test]
fn every_command_has_help_with_an_example() {
    for command in
        [&["serve"][..], &["check-config"], &["explain"], &["token", "mint"], &["token", "inspect"]]
    {
        let help = run(&[command, &["--help"]].concat());
        assert_eq!(code(&help), 0);
        assert!(out(&help).contains("Example"), "{command:?}");
        assert!(out(&help).contains("--config"), "{command:?}");
    }
    for command in ["key-pair", "check-envoy"] {
        assert!(out(&run(&[command, "--help"])).contains("Example"), "{command}");
    }
    assert_eq!(code(&run(&[])), 2);
    assert_eq!(code(&run(&["dance"])), 2);
    assert!(out(&run(&["--version"])).starts_with("portcullis "));
}

#[test]
fn check_config_says_ok_or_everything_that_is_wrong() {
    let fine = run(&["check-config"]);
    assert_eq!((code(&fine), out(&fine).as_str()), (0, "ok\n"));

    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("p.toml");
    fs::write(&file, "check.listen = \"x\"\ntokens.leeway = \"y\"\nnonsense = 1").unwrap();
    let bad = run(&["check-config", "--config", file.to_str().unwrap()]);
    assert_eq!((code(&bad), out(&bad).as_str()), (2, ""));
    let said = err(&bad);
    for key in ["check.listen", "tokens.leeway", "nonsense"] {
        assert!(said.contains(&format!("error: {key} ({}): ", file.display())), "{said}");
    }
    assert_eq!(said.matches("\n  fix: ").count(), 3, "{said}");
}

#[test]
fn explain_tells_the_decision_of_the_same_engine() {
    let denied = run(&["explain", "/api/agents"]);
    assert_eq!(code(&denied), 1);
    insta::assert_snapshot!(out(&denied), @r#"
    decision deny
    rule     agents
    reason   no_credential
    status   401
    answer   content-type: application/json
    answer   cache-control: no-store
    answer   www-authenticate: Bearer realm="portcullis"
    fix      send `Authorization: Bearer TOKEN`; on a WebSocket, the query parameter
    "#);

    let bearer = format!("Authorization: Bearer {}", mint("REGULAR"));
    let allowed = run(&["explain", "-H", &bearer, "-H", "X_User_Role: ADMIN", "/api/agents?x=1"]);
    assert_eq!(code(&allowed), 0);
    insta::assert_snapshot!(out(&allowed), @"
    decision allow
    rule     agents
    user     ann (id 7, REGULAR)
    set      x-user-id: 7
    set      x-user-name: ann
    set      x-user-role: REGULAR
    remove   x-http-method
    remove   x-http-method-override
    remove   x-method-override
    remove   x-original-url
    remove   x-rewrite-url
    remove   x-user-email
    remove   x_user_role
    ");

    let json_out = run(&[
        "explain",
        "--json",
        "--method",
        "PATCH",
        "--host",
        "h",
        "-H",
        &bearer,
        "/api/agents",
    ]);
    let told: Value = serde_json::from_str(&out(&json_out)).unwrap();
    assert_eq!(code(&json_out), 0);
    assert_eq!(told["headers_set"]["x-user-role"], "REGULAR");
    assert_eq!(
        (&told["decision"], &told["rule"], &told["status"]),
        (&json!("allow"), &json!("agents"), &json!(200))
    );

    // Which roles it takes; and that nobody said which rules are meant.
    let bearer = format!("Authorization: Bearer {}", mint("INACTIVE"));
    let denied = run(&["explain", "-H", &bearer, "/api/agents"]);
    let because = "because  the rule takes REGULAR, ADMIN, and the user is INACTIVE";
    assert!(out(&denied).contains(because), "{}", out(&denied));
    assert!(err(&denied).contains("the two built-in rules decide"), "{}", err(&denied));

    let path = run(&["explain", "/api/%2e%2e/x"]);
    assert_eq!(code(&path), 1);
    assert!(out(&path).contains("because  it has a dot segment"), "{}", out(&path));
    for usage in
        [&["explain"][..], &["explain", "-H", "nocolon", "/x"], &["explain", "-H", "a b: c", "/x"]]
    {
        assert_eq!(code(&run(usage)), 2, "{usage:?}");
    }
}

#[test]
fn explain_shows_no_credential() {
    let token = mint("REGULAR");
    let mut command = portcullis();
    command.env("PORTCULLIS__TOKENS__FORWARD", "authorization-header");
    command.args(["explain", "-H", &format!("cookie: a=secret; token={token}"), "/api/agents"]);
    let shown = output(&mut command, "");
    assert_eq!(code(&shown), 0);
    assert!(out(&shown).contains("authorization: (as sent)"));
    assert!(!out(&shown).contains(&token) && !out(&shown).contains("secret"));
}

#[test]
fn mint_prints_a_token_and_nothing_else() {
    let minted = run(&[
        "token",
        "mint",
        "--name",
        "Ann Lee",
        "--user-id",
        "42",
        "--role",
        "ADMIN",
        "--email",
        "a@b.c",
        "--ttl",
        "30m",
    ]);
    assert_eq!((code(&minted), err(&minted).as_str()), (0, ""));
    let token = out(&minted);
    assert_eq!(token.lines().count(), 1);
    let inspected = output(portcullis().args(["token", "inspect"]), &token);
    assert_eq!(code(&inspected), 0);
    let told = out(&inspected);
    let claims: Value =
        serde_json::from_str(told.lines().nth(1).unwrap().strip_prefix("claims  ").unwrap())
            .unwrap();
    assert_eq!(
        (&claims["sub"], &claims["userId"], &claims["role"], &claims["email"]),
        (&json!("Ann Lee"), &json!(42), &json!("ADMIN"), &json!("a@b.c"))
    );
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 1800);
    assert!(told.contains("accepted, for another 29m"), "{told}");

    for (arguments, fix) in [
        (&["--role", "KING"][..], "use one of: INACTIVE, RESTRICTED, REGULAR, ADMIN"),
        (&["--role", "ADMIN", "--ttl", "8d"], "tokens.max_lifetime"),
        (&["--role", "ADMIN", "--ttl", "soon"], "--ttl"),
    ] {
        let refused =
            run(&[&["token", "mint", "--name", "a", "--user-id", "1"], arguments].concat());
        assert_eq!((code(&refused), out(&refused).as_str()), (2, ""));
        assert!(err(&refused).contains(fix), "{}", err(&refused));
    }
}

#[test]
fn inspect_tells_why_a_token_would_be_refused() {
    for (token, told) in [
        (jwt::token(&jwt::with(1_000_000_000, &json!({}))), "refused: it has expired"),
        (
            format!("{}A", mint("ADMIN")),
            "refused: its signature was not made with a key of its issuer (bad_signature)",
        ),
        ("junk".into(), "refused: it is not a well-formed JWT"),
        (String::new(), "refused: it is not a well-formed JWT"),
    ] {
        let refused = run(&["token", "inspect", &token]);
        assert_eq!(code(&refused), 1);
        assert!(out(&refused).contains(told), "{}", out(&refused));
        assert!(token.is_empty() || !out(&refused).contains(&token));
    }
    // What has just expired is good for as long as the leeway is.
    let now = SystemClock.now().as_secs();
    let past = jwt::token(&jwt::with(now, &json!({ "iat": now - 9, "exp": now - 3 })));
    let inspected = run(&["token", "inspect", &past]);
    assert_eq!(code(&inspected), 0);
    assert!(out(&inspected).contains("accepted, though it expired "), "{}", out(&inspected));
}

#[test]
fn bad_configuration_ends_with_2_a_cause_and_a_fix() {
    let mut no_key = portcullis();
    no_key.env_remove("AUTH_JWT_SECRET").arg("serve");
    let no_key = output(&mut no_key, "");
    assert_eq!(code(&no_key), 2);
    assert!(err(&no_key).contains("tokens.keys") && err(&no_key).contains("openssl rand -hex 32"));

    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for listen in [address.as_str(), "192.0.2.1:9191", "unix:/nowhere/at/all.sock"] {
        let mut command = portcullis();
        command.arg("serve").env("PORTCULLIS__CHECK__LISTEN", listen);
        let refused = output(&mut command, "");
        assert_eq!(code(&refused), 2, "{listen}");
        let said = err(&refused);
        assert!(said.contains(&format!("check.listen: cannot listen on {listen}")), "{said}");
        assert!(said.contains("\n  fix: "), "{said}");
    }
    // A file that is no socket is nobody's to remove.
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("precious");
    fs::write(&file, "x").unwrap();
    let mut command = portcullis();
    command.arg("serve").env("PORTCULLIS__CHECK__LISTEN", format!("unix:{}", file.display()));
    assert_eq!(code(&output(&mut command, "")), 2);
    assert_eq!(fs::read_to_string(&file).unwrap(), "x");
}

#[tokio::test]
async fn dev_makes_a_key_and_a_user_and_keeps_to_this_machine() {
    let mut command = portcullis();
    command.env_remove("AUTH_JWT_SECRET").args(["serve", "--dev"]);
    command.env("PORTCULLIS__CHECK__LISTEN", "0.0.0.0:0").env("PORTCULLIS__LIFECYCLE__DRAIN", "0s");
    let running = Running::start(&mut command);
    assert!(address_of(&running).ip().is_loopback());
    assert!(running.log().contains("--dev is for trying"));
    let http = crate::support::address_of_listener(&running, "http");
    assert!(http.ip().is_loopback());
    let body = json!({ "username": "demo", "password": "demo" });
    let signed_in =
        reqwest::Client::new().post(format!("http://{http}/session")).json(&body).send();
    assert_eq!(signed_in.await.unwrap().status(), 200);
}

/// Resident memory of a process, in KiB.
fn resident(id: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[test]
fn serve_is_ready_within_100_ms_and_idles_under_25_mib() {
    let release = root().join("target/release/portcullis");
    assert!(release.exists(), "no release build: run tests/run");
    // The best of a few: other tests take their share of the machine.
    let took = (0..10).map(|_| {
        let mut command = portcullis_of(&release);
        command.arg("serve").env("PORTCULLIS__CHECK__LISTEN", "127.0.0.1:0");
        let started = Instant::now();
        let running = Running::start(&mut command);
        running.line("\"listening\"");
        let took = started.elapsed();
        TcpStream::connect(address_of(&running)).unwrap();
        let kib = resident(running.child.id());
        assert!(kib < 25 * 1024, "{kib} KiB");
        println!("ready after {took:?}, {kib} KiB");
        took
    });
    assert!(took.min().unwrap() < Duration::from_millis(100));
}

#[test]
fn serve_stops_cleanly_on_both_signals() {
    for signal in ["TERM", "INT"] {
        let mut running = serve("127.0.0.1:0", &[]);
        running.signal(signal);
        assert_eq!(running.ended(), Some(0), "{}", running.log());
        assert!(running.log().contains("\"stopped\""));
    }
}

#[test]
fn a_second_signal_cuts_the_draining_short() {
    let mut running = serve("127.0.0.1:0", &[("PORTCULLIS__LIFECYCLE__DRAIN", "10m")]);
    running.signal("TERM");
    running.line("still serving");
    assert!(running.child.try_wait().unwrap().is_none());
    running.signal("TERM");
    assert_eq!(running.ended(), Some(0));
}

#[tokio::test]
async fn the_decision_log_tells_of_every_decision_and_of_no_credential() {
    use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
    let running = serve("127.0.0.1:0", &[("RUST_LOG", "trace")]);
    let address = format!("http://{}", address_of(&running));
    let mut client = AuthorizationClient::connect(address).await.unwrap();
    let token = crate::grpc::bearer(&json!({}));
    let secret = token.strip_prefix("Bearer ").unwrap();
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let query = format!("/api/agents/1/react?access-token={secret}");
    let sneaky = format!("/api/agents%3Faccess-token={secret}");
    let segment = format!("/api/agents/{secret}");
    let cookie = format!("token={secret}");
    for (path, headers) in [
        (
            "/api/agents",
            &[("authorization", token.as_str()), ("x-request-id", "r-1"), ("traceparent", trace)][..],
        ),
        (query.as_str(), &[("upgrade", "websocket")]),
        (sneaky.as_str(), &[]),
        (segment.as_str(), &[("cookie", cookie.as_str())]),
        ("/api/agents", &[("authorization", &token[..token.len() - 9])]),
    ] {
        client.check(crate::grpc::question("GET", path, headers)).await.unwrap();
    }
    let log = crate::support::eventually("five decisions", || {
        let log = running.log();
        (log.matches("portcullis::decision").count() == 5).then_some(log)
    });
    for part in secret.split('.') {
        assert!(!log.contains(part), "a credential is in the log");
    }
    let first: Value =
        serde_json::from_str(log.lines().find(|line| line.contains("r-1")).unwrap()).unwrap();
    for (key, value) in [
        ("target", json!("portcullis::decision")),
        ("decision", json!("allow")),
        ("rule", json!("agents")),
        ("transport", json!("grpc")),
        ("method", json!("GET")),
        ("host", json!("app.example.com")),
        ("path", json!("/api/agents")),
        ("user_id", json!("7")),
        ("role", json!("REGULAR")),
        ("request_id", json!("r-1")),
        ("trace_id", json!("0af7651916cd43dd8448eb211c80319c")),
    ] {
        assert_eq!(first[key], value, "{key} in {first}");
    }
    assert!(first["micros"].is_u64() && first["timestamp"].is_string());
    let denied: Value =
        serde_json::from_str(log.lines().find(|line| line.contains("bad_path")).unwrap()).unwrap();
    assert_eq!((&denied["path"], &denied["decision"]), (&json!("/api/agents"), &json!("deny")));
}

#[tokio::test]
async fn allowances_may_be_left_out_of_the_log_and_denials_never() {
    use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
    let running = serve("127.0.0.1:0", &[("PORTCULLIS__TELEMETRY__ALLOWED_DECISIONS", "0.1")]);
    let mut client =
        AuthorizationClient::connect(format!("http://{}", address_of(&running))).await.unwrap();
    for path in ["/api/healthcheck", "/nowhere"] {
        for _ in 0..20 {
            client.check(crate::grpc::question("GET", path, &[])).await.unwrap();
        }
    }
    let log = crate::support::eventually("the denials", || {
        let log = running.log();
        (log.matches("no_rule").count() == 20).then_some(log)
    });
    assert_eq!(log.matches("\"allow\"").count(), 2);
}

#[test]
fn explain_and_the_engine_of_the_tests_agree() {
    let engine = ask::engine("");
    for path in ["/api/agents", "/api/healthcheck", "/x", "/a//b"] {
        let told: Value = serde_json::from_str(&out(&run(&["explain", "--json", path]))).unwrap();
        assert_eq!(told["status"], ask::ask("GET", path).host("localhost").of(&engine).status);
    }
}
