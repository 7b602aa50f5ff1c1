//! The document of the HTTP endpoints and the running service: every operation is asked, and
//! each answer is one that the document has. `docs/run --check` holds the document itself to
//! `OpenAPI` 3.1.

use std::collections::BTreeSet;

use portcullis::clock::{Clock as _, SystemClock};
use reqwest::{Method, RequestBuilder, Url};
use serde_json::{Value, json};

use super::document::{Document, METHODS};
use crate::{
    oidc::{Browser, replica, sso_toml},
    replica::{CONTROL_PLANE, PASSWORD, Replica, body},
    rogue::Rogue,
    support::{minted, output, portcullis, read},
};

/// The routes of a file of the code: path and method.
fn routes(file: &str) -> BTreeSet<(String, String)> {
    let code = read(file);
    let mut found = BTreeSet::new();
    for rest in code.split(".route(\"").skip(1) {
        let (path, rest) = rest.split_once('"').unwrap();
        let handlers = rest.split('\n').next().unwrap();
        let path = path.replace("{*", "{");
        for method in METHODS {
            if handlers.contains(&format!("{method}(")) {
                found.insert((path.clone(), method.to_owned()));
            }
        }
        if handlers.contains("any(") {
            found.insert((path, "get".to_owned()));
        }
    }
    assert!(!found.is_empty(), "{file}");
    found
}

#[test]
fn the_document_has_every_route_and_no_other() {
    let mut there = routes("src/web/mod.rs");
    there.extend(routes("src/web/internal.rs"));
    // Those that are answered before the router: Envoy's has the request's path behind it.
    for path in ["/auth/nginx", "/auth/ingress-nginx", "/auth/forward", "/api/auth/{path}"] {
        let name = path.trim_end_matches("/{path}");
        assert!(read("src/web/decide.rs").contains(&format!("\"{name}\"")), "{name}");
        there.insert((path.to_owned(), "get".to_owned()));
    }
    let told: BTreeSet<(String, String)> = Document::read()
        .operations()
        .into_values()
        .map(|(path, method, _)| (path, method))
        .collect();
    assert_eq!(told, there);
    assert_eq!(Document::read().whole["info"]["version"], env!("CARGO_PKG_VERSION"));
}

/// A service with all that has endpoints, and who asks it.
struct Asked {
    document: Document,
    replica: Replica,
    plain: reqwest::Client,
}

impl Asked {
    fn url(&self, path: &str) -> String {
        let inside = ["/livez", "/readyz", "/metrics", "/auth/", "/api/auth"];
        if inside.iter().any(|begin| path.starts_with(begin)) {
            format!("http://{}{path}", self.replica.internal)
        } else {
            self.replica.url(path)
        }
    }

