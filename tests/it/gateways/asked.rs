//! The decision endpoints, asked as each proxy asks.

use std::{
    io::Write as _,
    net::{SocketAddr, TcpStream},
};

use serde_json::json;

use crate::{
    envoy::hostile_paths,
    stack::{Answer, bearer, token},
    support::{Running, address_of_listener, serve},
};

struct Asked {
    _running: Running,
    internal: SocketAddr,
}

impl Asked {
    fn start(environment: &[(&str, &str)]) -> Self {
        let running = serve("127.0.0.1:0", environment);
        let internal = address_of_listener(&running, "internal");
        Self { _running: running, internal }
    }

    /// Sends a request as it is written.
    fn send(&self, method: &str, target: &str, headers: &[(&str, &str)]) -> Answer {
        let mut request =
            format!("{method} {target} HTTP/1.1\r\nhost: app.example.com\r\nconnection: close\r\n");
        for (name, value) in headers {
            request.push_str(&format!("{name}: {value}\r\n"));
        }
        let mut stream = TcpStream::connect(self.internal).unwrap();
        let _ = stream.write_all(format!("{request}\r\n").as_bytes());
        Answer::read(&mut stream)
    }
}

/// Asks as Envoy does over HTTP, with this credential.
pub(crate) fn ask_envoy(internal: SocketAddr, path: &str, bearer: &str) -> Answer {
    let request = format!(
        "GET /api/auth{path} HTTP/1.1\r\nhost: app.example.com\r\nconnection: close\r\n\
         authorization: {bearer}\r\n\r\n"
    );
    let mut stream = TcpStream::connect(internal).unwrap();
    let _ = stream.write_all(request.as_bytes());
    Answer::read(&mut stream)
}

const NGINX: [(&str, &str); 3] = [
    ("X-Original-Method", "GET"),
    ("X-Original-URI", "/api/agents?x=1"),
    ("X-Original-Host", "app.example.com"),
];
const INGRESS: [(&str, &str); 2] =
    [("X-Original-Method", "GET"), ("X-Original-URL", "https://app.example.com/api/agents?x=1")];
/// As Traefik's `ForwardAuth` and Caddy's `forward_auth` document them.
const FORWARD: [(&str, &str); 5] = [
    ("X-Forwarded-Method", "GET"),
    ("X-Forwarded-Proto", "https"),
    ("X-Forwarded-Host", "app.example.com"),
    ("X-Forwarded-Uri", "/api/agents?x=1"),
    ("X-Forwarded-For", "192.0.2.1"),
];

/// Endpoint, its proxy's headers, and the status of an allowance.
type Way = (&'static str, &'static [(&'static str, &'static str)], u16);

fn modes() -> [Way; 4] {
    [
        ("/auth/nginx", &NGINX, 204),
        ("/auth/ingress-nginx", &INGRESS, 204),
        ("/auth/forward", &FORWARD, 204),
        ("/api/auth/api/agents?x=1", &[], 200),
    ]
}

#[test]
fn each_proxy_gets_an_answer_that_it_understands() {
    let asked = Asked::start(&[]);
    let (regular, inactive) = (bearer("REGULAR"), bearer("INACTIVE"));
    for (path, own, allowed) in modes() {
        let ask = |more: &[(&str, &str)]| asked.send("GET", path, &[own, more].concat());
        let good = ask(&[("authorization", &regular), ("x_user_role", "ADMIN")]);
        assert_eq!(good.status, allowed, "{path}: {good:?}");
        for (name, value) in
            [("x-user-id", "7"), ("x-user-name", "ann"), ("x-user-role", "REGULAR")]
        {
            assert_eq!(good.headers[name], value, "{path}");
        }
        let removed = good.headers.get("x-envoy-auth-headers-to-remove");
        if allowed == 200 {
            let removed: Vec<&str> = removed.unwrap().split(',').collect();
            assert!(removed.contains(&"x_user_role") && removed.contains(&"x-original-url"));
        } else {
            assert_eq!(removed, None);
            assert!(!good.headers.contains_key("x_user_role"), "{path}");
        }
        // What is not known is there, and empty, or named to be removed.
        let nameless = format!("Bearer {}", token(&json!({ "email": null })));
        let answer = ask(&[("authorization", &nameless), ("x-user-email", "king@x")]);
        match answer.headers.get("x-user-email") {
            Some(email) => assert_eq!((email.as_str(), allowed), ("", 204)),
            None => assert!(
                answer.headers["x-envoy-auth-headers-to-remove"].contains("x-user-email"),
                "{answer:?}"
            ),
        }

        let missing = ask(&[]);
        assert_eq!(missing.status, 401, "{path}");
        assert_eq!(missing.headers["www-authenticate"], "Bearer realm=\"portcullis\"");
        assert_eq!(missing.json()["error"]["code"], "401");
        assert_eq!(ask(&[("authorization", &inactive)]).status, 403, "{path}");
        let twice = ask(&[("authorization", &regular), ("authorization", &inactive)]);
        let is_nginx = path.contains("nginx");
        assert_eq!(twice.status, if is_nginx { 403 } else { 400 }, "{path}");
        // Only nginx keeps it to itself.
        let reason = twice.headers.get("x-portcullis-reason").map(String::as_str);
        assert_eq!(reason, is_nginx.then_some("ambiguous_credential"), "{path}");
        // Every method asks, whatever is asked about.
        for method in ["POST", "PATCH", "OPTIONS", "PUT", "DELETE", "HEAD"] {
            let answer = asked.send(method, path, &[own, &[("authorization", &regular)]].concat());
            assert_eq!(answer.status, allowed, "{method} {path}");
        }
    }
}

