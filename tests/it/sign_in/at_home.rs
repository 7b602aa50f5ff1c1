//! What pages of LiteLLM and of this service ask of a sign-in, beside the ways
//! that the other tests take.

use serde_json::json;

use crate::{
    browser::{Chromium, Plane, With},
    oidc::{Browser, Provider},
    redis::{Redis, cli},
    replica::{PASSWORD, Replica, answer},
    support::free_port,
};

#[tokio::test]
async fn who_is_signed_out_already_is_told_so() {
    let replica = Replica::start("").ready().await;
    let token = replica.token("ann").await;
    assert_eq!(replica.logout(&token).await, (200, json!({ "message": "Session revoked." })));
    let logout = replica.client.post(replica.url("/session/logout")).bearer_auth(&token);
    let response = logout.send().await.unwrap();
    let cookie = response.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert!(cookie.starts_with("token=;") && cookie.ends_with("Max-Age=0"), "{cookie}");
    let (status, body) = answer(response).await;
    let expected = json!({ "message": "Session already revoked." });
    assert_eq!((status, body), (200, expected));
    // It is signed out all the same, and what is no token of ours is none.
    assert_eq!(replica.session(&token).await, 401);
    for other in ["junk", &format!("{token}x")] {
        assert_eq!(replica.logout(other).await.0, 401);
    }
}

#[tokio::test]
async fn a_page_elsewhere_is_told_which_setting_is_missing() {
    let replica = Replica::start_with("lifecycle.drain = \"0s\"\n").ready().await;
    for _ in 0..3 {
        let body = json!({ "username": "ann", "password": PASSWORD });
        let (status, body) = answer(replica.post("/v3/login", &body).send().await.unwrap()).await;
        assert_eq!(status, 404);
        let message = body["error"]["message"].as_str().unwrap();
        assert!(message.contains("login.control_plane_url"), "{message}");
    }
    replica.says("login.control_plane_url is not set");
    assert_eq!(replica.running.log().matches("login.control_plane_url is not set").count(), 1);
}

#[tokio::test]
async fn whoever_forgot_the_address_of_the_pages_reads_of_it_in_the_log() {
    let replica = Replica::start_with("lifecycle.drain = \"0s\"\n").ready().await;
    for _ in 0..3 {
        let body = json!({ "username": "ann", "password": PASSWORD });
        let asked = replica.client.post(replica.url("/session")).json(&body);
        let (status, body) =
            answer(asked.header("origin", "https://app.example").send().await.unwrap()).await;
        assert_eq!((status, &body["error"]["param"]), (403, &json!("origin")), "{body}");
    }
    replica.says("set http.public_url");
    assert_eq!(replica.running.log().matches("a page of another origin asked").count(), 1);
    assert!(replica.running.log().contains("https://app.example"));
}

#[tokio::test]
async fn a_code_whose_record_is_garbled_is_used_up() {
    let redis = Redis::single();
    let replica = Replica::start(&redis.toml).ready().await;
    let code = replica.code("ann").await;
    let ask = |arguments: &[&str]| cli(redis.port, arguments);
    let key = ask(&["KEYS", "portcullis:code:*"]);
    ask(&["SET", key.trim(), "garbled", "KEEPTTL"]);
    let (status, body) = replica.exchange(&code).await;
    assert_eq!((status, &body["error"]["param"]), (401, &json!("code")), "{body}");
    assert_eq!(ask(&["KEYS", "portcullis:code:*"]).trim(), "");
}

#[tokio::test]
async fn a_single_sign_on_may_return_to_the_own_origin_written_out() {
    let provider = Provider::start();
    let replica = crate::oidc::replica("", &provider.toml("portcullis", ""), "").await;
    let own = "http://sso.localhost:8080";
    for (asked, leads_to) in [
        (format!("{own}/ui/login"), Some(format!("{own}/ui/login"))),
        (format!("{own}/x%3Fy=1"), Some(format!("{own}/x?y=1"))),
        ("http://evil.example/ui/login".to_owned(), None),
        (format!("{own}//evil.example"), None),
        ("http://sso.localhost:8081/ui/login".to_owned(), None),
    ] {
        let mut browser = Browser::new();
        let query = format!("?return_to={asked}");
        if leads_to.is_none() {
            let url = replica.url(&format!("/sso/login{query}"));
            let request = replica.client.get(url).header("sec-fetch-mode", "navigate");
            assert_eq!(request.send().await.unwrap().status(), 400, "{asked}");
            continue;
        }
        let (response, to) = browser.sign_in(&replica, &replica, &query, "eve").await;
        assert_eq!((response.status().as_u16(), to), (303, leads_to), "{asked}");
    }
}

#[tokio::test]
async fn an_address_may_choose_the_worker() {
    let plane = Plane::start(With::default()).await;
    let browser = Chromium::start().await;
    let chosen = "document.getElementById('worker').value";
    for (query, expected) in
        [("?worker=us", "us"), ("?worker=eu", "eu"), ("?worker=nowhere", "eu"), ("?worker=", "eu")]
    {
        browser.open(&format!("{}{query}", plane.login())).await;
        browser.form().await;
        assert_eq!(browser.eval(chosen).await, expected, "{query}");
        // It stays in no address.
        browser.lands_on(&plane.login()).await;
    }
    // It goes before the one that was used last.
    browser.open(&format!("{}?worker=us", plane.login())).await;
    browser.sign_in("ann", PASSWORD).await;
    browser.lands_on(&plane.home()).await;
    browser.sees("ann").await;
    browser.press("#sign-out").await;
    browser.lands_on(&plane.login()).await;
    browser.form().await;
    assert_eq!(browser.eval(chosen).await, "us");
    browser.open(&format!("{}?worker=eu", plane.login())).await;
    browser.form().await;
    assert_eq!(browser.eval(chosen).await, "eu");
    browser.quit().await;
}

