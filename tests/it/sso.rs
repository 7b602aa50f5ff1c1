//! Single sign-on through a real provider, by replicas over a real store.

use std::time::Duration;

use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    oidc::{Browser, PUBLIC, Provider, replica},
    redis::Redis,
    replica::{CONTROL_PLANE, Replica, answer, users},
    support::{eventually, free_port, output, portcullis},
};

const PAGE: &str = "https://cp.example.com/ui/login/";
// The verifier and the challenge of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The claims of a token, as `token inspect` shows them.
fn claims(token: &str) -> Value {
    let inspected = output(portcullis().args(["token", "inspect", token]), "");
    let told = String::from_utf8(inspected.stdout).unwrap();
    let line = told.lines().nth(1).unwrap().strip_prefix("claims  ").unwrap();
    serde_json::from_str(line).unwrap()
}

fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
}

/// The claims of the token of a sign-in that ends with the cookie.
async fn signed_in(replica: &Replica, who: &str) -> Value {
    let mut browser = Browser::new();
    let (response, to) = browser.sign_in(replica, replica, "?return_to=/x", who).await;
    assert_eq!(response.status(), 303, "{who}: {}", response.text().await.unwrap());
    assert_eq!(to.as_deref(), Some("http://sso.localhost:8080/x"));
    claims(browser.cookie("token").unwrap())
}