#[test]
fn what_is_asked_about_is_what_the_own_headers_say() {
    let asked = Asked::start(&[(
        "PORTCULLIS__RULES",
        r#"[{ name = "x", path = "/x", hosts = ["a.example.com"], methods = ["PATCH"], access = "public" }]"#,
    )]);
    for (method, host, path, allowed) in [
        ("PATCH", "a.example.com", "/x", true),
        ("PATCH", "A.example.com:8443", "/x?y", true),
        ("GET", "a.example.com", "/x", false),
        ("PATCH", "b.example.com", "/x", false),
        ("PATCH", "a.example.com", "/y", false),
        ("PATCH", "a.example.com, b.example.com", "/x", false),
        ("", "a.example.com", "/x", false),
        ("PATCH", "", "/x", false),
        ("PATCH", "a.example.com", "", false),
    ] {
        let url = format!("http://{host}{path}");
        for (endpoint, headers) in [
            (
                "/auth/nginx",
                vec![
                    ("X-Original-Method", method),
                    ("X-Original-Host", host),
                    ("X-Original-URI", path),
                ],
            ),
            ("/auth/ingress-nginx", vec![("X-Original-Method", method), ("X-Original-URL", &url)]),
            (
                "/auth/forward",
                vec![
                    ("X-Forwarded-Method", method),
                    ("X-Forwarded-Host", host),
                    ("X-Forwarded-Uri", path),
                ],
            ),
        ] {
            let answer = asked.send("GET", endpoint, &headers);
            assert_eq!(answer.status == 204, allowed, "{endpoint} {headers:?}: {answer:?}");
        }
    }
    for url in [
        "/x",
        "a.example.com/x",
        "ftp://a.example.com/x",
        "//a.example.com/x",
        "http:/a.example.com/x",
        "https://u@a.example.com/x",
    ] {
        let headers = [("X-Original-Method", "PATCH"), ("X-Original-URL", url)];
        assert_eq!(asked.send("GET", "/auth/ingress-nginx", &headers).status, 403, "{url}");
    }
}

#[test]
fn a_question_that_another_proxys_headers_are_in_is_refused_and_says_which() {
    let asked = Asked::start(&[]);
    let good = bearer("ADMIN");
    let addresses = [
        ("x-original-method", "GET"),
        ("x-original-uri", "/api/healthcheck"),
        ("x-original-url", "https://app.example.com/api/healthcheck"),
        ("x-original-host", "app.example.com"),
        ("x-forwarded-method", "GET"),
        ("x-forwarded-uri", "/api/healthcheck"),
    ];
    for (path, own, allowed) in modes() {
        let refused = if path.contains("nginx") { 403 } else { 400 };
        for foreign in addresses {
            let is_own = own.iter().any(|(name, _)| name.eq_ignore_ascii_case(foreign.0));
            let headers = [own, &[("authorization", good.as_str()), foreign]].concat();
            let answer = asked.send("GET", path, &headers);
            // Its own one twice is as bad.
            assert_eq!(answer.status, refused, "{path} {foreign:?} {is_own}");
            assert_eq!(answer.json()["error"]["param"], foreign.0, "{path}");
            assert_eq!(answer.json()["error"]["type"], "invalid_request_error");
        }
        // Those of an outer balancer are common, and harmless.
        let outer = [("x-forwarded-proto", "https"), ("x-forwarded-for", "192.0.2.1")];
        let host = [("x-forwarded-host", "outer.example.com")];
        let outer = if path == "/auth/forward" { vec![] } else { [&outer[..], &host].concat() };
        let headers = [own, &[("authorization", good.as_str())], &outer[..]].concat();
        assert_eq!(asked.send("GET", path, &headers).status, allowed, "{path}");
        // And it needs all of its own.
        for (missing, _) in own {
            if missing.starts_with("X-Forwarded-Proto") || missing.starts_with("X-Forwarded-For") {
                continue;
            }
            let rest: Vec<(&str, &str)> =
                own.iter().filter(|(name, _)| name != missing).copied().collect();
            let answer =
                asked.send("GET", path, &[&rest[..], &[("authorization", &good)]].concat());
            assert_eq!(answer.status, refused, "{path} without {missing}");
            assert_eq!(answer.json()["error"]["param"], missing.to_ascii_lowercase());
        }
    }
}