#[tokio::test]
async fn the_sign_in_page_may_go_to_the_provider_by_itself() {
    let port = free_port();
    let site = format!("http://app.acme.localhost:{port}");
    let provider = Provider::of_all(&[&site], &site);
    let mut command = crate::support::portcullis();
    command.env("PORTCULLIS__HTTP__LISTEN", format!("127.0.0.1:{port}"));
    let toml = format!(
        "http.public_url = \"{site}\"\n[lifecycle]\ndrain = \"0s\"\n\
         [ui]\nauto_redirect_to_sso = true\n{}",
        provider.toml("portcullis", "")
    );
    let replica = Replica::of(command, &toml).ready().await;
    let (_, document) =
        answer(replica.client.get(replica.url("/.well-known/portcullis")).send().await.unwrap())
            .await;
    assert_eq!(document["auto_redirect_to_sso"], true);
    assert_eq!(document["admin_ui_disabled"], false);

    let browser = Chromium::start().await;
    browser.open(&format!("{site}/ui/login/")).await;
    browser.until(&format!("location.origin === {:?}", provider.issuer)).await;
    browser.fill_css("input[name=login]", "eve").await;
    browser.fill_css("input[name=password]", "x").await;
    browser.press("button[type=submit]").await;
    browser.lands_on(&format!("{site}/ui/")).await;
    browser.sees("eve@example.com").await;
    // Who has signed out is not signed in again before they ask for it.
    browser.press("#sign-out").await;
    browser.until(&format!("location.origin === {:?}", provider.issuer)).await;
    browser.open(&format!("{site}/ui/login/")).await;
    browser.form().await;
    assert_eq!(browser.eval("location.origin").await, site.as_str());
    browser.quit().await;
}

#[tokio::test]
async fn the_pages_can_be_switched_off_and_the_endpoints_stay() {
    let replica = Replica::start("ui.admin_ui_disabled = true").ready().await;
    for path in ["/ui", "/ui/", "/ui/login", "/ui/login/"] {
        let response = replica.client.get(replica.url(path)).send().await.unwrap();
        assert_eq!(response.status(), 404, "{path}");
    }
    for path in ["/.well-known/portcullis", "/.well-known/litellm-ui-config"] {
        let document = replica.client.get(replica.url(path)).send().await.unwrap();
        let (status, document) = answer(document).await;
        assert_eq!((status, &document["admin_ui_disabled"]), (200, &json!(true)), "{path}");
    }
    let token = replica.token("ann").await;
    assert_eq!(replica.session(&token).await, 200);
}

#[tokio::test]
async fn an_email_that_one_account_has_signs_in_as_its_name_does() {
    let mut users = crate::replica::everybody();
    // Two share an email; a name is another account's email.
    for (id, name, email) in [
        ("21", "one", "shared@example.com"),
        ("22", "two", "Shared@Example.com"),
        ("23", "7@example.com.au", "x@example.com"),
        ("24", "odd", "7@example.com.au"),
    ] {
        let user = crate::replica::users(&[(id, name, "REGULAR", false)]);
        let own = format!("{id}@example.com");
        assert!(user.contains(&own), "{user}");
        users.push_str(&user.replace(&own, email));
    }
    let limits =
        "login.limits = { failures = 3, lockout = \"300s\" }\n[lifecycle]\ndrain = \"0s\"\n";
    let replica = Replica::start_of(limits, &users).ready().await;
    let sign_in = async |name: &str, password: &str| {
        let body = json!({ "username": name, "password": password });
        let (status, body) = answer(replica.post("/session", &body).send().await.unwrap()).await;
        let token = body["token"].as_str().unwrap_or_default().to_owned();
        (status, token)
    };
    let who = async |token: &str| {
        let request = replica.client.get(replica.url("/session")).bearer_auth(token);
        answer(request.send().await.unwrap()).await.1["user_id"].clone()
    };
    for (name, id) in [
        ("ann", "7"),
        ("7@example.com", "7"),
        ("7@EXAMPLE.com", "7"),
        ("７@example.com", "7"),
        ("7@example.com.au", "23"),
        ("one", "21"),
    ] {
        let (status, token) = sign_in(name, PASSWORD).await;
        assert_eq!((status, who(&token).await), (200, json!(id)), "{name}");
    }
    for name in ["shared@example.com", "Shared@Example.com", "nobody@example.com", "7@example.co"] {
        assert_eq!(sign_in(name, PASSWORD).await.0, 401, "{name}");
    }
    // Both names of an account are counted as one.
    for name in ["8@example.com", "Zoë", "8@example.com"] {
        assert_eq!(sign_in(name, "wrong").await.0, 401, "{name}");
    }
    for name in ["8@example.com", "zoë", "8@Example.com"] {
        assert_eq!(sign_in(name, PASSWORD).await.0, 429, "{name}");
    }
    assert_eq!(sign_in("7@example.com", PASSWORD).await.0, 200);
}
