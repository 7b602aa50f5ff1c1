//! Single sign-on, request by request: what is sent, what is refused, what is
//! told to whom.

use std::time::Duration;

use reqwest::Url;
use serde_json::json;

use crate::{
    oidc::{Browser, PUBLIC, Provider, replica},
    redis::Redis,
    replica::{CONTROL_PLANE, Replica, answer},
    rogue::{Reply, Rogue},
    sso::{CHALLENGE, PAGE, parameter, signed_in},
    support::{eventually, free_port},
};

#[tokio::test]
async fn a_state_works_once_in_its_own_browser_and_in_its_time() {
    let provider = Provider::start();
    let replica = replica("", &provider.toml("portcullis", "state_ttl = \"2s\""), "").await;
    let start = replica.url("/sso/login");

    // Twice.
    let mut browser = Browser::new();
    let (_, to) = browser.open(&start).await;
    let back = browser.at_provider(&to.unwrap(), "ann").await.replace(PUBLIC, &replica.url(""));
    assert_eq!(browser.open(&back).await.0.status(), 303);
    let (status, body) = answer(browser.open(&back).await.0).await;
    assert_eq!((status, &body["error"]["param"]), (400, &json!("state")));

    // In another browser, after which it is gone for its own, too.
    let mut victim = Browser::new();
    victim.open(&start).await;
    let (_, to) = browser.open(&start).await;
    let back = browser.at_provider(&to.unwrap(), "ann").await.replace(PUBLIC, &replica.url(""));
    for someone in [&mut victim, &mut Browser::new()] {
        let (response, to) = someone.open(&back).await;
        assert_eq!((response.status().as_u16(), to), (400, None));
    }
    assert_eq!(browser.open(&back).await.0.status(), 400);

    // Too late.
    let (_, to) = browser.open(&start).await;
    let back = browser.at_provider(&to.unwrap(), "ann").await.replace(PUBLIC, &replica.url(""));
    tokio::time::sleep(Duration::from_millis(2100)).await;
    assert_eq!(browser.open(&back).await.0.status(), 400);

    // Two tabs of one browser.
    let mut tabs = Vec::new();
    for _ in 0..2 {
        let (_, to) = browser.open(&start).await;
        tabs.push(browser.at_provider(&to.unwrap(), "ann").await.replace(PUBLIC, &replica.url("")));
    }
    for back in tabs {
        assert_eq!(browser.open(&back).await.0.status(), 303);
    }

    // Absent, junk, and twice.
    let random = "A".repeat(43);
    for query in [
        String::new(),
        "?code=x".into(),
        "?code=x&state=".into(),
        "?code=x&state=x".into(),
        format!("?code=x&state={random}"),
        format!("?code=x&state={random}&state={random}"),
        format!("?error=access_denied&state={random}"),
    ] {
        let (response, _) = browser.open(&replica.url(&format!("/sso/callback{query}"))).await;
        assert_eq!(response.status(), 400, "{query}");
    }
}

