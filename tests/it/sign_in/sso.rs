//! Single sign-on through a real provider, by replicas over a real store.

use reqwest::Url;
use serde_json::{Value, json};

use crate::{
    oidc::{Browser, PUBLIC, Provider, replica},
    redis::Redis,
    replica::{CONTROL_PLANE, Replica, answer, users},
    support::{output, portcullis},
};

pub(crate) const PAGE: &str = "https://cp.example.com/ui/login/";
// The verifier and the challenge of RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
pub(crate) const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// The claims of a token, as `token inspect` shows them.
fn claims(token: &str) -> Value {
    let inspected = output(portcullis().args(["token", "inspect", token]), "");
    let told = String::from_utf8(inspected.stdout).unwrap();
    let line = told.lines().nth(1).unwrap().strip_prefix("claims  ").unwrap();
    serde_json::from_str(line).unwrap()
}

pub(crate) fn parameter(url: &str, name: &str) -> Option<String> {
    let url = Url::parse(url).unwrap();
    url.query_pairs().find(|(own, _)| own == name).map(|(_, value)| value.into_owned())
}

/// The claims of the token of a sign-in that ends with the cookie.
pub(crate) async fn signed_in(replica: &Replica, who: &str) -> Value {
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
    a.says("a second replica could not complete");
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