/// The status of a sign-in that fails.
async fn refused(replica: &Replica, who: &str) -> u16 {
    let mut browser = Browser::new();
    let (response, to) = browser.sign_in(replica, replica, "", who).await;
    assert_eq!((to, browser.cookie("token")), (None, None), "{who}");
    response.status().as_u16()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn any_replica_finishes_what_another_began() {
    let (redis, provider) = (Redis::single(), Provider::start());
    let toml = provider.toml("portcullis", "");
    let a = replica("", &toml, &redis.toml).await;
    let b = replica("", &toml, &redis.toml).await;
    for n in 0..200 {
        let (start, end) = if n % 2 == 0 { (&a, &b) } else { (&b, &a) };
        let query = format!(
            "?return_to={PAGE}%3Fworker%3Deu%23top&code_challenge={CHALLENGE}&code_challenge_method=S256"
        );
        let mut browser = Browser::new();
        let (response, to) = browser.sign_in(start, end, &query, &format!("user{n}")).await;
        assert_eq!(response.status(), 303, "{n}: {}", response.text().await.unwrap());
        let to = to.unwrap();
        let code = parameter(&to, "code").unwrap();
        assert_eq!(to, format!("{PAGE}?worker=eu&login=success&code={code}#top"));
        assert_eq!(browser.cookie("token"), None, "the control plane gets a code and no cookie");

        // And the code is that of a sign-in by password.
        let exchange = |verifier: Value| {
            let body = json!({ "code": code, "code_verifier": verifier });
            start.post("/v3/login/exchange", &body).header("origin", CONTROL_PLANE)
        };
        let (status, exchanged) = answer(exchange(json!(VERIFIER)).send().await.unwrap()).await;
        assert_eq!(status, 200, "{exchanged}");
        assert_eq!(exchanged["redirect_url"], format!("{PAGE}?worker=eu#top"));
        let (status, _) = answer(exchange(json!(VERIFIER)).send().await.unwrap()).await;
        assert_eq!(status, 401, "once");
        let claims = claims(exchanged["token"].as_str().unwrap());
        assert_eq!(claims["userId"], format!("sso:user{n}"));
        assert_eq!(claims["sub"], format!("user{n}"));
        assert_eq!(claims["email"], format!("user{n}@example.com"));
        assert_eq!(claims["role"], "REGULAR");
        assert_eq!(claims["login_method"], "sso");
    }
    a.says("\"method\":\"sso\"");
}

#[tokio::test]
async fn a_replica_without_a_shared_store_says_why_it_cannot_finish() {
    let provider = Provider::start();
    let toml = provider.toml("portcullis", "");
    let a = replica("", &toml, "").await;
    let b = replica("", &toml, "").await;
    a.says("a second replica could not finish");
    let mut browser = Browser::new();
    let (response, to) = browser.sign_in(&a, &b, "", "ann").await;
    let (status, body) = answer(response).await;
    assert_eq!((status, to, browser.cookie("token")), (400, None, None));
    let message = body["error"]["message"].as_str().unwrap();
    assert!(message.contains("begun at another replica"), "{message}");
    // Where it was begun it is finished.
    let (response, _) = Browser::new().sign_in(&a, &a, "", "ann").await;
    assert_eq!(response.status(), 303);
}

#[tokio::test]
async fn every_way_of_client_authentication_and_every_algorithm_works() {
    let provider = Provider::start();
    for (client, more) in [
        ("portcullis", "client_auth = \"basic\""),
        ("portcullis-post", "client_auth = \"post\""),
        ("portcullis-public", ""),
        ("portcullis-public", "client_auth = \"post\""),
    ] {
        let replica = replica("", &provider.toml(client, more), "").await;
        assert_eq!(signed_in(&replica, "eve").await["userId"], "sso:eve", "{client}");
    }
    let wrong = provider.toml("portcullis", "").replace("on-loopback", "of-another");
    let replica = replica("", &wrong, "").await;
    assert_eq!(refused(&replica, "eve").await, 401);
    replica.says("invalid_client");
}

#[tokio::test]
async fn an_account_lends_its_id_and_role_to_its_verified_email_alone() {
    let provider = Provider::start();
    let users = users(&[
        ("ann", "Ann", "ADMIN", false),
        ("dis", "dis", "ADMIN", true),
        ("ina", "ina", "INACTIVE", false),
    ]);
    let start = async |more: &str| {
        let toml = format!("http.public_url = \"{PUBLIC}\"\n{}", provider.toml("portcullis", more));
        Replica::start_of(&toml, &users).ready().await
    };
    let replica = start("").await;
    let claims = signed_in(&replica, "ann").await;
    assert_eq!(claims["userId"], "ann");
    assert_eq!(claims["sub"], "Ann");
    assert_eq!(claims["role"], "ADMIN");
    assert_eq!(signed_in(&replica, "ANN").await["userId"], "ann", "case does not count");

    // An email that nobody verified is nobody's, and no upstream hears of it.
    let claims = signed_in(&replica, "ann+unverified").await;
    assert_eq!(claims["userId"], "sso:ann+unverified");
    assert_eq!(claims["role"], "REGULAR");
    assert_eq!(claims.get("email"), None);
    // Nor is a name: the account's is not for others.
    assert_eq!(claims["sub"], "sso:ann+unverified");
    // A letter that only looks alike is another mailbox.
    assert_eq!(signed_in(&replica, "%EF%BD%81nn").await["role"], "REGULAR");
    // A provider's 7 is not the account 7.
    assert_eq!(signed_in(&replica, "7").await["userId"], "sso:7");
    // A disabled account is no fresh identity, nor is one that may not sign in.
    assert_eq!(refused(&replica, "dis").await, 403);
    assert_eq!(refused(&replica, "dis+unverified").await, 403);
    assert_eq!(refused(&replica, "ina").await, 403);
    // The highest role of the groups, and none for groups that map to none.
    assert_eq!(signed_in(&replica, "eve+both+admins+staff").await["role"], "ADMIN");
    assert_eq!(refused(&replica, "eve+both").await, 403, "RESTRICTED may not sign in");
    assert_eq!(refused(&replica, "eve+nobody").await, 403, "INACTIVE may not sign in");

    let replica = start("link_by_email = false\ndefault_role = \"REGULAR\"").await;
    assert_eq!(signed_in(&replica, "ann").await["userId"], "sso:ann");
    assert_eq!(signed_in(&replica, "eve+nobody").await["role"], "REGULAR");
}

#[tokio::test]
async fn an_email_of_two_accounts_is_nobodys() {
    let provider = Provider::start();
    let two = users(&[("ann", "ann", "ADMIN", false), ("bob", "bob", "ADMIN", false)])
        .replace("bob@example.com", "ANN@example.com");
    let toml = format!("http.public_url = \"{PUBLIC}\"\n{}", provider.toml("portcullis", ""));
    let replica = Replica::start_of(&toml, &two).ready().await;
    assert_eq!(refused(&replica, "ann").await, 403);
}

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
async fn a_sign_out_leads_to_the_providers_end_of_session() {
    let provider = Provider::start();
    let replica = replica("", &provider.toml("portcullis", ""), "").await;
    let mut browser = Browser::new();
    browser.sign_in(&replica, &replica, "", "ann").await;
    let token = browser.cookie("token").unwrap().to_owned();
    let (status, body) = replica.logout(&token).await;
    assert_eq!((status, &body["message"]), (200, &json!("Session revoked.")));
    let url = body["end_session_url"].as_str().unwrap();
    assert_eq!(
        url,
        format!(
            "{}/session/end?client_id=portcullis&post_logout_redirect_uri={}",
            provider.issuer, "https%3A%2F%2Fcp.example.com%2Fui%2Flogin%2F"
        )
    );
    let (response, _) = browser.open(url).await;
    assert_eq!(response.status(), 200, "{}", response.text().await.unwrap());
    assert_eq!(replica.session(&token).await, 401);
    // A sign-in by password has no session at the provider.
    let (_, body) = replica.logout(&replica.token("ann").await).await;
    assert_eq!(body, json!({ "message": "Session revoked." }));
    // The discovery document says whether there is single sign-on.
    let (_, document) =
        answer(replica.client.get(replica.url("/.well-known/portcullis")).send().await.unwrap())
            .await;
    assert_eq!(document["sso_configured"], true);
}

#[tokio::test]
async fn without_the_store_nothing_begins_and_nothing_is_half_done() {
    let (mut redis, provider) = (Redis::single(), Provider::start());
    let replica = replica("", &provider.toml("portcullis", ""), &redis.toml).await;
    let mut browser = Browser::new();
    let (_, to) = browser.open(&replica.url("/sso/login")).await;
    let back = browser.at_provider(&to.unwrap(), "ann").await.replace(PUBLIC, &replica.url(""));
    redis.servers.clear();
    for url in [replica.url("/sso/login"), back] {
        let (response, to) = browser.open(&url).await;
        assert!(!response.headers().contains_key("set-cookie"));
        assert_eq!((response.status().as_u16(), to), (503, None), "{url}");
    }
    assert_eq!(browser.cookie("token"), None);
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