#[tokio::test]
async fn what_is_sent_to_the_provider_is_a_challenge_and_never_a_verifier() {
    let provider = Provider::start();
    let https = "http.public_url = \"https://auth.example.com/auth\"\n";
    let toml = format!("{https}{}", provider.toml("portcullis", ""));
    let replica = Replica::start(&toml).ready().await;
    let mut browser = Browser::new();
    let (response, to) = browser.open(&replica.url("/sso/login?return_to=/x")).await;
    assert_eq!(response.status(), 303);
    assert_eq!(response.headers()["cache-control"], "no-store");
    let cookie = response.headers()["set-cookie"].to_str().unwrap();
    let (pair, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(pair.strip_prefix("__Host-portcullis-sso=").unwrap().len(), 43);
    assert_eq!(attributes, "Path=/; HttpOnly; SameSite=Lax; Max-Age=600; Secure");
    let to = to.unwrap();
    assert!(to.starts_with(&format!("{}/auth?", provider.issuer)), "{to}");
    for (name, value) in [
        ("response_type", "code"),
        ("client_id", "portcullis"),
        ("redirect_uri", "https://auth.example.com/auth/sso/callback"),
        ("scope", "openid email profile"),
        ("code_challenge_method", "S256"),
    ] {
        assert_eq!(parameter(&to, name).as_deref(), Some(value), "{name}");
    }
    for name in ["state", "nonce", "code_challenge"] {
        assert_eq!(parameter(&to, name).unwrap().len(), 43, "{name}");
    }
    assert_eq!(Url::parse(&to).unwrap().query_pairs().count(), 8);

    // A second tab keeps the browser's value, and has a state of its own; a
    // value that was not made here is not kept.
    let (again, second) = browser.open(&replica.url("/sso/key/generate")).await;
    assert!(again.headers()["set-cookie"].to_str().unwrap().starts_with(pair));
    assert_ne!(parameter(&to, "state"), parameter(&second.unwrap(), "state"));
    let url = replica.url("/sso/login");
    let short = replica.client.get(url).header("cookie", "__Host-portcullis-sso=short");
    let redirects_not = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let short = redirects_not.build().unwrap().execute(short.build().unwrap()).await.unwrap();
    assert!(!short.headers()["set-cookie"].to_str().unwrap().contains("=short"));
}

#[tokio::test]
async fn only_addresses_that_may_be_returned_to_are() {
    let provider = Provider::start();
    let before = "login.return_to_origins = [\"https://app.example.com\"]\n";
    let replica = replica(before, &provider.toml("portcullis", ""), "").await;
    let status = async |query: &str| {
        let (response, to) = Browser::new().open(&replica.url(&format!("/sso/login{query}"))).await;
        assert_eq!(response.headers().contains_key("set-cookie"), to.is_some());
        response.status().as_u16()
    };
    for good in [
        "",
        "?return_to=/",
        "?return_to=https://app.example.com/x",
        "?return_to=https%3A%2F%2Fcp.example.com%2Fui%2Flogin",
    ] {
        assert_eq!(status(good).await, 303, "{good}");
    }
    for bad in [
        "",
        "//evil",
        "/%5Cevil",
        "/\\evil",
        "https:evil",
        "https://cp@evil",
        "https://cp.example.com@evil/ui/login/",
        "https://evil%5C@cp.example.com/ui/login/",
        "https://evil\\@cp.example.com/ui/login/",
        "https://cp.example.com%09/ui/login/",
        "https://cp.example.com/ui/login/%0d%0a",
        "https://cp.example.com%0D%0A.evil/ui/login/",
        "/%09/evil",
        "/%0d%0aset-cookie:x=y",
        "javascript:alert(1)",
        "data:text/html,x",
        "https://cp.example.com:8443/ui/login/",
        "http://cp.example.com/ui/login/",
        "https://cp.example.com./ui/login/",
        "https://cp.evil/ui/login/",
        "https://cp%E3%80%82example%E3%80%82com/ui/login/",
        "https://cp.example.com/ui/",
        "https://cp.example.com/ui/login/%3Fcode%3Dx",
        "https://evil.com",
        "null",
    ] {
        assert_eq!(status(&format!("?return_to={bad}")).await, 400, "{bad}");
    }
    for bad in [
        "?return_to=/&return_to=/x",
        "?code_challenge=short",
        "?code_challenge_method=S256",
        &format!("?code_challenge={CHALLENGE}&code_challenge_method=plain"),
    ] {
        assert_eq!(status(bad).await, 400, "{bad}");
    }
    // HEAD looks, and begins nothing.
    let head = replica.client.head(replica.url("/sso/login")).send().await.unwrap();
    assert_eq!(head.status(), 405);
}

#[tokio::test]
async fn people_get_pages_and_programs_get_json() {
    let provider = Provider::start();
    let replica = replica("", &provider.toml("portcullis", ""), "").await;
    let get = async |path: &str, accept: &str| {
        let request = replica.client.get(replica.url(path)).header("accept", accept);
        let response = request.send().await.unwrap();
        let kind = response.headers()["content-type"].to_str().unwrap().to_owned();
        let policy = response.headers().get("content-security-policy").cloned();
        (kind, policy, response.text().await.unwrap())
    };
    let page = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";
    let (kind, policy, text) = get("/sso/login?return_to=//evil/%22%3E%3Cscript%3E", page).await;
    assert_eq!(kind, "text/html; charset=utf-8");
    let policy = policy.unwrap().to_str().unwrap().to_owned();
    assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
    assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"), "{policy}");
    assert!(text.contains("This address may not be returned to."), "{text}");
    assert!(text.contains(&format!("href=\"{PUBLIC}/sso/login\"")), "{text}");
    assert!(!text.contains("evil") && !text.contains("script"), "{text}");
    let (_, _, text) = get("/sso/callback?state=x&code=secret", page).await;
    assert!(text.contains("<meta name=\"referrer\" content=\"no-referrer\">"), "{text}");
    assert!(!text.contains("secret"), "{text}");
    for accept in ["*/*", "application/json", ""] {
        let (kind, _, text) = get("/sso/callback?state=x", accept).await;
        assert_eq!(kind, "application/json", "{text}");
    }
}

#[tokio::test]
async fn no_secret_is_in_a_log() {
    let (redis, provider) = (Redis::single(), Provider::start());
    let replica = replica("", &provider.toml("portcullis", ""), &redis.toml).await;
    let mut browser = Browser::new();
    let (response, to) =
        browser.sign_in(&replica, &replica, &format!("?return_to={PAGE}"), "ann").await;
    assert_eq!(response.status(), 303);
    let code = parameter(&to.unwrap(), "code").unwrap();
    let body = json!({ "code": code });
    let exchange = replica.post("/v3/login/exchange", &body).header("origin", CONTROL_PLANE);
    let (status, exchanged) = answer(exchange.send().await.unwrap()).await;
    assert_eq!(status, 200);
    // A failed one, which says more.
    let (_, failed) = browser.open(&replica.url("/sso/login")).await;
    let failed = failed.unwrap();
    let state = parameter(&failed, "state").unwrap();
    let url = format!(
        "/sso/callback?state={state}&code=wrong-code-of-the-provider&iss={}",
        provider.issuer
    );
    assert_eq!(browser.open(&replica.url(&url)).await.0.status(), 401);
    eventually("both", || {
        let log = replica.running.log();
        (log.contains("signed_in") && log.contains("invalid_grant")).then_some(())
    });
    let log = replica.running.log();
    let mut secrets = vec![code, exchanged["token"].as_str().unwrap().to_owned()];
    secrets.push("wrong-code-of-the-provider".into());
    secrets.push("a-secret-of-the-provider-on-loopback".into());
    secrets.push(browser.cookie("portcullis-sso").unwrap().to_owned());
    for url in browser.seen.iter().chain([&failed]) {
        for name in ["state", "nonce", "code_challenge", "code"] {
            secrets.extend(parameter(url, name));
        }
    }
    assert!(secrets.len() > 12, "{secrets:?}");
    for secret in secrets {
        assert!(!log.contains(&secret), "{secret} is in the log");
    }
}

#[tokio::test]
async fn starts_are_limited_by_address() {
    let provider = Provider::start();
    let toml = format!(
        "http.public_url = \"{PUBLIC}\"\nlogin.limits = {{ failures_per_address = 3 }}\n{}",
        provider.toml("portcullis", "")
    );
    let replica = Replica::start(&toml).ready().await;
    // What comes to its end is no flood.
    for _ in 0..6 {
        signed_in(&replica, "eve").await;
    }
    // A page elsewhere cannot begin any in its visitors' names.
    for (name, value) in [
        ("sec-fetch-mode", "no-cors"),
        ("sec-fetch-mode", "cors"),
        ("sec-fetch-dest", "image"),
        ("sec-fetch-dest", "iframe"),
        ("sec-purpose", "prefetch"),
    ] {
        let request = replica.client.get(replica.url("/sso/login")).header(name, value);
        assert_eq!(request.send().await.unwrap().status(), 400, "{name}: {value}");
    }
    for _ in 0..3 {
        let (response, _) = Browser::new().open(&replica.url("/sso/login")).await;
        assert_eq!(response.status(), 303);
    }
    let (response, _) = Browser::new().open(&replica.url("/sso/login")).await;
    assert_eq!(response.status(), 429);
    assert!(response.headers().contains_key("retry-after"));
    replica.says("\"result\":\"locked_out\"");
    // Whoever comes by a proxy that nobody configured shares a greater count.
    let proxied = || {
        let request = replica.client.get(replica.url("/sso/login"));
        request.header("x-forwarded-for", "192.0.2.1").header("accept", "x").build().unwrap()
    };
    let client = reqwest::Client::builder().redirect(reqwest::redirect::Policy::none());
    let client = client.build().unwrap();
    for n in 0..61 {
        let status = client.execute(proxied()).await.unwrap().status().as_u16();
        assert_eq!(status, if n < 60 { 303 } else { 429 }, "{n}");
    }
}

#[tokio::test]
async fn an_outage_is_not_counted_against_those_who_meet_it() {
    let toml = format!(
        "http.public_url = \"{PUBLIC}\"\nlogin.limits = {{ failures_per_address = 2 }}\n\
         [sso]\nissuer = \"http://127.0.0.1:{}\"\nclient_id = \"portcullis\"\n",
        free_port()
    );
    let replica = Replica::start(&toml).ready().await;
    for _ in 0..6 {
        let (response, _) = Browser::new().open(&replica.url("/sso/login")).await;
        assert_eq!(response.status(), 503);
    }
}

#[tokio::test]
async fn a_sign_out_works_with_the_provider_down() {
    let rogue = Rogue::start().await;
    let replica = rogue.replica().await;
    let mut browser = Browser::new();
    let (_, to) = browser.open(&replica.url("/sso/login")).await;
    assert!(to.is_some());
    assert_eq!(rogue.sign_in(&replica, "code=c&state={state}").await.0, 303);
    // Another replica has not met the provider yet, and cannot now.
    let token = {
        let mut browser = Browser::new();
        let (_, to) = browser.open(&replica.url("/sso/login?return_to=/x")).await;
        let to = reqwest::Url::parse(&to.unwrap()).unwrap();
        let find =
            |name: &str| to.query_pairs().find(|(own, _)| own == name).unwrap().1.into_owned();
        rogue.change(|behaviour| behaviour.claims["nonce"] = json!(find("nonce")));
        browser.open(&replica.url(&format!("/sso/callback?code=c&state={}", find("state")))).await;
        browser.cookie("token").unwrap().to_owned()
    };
    rogue.change(|behaviour| {
        behaviour.discovery = Reply::Text(503, "application/json", String::new());
    });
    let other = rogue.replica().await;
    let (status, body) = other.logout(&token).await;
    assert_eq!((status, body), (200, json!({ "message": "Session revoked." })));
    let (_, body) = replica.logout(&token).await;
    assert!(
        body["end_session_url"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{}/end?client_id=", rogue.issuer))
    );
}
