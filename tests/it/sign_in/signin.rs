//! Signing in over HTTP: every row of the endpoints. Over 400 lines, since the
//! rows are read beside the contract's table.

use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::{
    jwt,
    replica::{CONTROL_PLANE, OPEN, PASSWORD, Replica, answer, body},
    support::{output, portcullis},
};

#[tokio::test]
async fn a_password_becomes_a_code_becomes_a_token() {
    let replica =
        Replica::start("tokens.issuer = \"iss\"\ntokens.audience = \"aud\"").ready().await;
    let response = replica.post("/v3/login", &body("ann", PASSWORD)).send().await.unwrap();
    assert!(!response.headers().contains_key("set-cookie"));
    assert_eq!(response.headers()["cache-control"], "no-store");
    assert_eq!(response.headers()["x-content-type-options"], "nosniff");
    assert_eq!(response.headers()["referrer-policy"], "same-origin");
    let (status, issued) = answer(response).await;
    assert_eq!((status, &issued["expires_in"]), (200, &json!(60)));
    assert_eq!(issued.as_object().unwrap().len(), 2, "no token: {issued}");
    let code = issued["code"].as_str().unwrap();
    assert_eq!(code.len(), 43);

    let exchange = replica.post("/v3/login/exchange", &json!({ "code": code }));
    let response = exchange.send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    let (status, exchanged) = answer(response).await;
    assert_eq!(status, 200);
    assert_eq!(exchanged["redirect_url"], "http://localhost:8080/ui/?login=success");
    assert_eq!(exchanged["expires_in"], 8 * 3600);
    let token = exchanged["token"].as_str().unwrap();
    assert_eq!(cookie, format!("token={token}; Path=/; HttpOnly; SameSite=Lax"));

    let inspected = output(
        portcullis()
            .args(["token", "inspect", token])
            .env("PORTCULLIS__TOKENS__ISSUER", "iss")
            .env("PORTCULLIS__TOKENS__AUDIENCE", "aud"),
        "",
    );
    let told = String::from_utf8(inspected.stdout).unwrap();
    let claims = told.lines().nth(1).unwrap().strip_prefix("claims  ").unwrap();
    let claims: Value = serde_json::from_str(claims).unwrap();
    for (name, value) in [
        ("sub", json!("ann")),
        ("userId", json!(7)),
        ("email", json!("7@example.com")),
        ("role", json!("REGULAR")),
        ("iss", json!("iss")),
        ("aud", json!("aud")),
        ("login_method", json!("password")),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert_eq!(claims["jti"].as_str().unwrap().len(), 32);
    assert_eq!(claims["exp"].as_i64().unwrap() - claims["iat"].as_i64().unwrap(), 8 * 3600);

    // Once.
    let (status, again) = replica.exchange(code).await;
    assert_eq!(status, 401);
    assert_eq!(
        again["error"],
        json!({
            "message": "Invalid or expired login code", "type": "auth_error", "param": "code", "code": "401",
        })
    );

    // Who is it, by header and by cookie.
    let session = replica.client.get(replica.url("/session")).bearer_auth(token);
    let (status, session) = answer(session.send().await.unwrap()).await;
    assert_eq!(status, 200);
    assert_eq!(
        session,
        json!({
            "user_id": "7", "name": "ann", "email": "7@example.com", "role": "REGULAR",
            "expires_at": claims["exp"], "sid": claims["sid"], "auth_time": claims["iat"],
            "session_ends_at": claims["iat"].as_i64().unwrap() + 7 * 24 * 3600,
        })
    );
    assert_eq!(claims["sid"].as_str().unwrap().len(), 32);
    let by_cookie =
        replica.client.get(replica.url("/session")).header("cookie", format!("token={token}"));
    assert_eq!(by_cookie.send().await.unwrap().status(), 200);
    assert_eq!(replica.session("junk").await, 401);

    // Out, and the cookie is cleared as it was set.
    let logout = replica.client.post(replica.url("/session/logout")).bearer_auth(token);
    let response = logout.send().await.unwrap();
    assert_eq!(
        response.headers()["set-cookie"],
        "token=; Path=/; HttpOnly; SameSite=Lax; Max-Age=0"
    );
    assert_eq!(answer(response).await, (200, json!({ "message": "Session revoked." })));
    assert_eq!(replica.session(token).await, 401);

    // Neither a code nor a token nor a password is in any line of the log.
    for event in ["sign_in", "exchange", "sign_out"] {
        replica.says(&format!("\"event\":\"{event}\""));
    }
    let log = replica.running.log();
    for secret in [code, token, PASSWORD] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[tokio::test]
async fn on_https_the_cookie_is_secure_and_of_this_host_alone() {
    let toml = "http.public_url = \"https://auth.example.com/auth/\"";
    let replica = Replica::start(toml).ready().await;
    let response = replica.post("/session", &body("ann", PASSWORD)).send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    let (status, answer) = answer(response).await;
    assert_eq!(status, 200);
    let token = answer["token"].as_str().unwrap();
    assert_eq!(cookie, format!("__Host-token={token}; Path=/; HttpOnly; SameSite=Lax; Secure"));
    assert_eq!(answer["redirect_url"], "https://auth.example.com/auth/ui/?login=success");
}

#[tokio::test]
async fn what_is_no_sign_in_is_refused_for_what_it_is() {
    let replica = Replica::start(OPEN).ready().await;
    let send = async |path: &str, content_type: Option<&str>, text: String| {
        let mut request = replica.client.post(replica.url(path)).body(text);
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let (status, body) = answer(request.send().await.unwrap()).await;
        (
            status,
            body["error"]["type"].as_str().unwrap_or("").to_owned(),
            body["error"]["param"].clone(),
        )
    };
    let json_type = Some("application/json");
    for path in ["/v3/login", "/session", "/v2/login"] {
        for (text, param) in [
            ("", Value::Null),
            ("{", Value::Null),
            ("[]", Value::Null),
            ("null", Value::Null),
            ("\"x\"", Value::Null),
            ("{} {}", Value::Null),
            ("\u{feff}{}", Value::Null),
            (r#"{"username":"ann","username":"ann","password":"x"}"#, Value::Null),
            ("{}", json!("username")),
            (r#"{"username":"ann"}"#, json!("password")),
            (r#"{"username":null,"password":"x"}"#, json!("username")),
            (r#"{"username":1,"password":"x"}"#, json!("username")),
            (r#"{"username":"ann","password":["x"]}"#, json!("password")),
            (r#"{"username":{},"password":"x"}"#, json!("username")),
        ] {
            let expected = (400, "invalid_request_error".to_owned(), param);
            assert_eq!(send(path, json_type, text.into()).await, expected, "{path} {text}");
        }
        for content_type in [
            None,
            Some("text/plain"),
            Some("application/x-www-form-urlencoded"),
            Some("application/jsonp"),
        ] {
            let (status, ..) = send(path, content_type, body("ann", PASSWORD).to_string()).await;
            assert_eq!(status, 415, "{content_type:?}");
        }
        let charset = Some("Application/JSON; charset=utf-8");
        assert_eq!(send(path, charset, body("ann", PASSWORD).to_string()).await.0, 200);
        for size in [17 * 1024, 4 * 1024 * 1024] {
            let started = std::time::Instant::now();
            let (status, ..) =
                send(path, json_type, body("ann", &"x".repeat(size)).to_string()).await;
            assert_eq!(status, 413);
            assert!(started.elapsed() < Duration::from_secs(5));
        }
    }
    let challenge = |challenge: Value, method: Value| {
        json!({ "username": "ann", "password": PASSWORD, "code_challenge": challenge, "code_challenge_method": method }).to_string()
    };
    let good = "a".repeat(43);
    for (challenge_value, method, status) in [
        (json!(good), json!("S256"), 200),
        (json!(good), Value::Null, 200),
        (Value::Null, Value::Null, 200),
        (json!(good), json!("plain"), 400),
        (json!(good), json!(""), 400),
        (json!("short"), json!("S256"), 400),
        (json!("a".repeat(44)), json!("S256"), 400),
        (json!(format!("{}=", "a".repeat(42))), json!("S256"), 400),
        (Value::Null, json!("S256"), 400),
        (json!(1), json!("S256"), 400),
    ] {
        let text = challenge(challenge_value, method);
        assert_eq!(send("/v3/login", json_type, text.clone()).await.0, status, "{text}");
    }
    for (text, status) in
        [("{}", 400), (r#"{"code":1}"#, 400), (r#"{"code":""}"#, 401), (r#"{"code":"None"}"#, 401)]
    {
        assert_eq!(send("/v3/login/exchange", json_type, text.into()).await.0, status, "{text}");
    }
    for (name, password, status) in [
        ("ann", "wrong", 401),
        ("nobody", PASSWORD, 401),
        ("", "", 401),
        ("ina", PASSWORD, 403),
        ("dis", PASSWORD, 403),
        ("ina", "wrong", 401),
        ("dis", "wrong", 401),
        ("ANN", PASSWORD, 200),
        ("ａｎｎ", PASSWORD, 200),
        ("zoë", PASSWORD, 200),
        ("ZOE\u{308}", PASSWORD, 200),
    ] {
        assert_eq!(
            send("/v3/login", json_type, body(name, password).to_string()).await.0,
            status,
            "{name}"
        );
    }
    // One text for a wrong name and a wrong password.
    let texts = async |name: &str| {
        let response = replica.post("/v3/login", &body(name, "wrong")).send().await.unwrap();
        (response.status(), response.text().await.unwrap())
    };
    assert_eq!(texts("ann").await, texts("nobody").await);
    let get = replica.client.get(replica.url("/v3/login")).send().await.unwrap();
    assert_eq!(get.status(), 405);
    assert_eq!(replica.client.get(replica.url("/nowhere")).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn without_a_control_plane_there_are_no_codes_and_sign_in_is_possible() {
    let replica = Replica::start_with("lifecycle.drain = \"0s\"").ready().await;
    for path in ["/v3/login", "/v3/login/exchange", "/v3/x"] {
        let broken = replica.client.post(replica.url(path)).body("{");
        let (status, body) = answer(broken.send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["type"]), (404, &json!("not_found_error")), "{path}");
    }
    let signed_in = replica.post("/session", &body("ann", PASSWORD)).send().await.unwrap();
    assert_eq!(signed_in.status(), 200);
}

fn challenge_of(verifier: &str) -> String {
    jwt::b64(digest(&SHA256, verifier.as_bytes()))
}

#[tokio::test]
async fn a_code_is_bound_to_its_challenge_and_its_origin() {
    let replica = Replica::start(OPEN).ready().await;
    let verifier = "v".repeat(43);
    let own = "http://localhost:8080";
    let login = async |origin: Option<&str>, challenge: Option<String>| {
        let mut body = body("ann", PASSWORD);
        body["code_challenge"] = challenge.map_or(Value::Null, Value::String);
        let mut request = replica.post("/v3/login", &body);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        answer(request.send().await.unwrap()).await.1["code"].as_str().unwrap().to_owned()
    };
    let exchange = async |origin: Option<&str>, code: &str, verifier: Option<&str>| {
        let mut body = json!({ "code": code });
        body["code_verifier"] = verifier.map_or(Value::Null, Value::from);
        let mut request = replica.post("/v3/login/exchange", &body);
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        answer(request.send().await.unwrap()).await.0
    };
    let asked = || Some(challenge_of(&verifier));
    let other = "w".repeat(43);
    for (asks, shows, status) in [
        (asked(), Some(verifier.as_str()), 200),
        (None, None, 200),
        (asked(), None, 401),
        (asked(), Some(other.as_str()), 401),
        (asked(), Some(""), 401),
        (asked(), Some("short"), 401),
        (None, Some(verifier.as_str()), 401),
    ] {
        let code = login(None, asks).await;
        assert_eq!(exchange(None, &code, shows).await, status, "{shows:?}");
        // The code is used up by the try.
        assert_eq!(exchange(None, &code, Some(&verifier)).await, 401);
        assert_eq!(exchange(None, &code, None).await, 401);
    }
    for (from, to, status) in [
        (Some(CONTROL_PLANE), Some(CONTROL_PLANE), 200),
        (Some(own), Some(own), 200),
        (Some(CONTROL_PLANE), Some(own), 401),
        (Some(own), Some(CONTROL_PLANE), 401),
        (None, Some(CONTROL_PLANE), 401),
        (Some(CONTROL_PLANE), None, 401),
        (Some(CONTROL_PLANE), Some("https://evil.example"), 403),
    ] {
        let code = login(from, None).await;
        assert_eq!(exchange(to, &code, None).await, status, "{from:?} {to:?}");
    }
}

fn cors(headers: &HeaderMap) -> Option<&str> {
    headers.get("access-control-allow-origin").map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn only_the_control_plane_is_answered_across_origins_on_errors_too() {
    let replica = Replica::start("login.limits = { failures = 1, failures_per_address = 1000 }")
        .ready()
        .await;
    let send = async |method: &str, path: &str, origin: &str, body: &Value| {
        let request = replica.client.request(method.parse().unwrap(), replica.url(path));
        request.header("origin", origin).json(body).send().await.unwrap()
    };
    for (method, path, payload, status) in [
        ("POST", "/v3/login", body("ann", PASSWORD), 200),
        ("POST", "/v3/login", body("bob", "wrong"), 401),
        ("POST", "/v3/login", body("bob", "wrong"), 429),
        ("POST", "/v3/login", json!([]), 400),
        ("POST", "/v3/login", body("ina", PASSWORD), 403),
        ("POST", "/v3/login/exchange", json!({ "code": "x" }), 401),
        ("POST", "/session/logout", json!({}), 401),
        ("GET", "/session", json!({}), 401),
        ("GET", "/.well-known/portcullis", json!({}), 200),
        ("GET", "/.well-known/litellm-ui-config", json!({}), 200),
        ("GET", "/litellm/.well-known/litellm-ui-config", json!({}), 200),
    ] {
        let response = send(method, path, CONTROL_PLANE, &payload).await;
        assert_eq!(response.status(), status, "{path}");
        let headers = response.headers();
        assert_eq!(cors(headers), Some(CONTROL_PLANE), "{path}");
        assert_eq!(headers["access-control-allow-credentials"], "true");
        assert_eq!(headers["access-control-expose-headers"], "retry-after");
        assert_eq!(headers["vary"].to_str().unwrap().to_ascii_lowercase(), "origin");
        if status == 429 {
            let wait: u64 = headers["retry-after"].to_str().unwrap().parse().unwrap();
            assert!((1..=301).contains(&wait));
        }
    }
    for origin in [
        "https://evil.example",
        "null",
        "http://cp.example.com",
        "https://cp.example.com:8443",
        "https://cp.example.com.evil.example",
        "https://evilcp.example.com",
        "junk",
    ] {
        for path in ["/v3/login", "/v3/login/exchange", "/session", "/session/logout", "/v2/login"]
        {
            let response = send("POST", path, origin, &body("ann", PASSWORD)).await;
            assert_eq!(
                (response.status().as_u16(), cors(response.headers())),
                (403, None),
                "{origin} {path}"
            );
            assert!(!response.headers().contains_key("set-cookie"));
        }
        let discovery = send("GET", "/.well-known/portcullis", origin, &json!({})).await;
        assert_eq!(
            (discovery.status().as_u16(), cors(discovery.headers())),
            (200, None),
            "{origin}"
        );
    }
    let own = send("GET", "/session", "http://localhost:8080", &json!({})).await;
    assert_eq!((own.status().as_u16(), cors(own.headers())), (401, None));

    let preflight = async |path: &str, origin: &str| {
        let request = replica.client.request("OPTIONS".parse().unwrap(), replica.url(path));
        let request =
            request.header("origin", origin).header("access-control-request-method", "POST");
        request.header("access-control-request-headers", "content-type").send().await.unwrap()
    };
    for path in [
        "/v3/login",
        "/v3/login/exchange",
        "/session",
        "/session/logout",
        "/.well-known/portcullis",
    ] {
        let response = preflight(path, CONTROL_PLANE).await;
        assert_eq!(
            (response.status().as_u16(), cors(response.headers())),
            (204, Some(CONTROL_PLANE))
        );
        assert_eq!(
            response.headers()["access-control-allow-headers"],
            "content-type, authorization"
        );
        assert!(
            response.headers()["access-control-allow-methods"].to_str().unwrap().contains("POST")
        );
        let foreign = preflight(path, "https://evil.example").await;
        assert_eq!(cors(foreign.headers()), None);
        assert!(!foreign.status().is_success());
    }
}

#[tokio::test]
async fn discovery_tells_of_the_workers() {
    let toml = "http.public_url = \"https://cp.example.com/auth/\"\n\
                [[workers]]\nworker_id = \"eu\"\nname = \"Europe <b>\"\nurl = \"https://eu.example.com/\"\n";
    let replica = Replica::start_with(toml).ready().await;
    let get = replica.client.get(replica.url("/.well-known/portcullis"));
    assert_eq!(
        answer(get.send().await.unwrap()).await,
        (
            200,
            json!({
                "is_control_plane": true,
                "workers": [{ "worker_id": "eu", "name": "Europe <b>", "url": "https://eu.example.com" }],
                "sso_configured": false, "server_root_path": "/auth", "proxy_base_url": null,
                "auto_redirect_to_sso": false, "admin_ui_disabled": false, "gateway_base_url": null,
                "hide_default_credentials_hint": true, "mcp_stdio_enabled": false,
                "use_si_terminology": false, "claude_code_marketplace_auth_required": false,
            })
        )
    );
    let plain = Replica::start_with("").ready().await;
    let get = plain.client.get(plain.url("/litellm/.well-known/litellm-ui-config"));
    let (_, document) = answer(get.send().await.unwrap()).await;
    assert_eq!(
        (&document["is_control_plane"], &document["workers"], &document["server_root_path"]),
        (&json!(false), &json!([]), &json!(""))
    );
}
