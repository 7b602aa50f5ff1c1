//! Signing in through every gateway that is shipped: what is portcullis's own
//! leads to its `http` listener, and nothing beside it does.

use serde_json::json;

use crate::{
    stack::{Mode, NEWEST, Stack, VERSIONS},
    support::read,
};

/// The shipped configurations with a way to sign in; the manifests of `k8s/`
/// are held to the same paths by `k8s/checks/policy.py`, and Traefik's below.
const GATEWAYS: [(Mode, &str); 5] = [
    (Mode::Strict, VERSIONS[0]),
    (Mode::Strict, NEWEST),
    (Mode::Http, NEWEST),
    (Mode::Nginx, ""),
    (Mode::Caddy, ""),
];

const OWN: [(&str, &str); 18] = [
    ("GET", "/.well-known/portcullis"),
    ("GET", "/.well-known/jwks.json"),
    ("GET", "/.well-known/litellm-ui-config"),
    ("GET", "/litellm/.well-known/litellm-ui-config"),
    ("GET", "/.well-known/litellm-ui-config?t=1"),
    ("POST", "/v2/login"),
    ("POST", "/v3/login"),
    ("POST", "/v3/login/exchange"),
    ("GET", "/session"),
    ("POST", "/session"),
    ("POST", "/session/logout"),
    ("GET", "/sso/login"),
    ("GET", "/sso/key/generate"),
    ("GET", "/sso/callback"),
    ("GET", "/ui"),
    ("GET", "/ui/"),
    ("GET", "/ui/login/?worker=eu"),
    ("GET", "/ui/assets/none.js"),
];

const NOT_OWN: [&str; 8] = [
    "/v2/logins",
    "/v4/login",
    "/sessions",
    "/ssoo",
    "/.well-known/litellm-ui-configs",
    "/.well-known/openid-configuration",
    "/litellm/.well-known/portcullis",
    "/litellm/sso/login",
];

#[test]
fn every_path_of_signing_in_leads_there_through_every_gateway_and_no_other_does() {
    for (mode, version) in GATEWAYS {
        let stack = Stack::waiting_at("/api/healthcheck", version, mode, &[]);
        for (method, path) in OWN {
            let answer = stack.send(method, path, &[("content-length", "0")]);
            // Every answer of that listener has it, and no other.
            let policy = answer.headers.get("referrer-policy").map(String::as_str);
            assert_eq!(policy, Some("same-origin"), "{mode:?} {method} {path}: {answer:?}");
            if path.ends_with("/jwks.json") {
                assert_eq!(answer.json(), json!({ "keys": [] }), "{mode:?}");
            } else if path.contains("/.well-known/") {
                assert_eq!(answer.json()["is_control_plane"], json!(false), "{mode:?} {path}");
            }
        }
        for path in NOT_OWN {
            let answer = stack.send("GET", path, &[]);
            assert_eq!(answer.status, 403, "{mode:?} {path}: {answer:?}");
            assert!(!answer.headers.contains_key("referrer-policy"), "{mode:?} {path}");
        }
    }
}

#[test]
fn traefik_routes_what_caddy_does() {
    let caddy = read("examples/Caddyfile");
    let (_, caddy) = caddy.split_once("@sign_in path_regexp ").unwrap();
    let traefik = read("examples/traefik.yaml").replace("\\\\", "\\");
    let rule = format!("rule: \"PathRegexp(`{}`)\"", caddy.lines().next().unwrap());
    assert!(traefik.contains(&rule), "no {rule}");
}