#[test]
fn no_spelling_of_a_path_is_allowed_without_a_token() {
    let asked = Asked::start(&[(
        "PORTCULLIS__RULES",
        r#"[
            { name = "agents", path_prefix = "/api/agents", roles = ["ADMIN"] },
            { name = "health", path = "/api/healthcheck", access = "public" },
            { name = "open", path_prefix = "/open", access = "public" },
        ]"#,
    )]);
    for path in hostile_paths() {
        let shown = path.get(..80).unwrap_or(&path);
        for (endpoint, headers) in [
            (
                "/auth/nginx".to_owned(),
                vec![
                    ("X-Original-Method", "GET"),
                    ("X-Original-Host", "a"),
                    ("X-Original-URI", path.as_str()),
                ],
            ),
            (
                "/auth/forward".to_owned(),
                vec![
                    ("X-Forwarded-Method", "GET"),
                    ("X-Forwarded-Host", "a"),
                    ("X-Forwarded-Uri", path.as_str()),
                ],
            ),
            (format!("/api/auth{path}"), vec![]),
        ] {
            let answer = asked.send("GET", &endpoint, &headers);
            assert!(!(200..300).contains(&answer.status), "{endpoint} {shown}: {answer:?}");
        }
    }
    for target in
        ["/api/auth", "/api/auth/", "/api/authx", "/api/auth?x=/open", "/api/auth/../open"]
    {
        let answer = asked.send("GET", target, &[]);
        assert!(!(200..300).contains(&answer.status), "{target}: {answer:?}");
    }
    assert_eq!(asked.send("GET", "/api/auth/open/x", &[]).status, 200);
}

#[test]
fn a_credential_that_is_not_forwarded_is_taken_off_as_far_as_the_proxy_can() {
    for (forward, authorization) in [("none", ""), ("authorization-header", "Bearer ")] {
        let asked = Asked::start(&[("PORTCULLIS__TOKENS__FORWARD", forward)]);
        let cookie = format!("a=1; token={}; b=2", token(&json!({})));
        for (path, own, _) in modes() {
            let answer = asked.send("GET", path, &[own, &[("cookie", cookie.as_str())]].concat());
            assert_eq!(answer.headers["cookie"], "a=1; b=2", "{forward} {path}");
            // Those of others stay, where ours is not among them.
            let others = asked.send(
                "GET",
                path,
                &[own, &[("cookie", "a=1"), ("authorization", &bearer("ADMIN"))]].concat(),
            );
            let cookies = others.headers.get("cookie").map(String::as_str);
            assert_eq!(cookies, (!path.starts_with("/api")).then_some("a=1"), "{forward} {path}");
            let set = answer.headers.get("authorization");
            let removed = answer.headers.get("x-envoy-auth-headers-to-remove");
            let is_removed = removed.is_some_and(|names| names.contains("authorization"));
            assert!(
                set.is_some_and(|value| value.starts_with(authorization)) || is_removed,
                "{forward} {path}: {answer:?}"
            );
        }
    }
}

#[test]
fn a_browser_is_sent_to_sign_in_as_far_as_the_proxy_can() {
    let page = "https://auth.example.com/sso/login";
    let asked = Asked::start(&[("PORTCULLIS__CHECK__SIGN_IN_URL", page)]);
    for (path, own, _) in modes() {
        let answer = asked.send("GET", path, &[own, &[("sec-fetch-mode", "navigate")]].concat());
        // nginx takes the address out of the answer by itself.
        assert_eq!(answer.status, if path.contains("nginx") { 401 } else { 302 }, "{path}");
        assert!(answer.headers["location"].starts_with(page), "{path}");
    }
}