    /// Asks, and holds the answer to the document.
    async fn ask(
        &mut self,
        id: &str,
        method: Method,
        path: &str,
        with: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Value {
        let request = with(self.plain.request(method.clone(), self.url(path)));
        let response = request.send().await.unwrap();
        let path = path.split('?').next().unwrap();
        self.document.hold(id, (&method, path), response).await
    }
}

/// One with keys that are published, a resource, accounts and a provider.
async fn asked(rogue: &Rogue, room: &tempfile::TempDir) -> Asked {
    let pair = room.path().join("pair.pem");
    std::fs::write(&pair, output(portcullis().arg("key-pair"), "").stdout).unwrap();
    let before = format!(
        "tokens.keys = [{{ kid = \"a\", secret = \"{}\" }}, {{ kid = \"b\", private_key_file = {:?} }}]\n\
         rules = [{{ name = \"mcp\", path_prefix = \"/mcp\", issuers = [\"own\"], access = \"authenticated\", \
         resource = {{ url = \"https://gw.example.com/mcp\", authorization_servers = [\"https://idp.example.com\"] }} }}, \
         {{ name = \"agents\", path_prefix = \"/api/agents\", roles = [\"REGULAR\"] }}]\n",
        crate::jwt::SECRET,
        pair.to_str().unwrap(),
    );
    let sso = sso_toml(&rogue.issuer, "portcullis", "client_secret = \"s\"\n", "");
    let plain = reqwest::Client::builder();
    let plain = plain.redirect(reqwest::redirect::Policy::none()).build().unwrap();
    Asked { document: Document::read(), replica: replica(&before, &sso, "").await, plain }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_operation_answers_as_the_document_has_it() {
    let (rogue, room) = (Rogue::start().await, tempfile::tempdir().unwrap());
    let mut it = asked(&rogue, &room).await;
    let (get, post, delete) = (Method::GET, Method::POST, Method::DELETE);
    let good = body("ann", PASSWORD);

    // Signing in, in each way.
    for (id, path) in [("signIn", "/session"), ("signInV2", "/v2/login")] {
        it.ask(id, post.clone(), path, |it| it.json(&body("ann", "wrong"))).await;
        it.ask(id, post.clone(), path, |it| it.json(&json!({ "username": "ann" }))).await;
        it.ask(id, post.clone(), path, |it| it.body("x").header("content-type", "text/plain"))
            .await;
        it.ask(id, post.clone(), path, |it| it.json(&body("ann", &"x".repeat(100_000)))).await;
        it.ask(id, post.clone(), path, |it| it.json(&body("ina", PASSWORD))).await;
        it.ask(id, post.clone(), path, |it| it.json(&good)).await;
    }
    it.ask("login", post.clone(), "/v3/login", |it| it.json(&body("ann", "wrong"))).await;
    let elsewhere = |it: RequestBuilder| it.header("origin", "https://evil.example").json(&good);
    it.ask("login", post.clone(), "/v3/login", elsewhere).await;
    let of_page = |it: RequestBuilder| it.header("origin", CONTROL_PLANE);
    let code = it.ask("login", post.clone(), "/v3/login", |it| of_page(it).json(&good)).await;
    let exchange = json!({ "code": code["code"] });
    for _ in ["good", "used"] {
        it.ask("exchange", post.clone(), "/v3/login/exchange", |it| of_page(it).json(&exchange))
            .await;
    }
    it.ask("exchange", post.clone(), "/v3/login/exchange", |it| it.json(&json!({}))).await;

    // The session.
    let token = it.replica.token("ann").await;
    let other = it.replica.token("ann").await;
    let bearer = |it: RequestBuilder| it.bearer_auth(&token);
    it.ask("showSession", get.clone(), "/session", bearer).await;
    it.ask("showSession", get.clone(), "/session", |it| it).await;
    it.ask("renewSession", post.clone(), "/session/renew", bearer).await;
    it.ask("renewSession", post.clone(), "/session/renew", |it| {
        it.header("cookie", format!("token={token}"))
    })
    .await;
    let minted = minted("REGULAR", Some(&it.replica.config_file));
    it.ask("renewSession", post.clone(), "/session/renew", |it| it.bearer_auth(&minted)).await;
    it.ask("renewSession", post.clone(), "/session/renew", |it| it).await;
    let all = it.ask("listSessions", get.clone(), "/session/all", bearer).await;
    assert!(all["sessions"].as_array().unwrap().len() > 1);
    it.ask("listSessions", get.clone(), "/session/all", |it| it).await;
    let sid = crate::sessions::sid(&other);
    it.ask("endSession", delete.clone(), &format!("/session/{sid}"), |it| it).await;
    it.ask("endSession", delete.clone(), &format!("/session/{sid}"), bearer).await;
    it.ask("endSession", delete, "/session/none", bearer).await;
    it.ask("signOut", post.clone(), "/session/logout?all=maybe", bearer).await;
    it.ask("signOut", post.clone(), "/session/logout?all=true", bearer).await;
    it.ask("signOut", post.clone(), "/session/logout", bearer).await;
    it.ask("signOut", post.clone(), "/session/logout", |it| it).await;

    // Single sign-on.
    for (id, path) in [("ssoLogin", "/sso/login"), ("ssoLoginV1", "/sso/key/generate")] {
        it.ask(id, get.clone(), path, |it| it).await;
        it.ask(id, get.clone(), &format!("{path}?return_to=https://evil.example/"), |it| it).await;
    }
    it.ask("ssoCallback", get.clone(), "/sso/callback?code=a&state=b", |it| it).await;
    let mut browser = Browser::new();
    let (_, to) = browser.open(&it.replica.url("/sso/login?return_to=/x")).await;
    let to = Url::parse(&to.unwrap()).unwrap();
    let find = |name: &str| to.query_pairs().find(|(own, _)| own == name).unwrap().1.into_owned();
    let now = SystemClock.now().as_secs();
    let claims = json!({
        "iss": rogue.issuer, "aud": "portcullis", "sub": "eve", "nonce": find("nonce"),
        "iat": now, "exp": now + 60, "groups": ["staff"],
    });
    rogue.change(|behaviour| behaviour.claims = claims);
    let query = format!("code=a&state={}", find("state"));
    let (back, _) = browser.open(&it.replica.url(&format!("/sso/callback?{query}"))).await;
    it.document.hold("ssoCallback", (&get, "/sso/callback"), back).await;
    let form = "application/x-www-form-urlencoded";
    let path = "/sso/backchannel-logout";
    it.ask("backchannelLogout", post.clone(), path, |it| {
        it.header("content-type", form).body("logout_token=a")
    })
    .await;
    it.ask("backchannelLogout", post.clone(), path, |it| it.json(&json!({}))).await;
    let event = json!({ "http://schemas.openid.net/event/backchannel-logout": {} });
    let out = json!({
        "iss": rogue.issuer, "aud": "portcullis", "sub": "eve", "jti": "one", "events": event,
        "iat": now, "exp": now + 60,
    });
    let signed = rogue.signed(0, &out);
    it.ask("backchannelLogout", post, path, |it| {
        it.header("content-type", form).body(format!("logout_token={signed}"))
    })
    .await;

    // What can be known before, and pages.
    for (id, path) in [
        ("keys", "/.well-known/jwks.json"),
        ("discover", "/.well-known/portcullis"),
        ("discoverLitellm", "/.well-known/litellm-ui-config"),
        ("discoverLitellmBelow", "/litellm/.well-known/litellm-ui-config"),
        ("resourceRoot", "/.well-known/oauth-protected-resource"),
        ("resource", "/.well-known/oauth-protected-resource/mcp"),
        ("resource", "/.well-known/oauth-protected-resource/none"),
        ("uiHomeName", "/ui"),
        ("uiHome", "/ui/"),
        ("uiLoginName", "/ui/login"),
        ("uiLogin", "/ui/login/"),
        ("uiAsset", "/ui/assets/none"),
        ("live", "/livez"),
        ("ready", "/readyz"),
        ("metrics", "/metrics"),
    ] {
        it.ask(id, get.clone(), path, |it| it.header("host", "gw.example.com")).await;
    }
    let home = it.plain.get(it.url("/ui/")).send().await.unwrap().text().await.unwrap();
    let assets = home.split("assets/").skip(1).map(|rest| rest.split('"').next().unwrap());
    for asset in assets.collect::<BTreeSet<_>>() {
        it.ask("uiAsset", get.clone(), &format!("/ui/assets/{asset}"), |it| it).await;
    }
    it.ask("metrics", get.clone(), "/metrics", |it| {
        it.header("accept", "application/openmetrics-text")
    })
    .await;

    // What gateways ask.
    let token = it.replica.token("ann").await;
    for (id, path, headers) in [
        ("askNginx", "/auth/nginx", ["x-original-method", "x-original-uri", "x-original-host"]),
        ("askIngressNginx", "/auth/ingress-nginx", ["x-original-method", "x-original-url", ""]),
        (
            "askForward",
            "/auth/forward",
            ["x-forwarded-method", "x-forwarded-uri", "x-forwarded-host"],
        ),
        ("askEnvoy", "/api/auth/api/agents", ["", "", ""]),
    ] {
        for (asked, shows) in [("/api/agents", true), ("/api/agents", false), ("/none", true)] {
            let path = if id == "askEnvoy" { format!("/api/auth{asked}") } else { path.to_owned() };
            let asked = if id == "askIngressNginx" {
                format!("http://localhost{asked}")
            } else {
                asked.to_owned()
            };
            it.ask(id, get.clone(), &path, |mut it| {
                for (name, value) in headers.iter().zip(["GET", &asked, "localhost"]) {
                    if !name.is_empty() {
                        it = it.header(*name, value);
                    }
                }
                if shows { it.bearer_auth(&token) } else { it }
            })
            .await;
        }
    }

    // Each operation has been seen to do what it is for.
    for (id, (_, _, operation)) in it.document.operations() {
        let told = operation["responses"].as_object().unwrap().keys();
        let good = told.map(|status| status.parse().unwrap()).filter(|status| *status < 400);
        for status in good {
            let by_hand = id == "askForward" || id == "askEnvoy";
            let is_seen = it.document.seen.contains(&(id.clone(), status));
            assert!(is_seen || (by_hand && status == 302) || id == "resourceRoot", "{id} {status}");
        }
    }
    assert!(it.document.seen.len() > 60, "{}", it.document.seen.len());
}
