//! Signing in through a real Envoy, by `envoy/envoy.yaml` as it is.

use serde_json::{Value, json};

use crate::{
    oidc::{Browser, Provider},
    replica::{PASSWORD, body, everybody},
    stack::{Mode, NEWEST, Stack},
    support::{eventually, free_port},
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_browser_that_opens_a_guarded_page_signs_in_and_lands_on_it() {
    let port = free_port();
    let site = format!("http://127.0.0.1:{port}");
    let provider = Provider::of(&site);
    let sign_in_url = format!("{site}/sso/login");
    let stack = Stack::on(
        port,
        "",
        NEWEST,
        Mode::Strict,
        &[
            ("PORTCULLIS__HTTP__PUBLIC_URL", &site),
            ("PORTCULLIS__HTTP__TRUSTED_PROXIES", "[\"127.0.0.1/32\"]"),
            ("PORTCULLIS__CHECK__SIGN_IN_URL", &sign_in_url),
            ("PORTCULLIS__SSO__ISSUER", &provider.issuer),
            ("PORTCULLIS__SSO__CLIENT_ID", "portcullis-public"),
            ("PORTCULLIS__SSO__DEFAULT_ROLE", "REGULAR"),
        ],
    );
    stack.comes_back();
    let page = format!("{site}/api/agents?page=2&x=a%20b");

    let mut browser = Browser::new();
    let (response, to) = browser.open(&page).await;
    assert_eq!(response.status(), 302);
    let to = to.unwrap();
    assert_eq!(to, format!("{sign_in_url}?return_to=/api/agents%3Fpage%3D2%26x%3Da%2520b"));
    let (response, to) = browser.open(&to).await;
    assert_eq!(response.status(), 303);
    let back = browser.at_provider(&to.unwrap(), "ann").await;
    assert!(back.starts_with(&format!("{site}/sso/callback?")), "{back}");
    let (response, to) = browser.open(&back).await;
    assert_eq!(response.status(), 303, "{}", response.text().await.unwrap());
    assert_eq!(to.as_deref(), Some(page.as_str()));
    let (response, _) = browser.open(&page).await;
    assert_eq!(response.status(), 200);
    let body: Value = response.json().await.unwrap();
    let identity = &body["received"]["identity"];
    assert_eq!(identity["x-user-id"], json!(["sso:ann"]));
    assert_eq!(identity["x-user-role"], json!(["REGULAR"]));
    assert_eq!(identity["x-user-email"], json!(["ann@example.com"]));

    // What is no navigation is told so, and signing in takes no forged header
    // for anybody.
    let plain = stack.send("GET", "/api/agents", &[]);
    assert_eq!(plain.status, 401);
    let forged = stack.send("GET", "/session", &[("x-user-id", "7"), ("x-user-role", "ADMIN")]);
    assert_eq!(forged.status, 401);
    // A path that only looks like one of the sign-in's is guarded.
    for path in ["/sessions", "/ssox", "/v3/loginx", "/sso/../api/agents", "/v3"] {
        let answer = stack.send("GET", path, &[]);
        assert!(!answer.reached() && answer.status != 200, "{path}: {answer:?}");
    }
}

/// A pod that comes by the gateway is in the network of the gateway's pods, and
/// says that it hands on for somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_within_the_network_of_the_proxies_does_not_choose_its_address() {
    let room = tempfile::tempdir().unwrap();
    let users = room.path().join("users.toml");
    std::fs::write(&users, everybody()).unwrap();
    for networks in ["[]", "[\"0.0.0.0/1\", \"128.0.0.0/1\"]"] {
        let stack = Stack::with(
            NEWEST,
            Mode::Strict,
            &[
                ("PORTCULLIS__HTTP__TRUSTED_HOPS", "1"),
                ("PORTCULLIS__HTTP__TRUSTED_PROXIES", networks),
                ("PORTCULLIS__LOGIN__USERS_FILE", users.to_str().unwrap()),
                ("PORTCULLIS__LOGIN__LIMITS__FAILURES", "3"),
            ],
        );
        let client = reqwest::Client::new();
        let sign_in = async |forged: &str, password: &str| {
            let asked = client.post(format!("http://127.0.0.1:{}/session", stack.port));
            let asked = asked.json(&body("ann", password)).header("x-forwarded-for", forged);
            asked.send().await.unwrap().status().as_u16()
        };
        for n in 0..3 {
            assert_eq!(sign_in(&format!("198.51.100.{n}"), "wrong").await, 401);
        }
        for forged in ["198.51.100.9", "198.51.100.9, 198.51.100.8", "junk", ""] {
            assert_eq!(sign_in(forged, PASSWORD).await, 429, "{networks} {forged}");
        }
        // Whoever Envoy says it is: of a client on loopback, the machine itself.
        let log = eventually("seven tries in the log", || {
            let log = stack.portcullis.as_ref().unwrap().log();
            (log.matches("\"event\":\"sign_in\"").count() == 7).then_some(log)
        });
        assert!(!log.contains("198.51.100"), "{log}");
    }
}
