//! The pages, in a real browser.

use aws_lc_rs::digest::{SHA256, digest};
use serde_json::{Value, json};

use crate::{
    browser::{Chromium, Plane, With},
    replica::{PASSWORD, Replica, body},
    support::{free_port, portcullis, read, root},
};

/// Another browser.
const OTHER: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 \
                     (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";

/// All that the page keeps, and that is no token.
const KEPT: &str = "JSON.stringify([{...localStorage}, {...sessionStorage}])";

#[tokio::test]
async fn a_password_signs_in_at_each_worker() {
    let plane = Plane::start(With::default()).await;
    let browser = Chromium::start().await;
    for (worker, name, replica) in [("eu", "Europe", &plane.eu), ("us", "United States", &plane.us)]
    {
        browser.open(&plane.login()).await;
        browser.form().await;
        assert_eq!(browser.eval("document.activeElement.id").await, "username");
        browser.choose(worker).await;
        browser.sign_in("ann", PASSWORD).await;
        browser.lands_on(&plane.home()).await;
        browser.sees("ann").await;
        browser.sees("7@example.com").await;
        assert_eq!(
            browser.eval("document.getElementById('worker').selectedOptions[0].text").await,
            name
        );
        // The token is in the cookie of the worker, and nowhere in the page.
        let kept = json!({ "portcullis.worker": format!("\"{worker}\"") });
        assert_eq!(browser.eval(KEPT).await, json!(json!([kept, kept]).to_string()));
        let token = browser.cookie("token").await.unwrap();
        assert_eq!(replica.session(&token).await, 200);

        // A reload changes nothing.
        browser.client.refresh().await.unwrap();
        browser.sees("7@example.com").await;

        // Out, and the token is dead there.
        browser.press("#sign-out").await;
        browser.lands_on(&plane.login()).await;
        assert_eq!(replica.session(&token).await, 401);
        assert_eq!(browser.cookie("token").await, None);
        browser.open(&plane.home()).await;
        browser.lands_on(&plane.login()).await;
    }
    browser.assert_clean(&["status of 401"]).await;
    browser.quit().await;
}

#[tokio::test]
async fn single_sign_on_leads_back_with_nothing_in_the_address() {
    let plane = Plane::start(With { sso: true, ..With::default() }).await;
    let provider = plane.provider.as_ref().unwrap();
    let browser = Chromium::start().await;
    browser.open(&plane.login()).await;
    browser.form().await;
    browser.choose("us").await;
    browser.until("document.querySelector('#sso:not([hidden])') !== null").await;
    browser.press("#sso button").await;
    browser.until(&format!("location.origin === {:?}", provider.issuer)).await;
    browser.fill_css("input[name=login]", "eve").await;
    browser.fill_css("input[name=password]", "x").await;
    browser.press("button[type=submit]").await;
    browser.lands_on(&plane.home()).await;
    browser.sees("eve@example.com").await;
    assert_eq!(browser.eval("document.getElementById('worker').value").await, "us");
    for url in browser.history().await {
        assert!(!url.contains("code=") && !url.contains("login=success"), "{url}");
    }
    // No address with a secret in it was told to anybody, on the way or by a
    // link of the page of an error.
    let us = format!("http://us.acme.localhost:{}", plane.us.http.port());
    browser.open(&format!("{us}/sso/callback?state=x&code=secret")).await;
    browser.press("a").await;
    // The provider knows who it is, and leads straight back.
    browser.until("location.pathname === '/ui/'").await;
    browser.open(&plane.home()).await;
    browser.sees("eve@example.com").await;
    let referers = browser.referers().await;
    assert!(!referers.is_empty(), "the provider's own pages tell theirs");
    for referer in referers {
        assert!(!referer.contains("code=") && !referer.contains("state="), "{referer}");
    }
    let token = browser.cookie("token").await.unwrap();
    assert_eq!(plane.us.session(&token).await, 200);
    // Nothing of it has reached the control plane or its log but the page.
    let kept = r#"[{"portcullis.worker":"\"us\""},{"portcullis.worker":"\"us\""}]"#;
    assert_eq!(browser.eval(KEPT).await, kept);

    // Out, also at the provider.
    browser.press("#sign-out").await;
    browser.until(&format!("location.origin === {:?}", provider.issuer)).await;
    assert!(browser.eval("location.pathname").await == "/session/end");
    assert_eq!(plane.us.session(&token).await, 401);
    browser.quit().await;
}

#[tokio::test]
async fn switching_signs_out_of_the_one_and_leads_to_the_other() {
    let plane = Plane::start(With::default()).await;
    let browser = plane.signed_in().await;
    let token = browser.cookie("token").await.unwrap();
    // Looking through the list, as by the arrow keys, ends nothing.
    browser.choose("us").await;
    browser.press("#switch").await;
    browser.lands_on(&plane.login()).await;
    browser.form().await;
    assert_eq!(plane.eu.session(&token).await, 401);
    assert_eq!(browser.eval("document.getElementById('worker').value").await, "us");
    browser.sign_in("Zoë", PASSWORD).await;
    browser.lands_on(&plane.home()).await;
    browser.sees("ADMIN").await;
    browser.assert_clean(&["status of 401"]).await;
    browser.quit().await;
}

#[tokio::test]
async fn two_tabs_know_of_each_other_by_the_session_alone() {
    let plane = Plane::start(With::default()).await;
    let browser = plane.signed_in().await;
    let first = browser.client.window().await.unwrap();
    let second = browser.client.new_window(true).await.unwrap().handle;
    browser.client.switch_to_window(second).await.unwrap();
    browser.open(&plane.home()).await;
    browser.sees("7@example.com").await;
    browser.press("#sign-out").await;
    browser.lands_on(&plane.login()).await;
    // The other one finds out when it next asks, and its sign-out is none.
    browser.client.switch_to_window(first).await.unwrap();
    browser.sees("7@example.com").await;
    browser.press("#sign-out").await;
    browser.lands_on(&plane.login()).await;
    browser.quit().await;
}

#[tokio::test]
async fn across_sites_the_token_stays_in_the_tab() {
    // Names right below .localhost are sites of their own, as those of .com are.
    for hosts in
        [["127.0.0.1", "localhost", "localhost"], ["cp.localhost", "eu.localhost", "us.localhost"]]
    {
        stays_in_the_tab(&Plane::start(With { hosts: Some(hosts), ..With::default() }).await).await;
    }
}

async fn stays_in_the_tab(plane: &Plane) {
    let browser = Chromium::start().await;
    browser.open(&plane.login()).await;
    browser.sign_in("ann", PASSWORD).await;
    browser.lands_on(&plane.home()).await;
    browser.sees("7@example.com").await;
    let token = browser.eval("JSON.parse(sessionStorage['portcullis.token']).token").await;
    let token = token.as_str().unwrap().to_owned();
    assert!(!browser.eval("JSON.stringify(localStorage)").await.to_string().contains(&token));
    browser.client.refresh().await.unwrap();
    browser.sees("7@example.com").await;
    // Another tab has it not.
    let first = browser.client.window().await.unwrap();
    let second = browser.client.new_window(true).await.unwrap().handle;
    browser.client.switch_to_window(second).await.unwrap();
    browser.open(&plane.home()).await;
    browser.lands_on(&plane.login()).await;
    browser.client.switch_to_window(first).await.unwrap();
    browser.press("#sign-out").await;
    browser.lands_on(&plane.login()).await;
    assert_eq!(browser.eval("sessionStorage['portcullis.token']").await, Value::Null);
    assert_eq!(plane.eu.session(&token).await, 401);
    browser.quit().await;
}

/// A service that is no control plane, at this address.
pub(crate) async fn alone(public_url: &str, port: u16, more: &str) -> Replica {
    let mut command = portcullis();
    command.env("PORTCULLIS__HTTP__LISTEN", format!("127.0.0.1:{port}"));
    Replica::of(command, &format!("http.public_url = \"{public_url}\"\n{more}")).ready().await
}

#[tokio::test]
async fn where_page_and_service_are_one_a_sign_in_leads_where_it_may() {
    let port = free_port();
    let site = format!("http://one.localhost:{port}");
    let replica =
        alone(&site, port, "login.return_to_origins = [\"http://app.localhost:9\"]").await;
    let browser = Chromium::start().await;
    let html = "%22%3E%3Cscript%3E";
    for (query, lands) in [
        ("", "/ui/"),
        ("?return_to=/session%3Fx%3D1", "/session?x=1"),
        ("?return_to=//evil.localhost", "/ui/"),
        ("?return_to=https://evil.localhost/", "/ui/"),
        ("?return_to=javascript:alert(1)", "/ui/"),
        (&format!("?return_to=/session%3Fx%3D{html}"), "/session?x=%22%3E%3Cscript%3E"),
        ("?return_to=/session&return_to=/session", "/ui/"),
    ] {
        browser.open(&format!("{site}/ui/login/{query}")).await;
        browser.form().await;
        assert_eq!(browser.eval("document.getElementById('choice').hidden").await, true);
        browser.sign_in("ann", PASSWORD).await;
        browser.lands_on(&format!("{site}{lands}")).await;
    }
    browser.open(&format!("{site}/ui/login/?return_to=http://app.localhost:9/x")).await;
    let meta = "document.querySelector('meta[name=return-to]').content";
    assert_eq!(browser.eval(meta).await, "http://app.localhost:9/x");
    // By its name without a slash it is the same page.
    browser.open(&format!("{site}/ui/login?return_to=/session")).await;
    browser.form().await;
    assert_eq!(browser.eval(meta).await, "/session");
    browser.open(&format!("{site}/ui")).await;
    browser.lands_on(&format!("{site}/ui/")).await;
    drop(replica);
    browser.quit().await;
}

#[tokio::test]
async fn under_another_path_both_pages_work() {
    let port = free_port();
    let site = format!("http://one.localhost:{port}/auth");
    let replica = alone(&site, port, "").await;
    let browser = Chromium::start().await;
    // With a gateway that leaves the path, and with one that takes it away.
    for base in [site.clone(), format!("http://one.localhost:{port}")] {
        browser.open(&format!("{base}/ui/")).await;
        browser.lands_on(&format!("{base}/ui/login/")).await;
        browser.sign_in("ann", PASSWORD).await;
        browser.lands_on(&format!("{base}/ui/")).await;
        browser.sees("7@example.com").await;
        browser.press("#sign-out").await;
        browser.lands_on(&format!("{base}/ui/login/")).await;
    }
    let status = async |path: &str| {
        replica.client.get(replica.url(path)).send().await.unwrap().status().as_u16()
    };
    assert_eq!(status("/authx/ui/").await, 404);
    assert_eq!(status("/auth").await, 404);
    assert_eq!(status("/auth/auth/ui/").await, 404);
    browser.assert_clean(&["status of 401"]).await;
    browser.quit().await;
}

#[tokio::test]
async fn pages_are_fresh_and_their_files_are_kept_for_ever() {
    let plane = Plane::start(With::default()).await;
    let get = async |path: &str| {
        let response = plane.control.client.get(plane.control.url(path)).send().await.unwrap();
        (response.status().as_u16(), response.headers().clone(), response.text().await.unwrap())
    };
    for path in ["/ui/", "/ui/login/"] {
        let (status, headers, html) = get(path).await;
        assert_eq!((status, headers["cache-control"].to_str().unwrap()), (200, "no-store"));
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(
            policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe"),
            "{policy}"
        );
        // The workers alone may be asked.
        let asked = format!(
            "connect-src 'self' http://eu.acme.localhost:{} http://us.acme.localhost:{};",
            plane.eu.http.port(),
            plane.us.http.port()
        );
        assert!(policy.contains(&asked), "{policy}");
        assert!(
            !html.contains("<script>") && !html.contains("style=") && !html.contains("onclick")
        );
        let files: Vec<&str> = html.split('"').filter(|part| part.contains("assets/")).collect();
        assert_eq!(files.len(), 5, "{files:?}");
        for file in files {
            let name = file.rsplit('/').next().unwrap();
            let (status, headers, text) = get(&format!("/ui/assets/{name}")).await;
            assert_eq!(status, 200, "{name}");
            assert_eq!(headers["cache-control"], "public, max-age=31536000, immutable");
            assert_eq!(headers["x-content-type-options"], "nosniff");
            // The name tells the content.
            let hash: String = digest(&SHA256, text.as_bytes())
                .as_ref()
                .iter()
                .map(|byte| format!("{byte:02x}"))
                .collect();
            assert!(name.contains(&format!(".{}.", &hash[..16])), "{name}");
        }
    }
    assert_eq!(get("/ui/assets/style.css").await.0, 404);
    assert_eq!(get("/ui/assets/../login.html").await.0, 404);
}

#[tokio::test]
async fn both_pages_are_for_everybody() {
    let plane = Plane::start(With { sso: true, ..With::default() }).await;
    let browser = plane.signed_in().await;
    let axe = read("target/npm/node_modules/axe-core/axe.min.js");
    let room = root().join("target/screens");
    // Somebody else's browser, to have a list.
    let other = plane.eu.post("/session", &body("ann", PASSWORD)).header("user-agent", OTHER);
    assert_eq!(other.send().await.unwrap().status(), 200);
    std::fs::create_dir_all(&room).unwrap();
    for (name, page, ready) in [
        ("session", plane.home(), "#sessions:not([hidden]) button"),
        ("sign-in", plane.login(), "#sso:not([hidden])"),
    ] {
        for scheme in ["light", "dark"] {
            browser.scheme(scheme).await;
            browser.client.set_window_size(800, 860).await.unwrap();
            browser.open(&page).await;
            browser.until(&format!("document.querySelector('{ready}') !== null")).await;
            std::fs::write(
                room.join(format!("{name}-{scheme}.png")),
                browser.client.screenshot().await.unwrap(),
            )
            .unwrap();
            if name == "sign-in" {
                browser.sign_in("ann", "wrong").await;
                browser.sees("wrong.").await;
                browser.form().await;
            }
            let script = format!(
                "{axe};const done = arguments[0]; axe.run().then((found) => done(found.violations), done)"
            );
            let violations = browser.client.execute_async(&script, vec![]).await.unwrap();
            assert_eq!(violations, json!([]), "{name} {scheme}");
        }
        browser.scheme("light").await;
        let phone = json!({ "width": 390, "height": 760, "deviceScaleFactor": 1, "mobile": true });
        browser.cdp("Emulation.setDeviceMetricsOverride", phone).await;
        browser.open(&page).await;
        browser.until(&format!("document.querySelector('{ready}') !== null")).await;
        assert_eq!(browser.eval("document.documentElement.scrollWidth <= 390").await, true);
        std::fs::write(
            room.join(format!("{name}-phone.png")),
            browser.client.screenshot().await.unwrap(),
        )
        .unwrap();
        browser.cdp("Emulation.clearDeviceMetricsOverride", json!({})).await;
    }
    // By the keyboard alone: name, password, Enter.
    browser.open(&plane.login()).await;
    browser.form().await;
    let focused = browser.client.active_element().await.unwrap();
    focused.send_keys("ann\u{e004}").await.unwrap();
    let focused = browser.client.active_element().await.unwrap();
    focused.send_keys(&format!("{PASSWORD}\u{e007}")).await.unwrap();
    browser.lands_on(&plane.home()).await;
    browser.assert_clean(&["status of 401"]).await;
    browser.quit().await;
}

#[tokio::test]
async fn looking_at_another_worker_ends_no_session_and_signing_in_there_does() {
    for hosts in [None, Some(["127.0.0.1", "localhost", "localhost"])] {
        let plane = Plane::start(With { hosts, ..With::default() }).await;
        let browser = plane.signed_in().await;
        let token = match browser.cookie("token").await {
            Some(token) => token,
            None => browser
                .eval("JSON.parse(sessionStorage['portcullis.token']).token")
                .await
                .as_str()
                .unwrap()
                .to_owned(),
        };
        browser.open(&plane.login()).await;
        browser.form().await;
        browser.choose("us").await;
        browser.open(&plane.home()).await;
        browser.sees("7@example.com").await;
        assert_eq!(plane.eu.session(&token).await, 200);
        browser.open(&plane.login()).await;
        browser.form().await;
        browser.choose("us").await;
        browser.sign_in("Zoë", PASSWORD).await;
        browser.lands_on(&plane.home()).await;
        browser.sees("United States").await;
        assert_eq!(plane.eu.session(&token).await, 401);
        browser.quit().await;
    }
}
