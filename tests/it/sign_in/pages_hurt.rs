//! The pages, in a real browser, when something goes wrong.

use std::{
    net::TcpListener,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::{
    browser::{Chromium, Plane, With},
    pages::alone,
    replica::PASSWORD,
    support::free_port,
};

#[tokio::test]
async fn what_goes_wrong_is_said_and_the_page_goes_on() {
    let limits = "login.limits = { failures = 2, window = \"60s\", lockout = \"300s\", failures_per_address = 1000 }";
    let mut plane = Plane::start(With { limits: Some(limits), ..With::default() }).await;
    let browser = Chromium::start().await;
    browser.open(&plane.login()).await;
    for (name, password, text) in [
        ("ann", "wrong", "The name or the password is wrong."),
        ("ina", PASSWORD, "This account may not sign in here."),
        ("dis", PASSWORD, "This account may not sign in here."),
        ("ann", "wrong", "The name or the password is wrong."),
        ("ann", PASSWORD, "Too many tries. Wait about 5 minutes, then try again."),
    ] {
        browser.sign_in(name, password).await;
        browser.sees(text).await;
        assert_eq!(browser.eval("document.getElementById('password').value").await, "");
        assert_eq!(browser.eval("document.querySelector('[role=alert]').innerText").await, text);
    }
    // At the other worker nobody has guessed.
    browser.choose("us").await;
    browser.sign_in("ann", PASSWORD).await;
    browser.lands_on(&plane.home()).await;
    // Without its store a worker signs nobody in.
    plane.redis.servers.clear();
    browser.open(&plane.login()).await;
    browser.sign_in("ann", PASSWORD).await;
    browser.sees("United States is not available at the moment. Try again soon.").await;
    browser
        .assert_clean(&["status of 401", "status of 403", "status of 429", "status of 503"])
        .await;
    browser.quit().await;
}

#[tokio::test]
async fn a_worker_that_is_down_or_never_answers_leaves_the_page_usable() {
    // One that takes every connection and says nothing, and one that is not.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let workers = [("silent", silent.local_addr().unwrap().port()), ("down", free_port())]
        .map(|(id, port)| {
            format!("[[workers]]\nworker_id = \"{id}\"\nname = \"The {id} one\"\nurl = \"http://{id}.localhost:{port}\"\n")
        })
        .concat();
    let plane = Plane::start(With { workers, ..With::default() }).await;
    let browser = Chromium::start().await;
    browser.open(&plane.login()).await;
    browser.form().await;
    browser.choose("down").await;
    browser.sees("The down one cannot be reached.").await;
    browser.sign_in("ann", PASSWORD).await;
    browser.sees("The down one cannot be reached.").await;

    browser.choose("silent").await;
    let started = Instant::now();
    browser.sign_in("ann", PASSWORD).await;
    browser.sees("The silent one did not answer within 10 seconds.").await;
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());

    browser.form().await;
    browser.choose("us").await;
    assert_eq!(browser.eval("document.querySelector('[role=alert]').innerText").await, "");
    browser.sign_in("ann", PASSWORD).await;
    browser.lands_on(&plane.home()).await;

    // Away once one is signed in: said, with a way on.
    browser.sees("REGULAR").await;
    plane.us.running.signal("KILL");
    browser.press("#sign-out").await;
    browser.sees("You are still signed in. United States cannot be reached.").await;
    browser.client.refresh().await.unwrap();
    browser.sees("United States cannot be reached.").await;
    browser.press("#retry a").await;
    browser.form().await;
    browser.assert_clean(&["ERR_CONNECTION_REFUSED"]).await;
    browser.quit().await;
}

#[tokio::test]
async fn a_code_that_nobody_asked_for_is_ignored_and_removed() {
    let plane = Plane::start(With::default()).await;
    let browser = Chromium::start().await;
    let code = plane.eu.code("ann").await;
    for query in [
        format!("?login=success&code={code}"),
        format!("?code={code}"),
        format!("?login=success&code={code}&return_to=//evil.example.com#x"),
    ] {
        browser.open(&format!("{}{query}", plane.login())).await;
        browser.form().await;
        assert_eq!(browser.eval("location.href").await, plane.login());
        assert_eq!(browser.eval("document.querySelector('[role=alert]').innerText").await, "");
        assert!(browser.history().await.iter().all(|url| !url.contains("code=")));
        browser.open(&format!("{}{query}", plane.home())).await;
        browser.lands_on(&plane.login()).await;
    }
    // It is as good as before: nobody has used it.
    assert_eq!(plane.eu.exchange(&code).await.0, 200);
    browser.quit().await;
}

#[tokio::test]
async fn a_discovery_that_fails_is_said_and_tried_again() {
    let plane = Plane::start(With::default()).await;
    let browser = plane.signed_in().await;
    browser.cdp("Network.enable", json!({})).await;
    let block =
        async |urls: Value| browser.cdp("Network.setBlockedURLs", json!({ "urls": urls })).await;
    for page in [plane.login(), plane.home()] {
        block(json!(["*/.well-known/*"])).await;
        browser.open(&page).await;
        browser.sees("The sign-in service cannot be reached.").await;
        assert_eq!(browser.eval("document.activeElement.innerText").await, "Try again");
        browser.press("#retry button").await;
        browser.sees("The sign-in service cannot be reached.").await;
        block(json!([])).await;
        browser.press("#retry button").await;
        browser
            .until("document.querySelector('#form:not([hidden]), #session:not([hidden])') !== null")
            .await;
        assert_eq!(browser.eval("document.querySelector('[role=alert]').innerText").await, "");
    }
    browser.quit().await;
}

#[tokio::test]
async fn a_name_with_html_in_it_is_text() {
    let html = "<img src=x onerror=document.title=1><script>document.title=2</script>";
    let workers = format!(
        "[[workers]]\nworker_id = \"x\"\nname = \"{html}\"\nurl = \"http://x.localhost:9\"\n"
    );
    let plane = Plane::start(With { workers, ..With::default() }).await;
    let browser = Chromium::start().await;
    browser.open(&plane.login()).await;
    browser.form().await;
    assert_eq!(browser.eval("document.getElementById('worker').options[2].text").await, html);
    browser.choose("x").await;
    browser.sees(&format!("{html} cannot be reached.")).await;
    assert_eq!(
        browser.eval("[document.title, document.images.length]").await,
        json!(["Sign in", 1])
    );
    browser.assert_clean(&["ERR_CONNECTION_REFUSED", "ERR_UNSAFE_PORT"]).await;
    browser.quit().await;
}

#[tokio::test]
async fn the_page_survives_a_wrong_clock_odd_answers_and_missing_parts() {
    let plane = Plane::start(With::default()).await;
    let browser = plane.signed_in().await;
    // A clock nine hours ahead ends no session.
    let script = "const real = Date.now; Date.now = () => real() + 9 * 3600e3;";
    let added =
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    browser.open(&plane.home()).await;
    browser.sees("7@example.com").await;
    browser.press("#sign-out:not([disabled])").await;
    browser.lands_on(&plane.login()).await;
    browser.cdp("Page.removeScriptToEvaluateOnNewDocument", added).await;
    browser.sign_in("ann", PASSWORD).await;
    browser.sees("7@example.com").await;

    // A worker that answers something else is said to.
    let script = "const real = fetch; window.fetch = (url, ...more) =>
        String(url).endsWith('/session') ? Promise.resolve(new Response('{}')) : real(url, ...more);";
    let added =
        browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    browser.open(&plane.home()).await;
    browser.sees("Europe gave an answer that is not understood.").await;
    browser.cdp("Page.removeScriptToEvaluateOnNewDocument", added).await;

    // Parts that do not come are told of, and no code stays in the address.
    browser.cdp("Network.enable", json!({})).await;
    browser.cdp("Network.setBlockedURLs", json!({ "urls": ["*/net.*"] })).await;
    browser.open(&plane.login()).await;
    browser.sees("This page did not load completely.").await;
    browser.cdp("Network.setBlockedURLs", json!({ "urls": ["*/address.*"] })).await;
    browser.open(&format!("{}?login=success&code=abc", plane.login())).await;
    browser.form().await;
    assert_eq!(browser.eval("location.href").await, plane.login());
    browser.cdp("Network.setBlockedURLs", json!({ "urls": [] })).await;

    // A browser that keeps nothing is told so, and left with no session.
    let script = "for (const name of ['sessionStorage', 'localStorage'])
        Object.defineProperty(window, name, { get() { throw new DOMException('no'); } });";
    browser.cdp("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script })).await;
    browser.cdp("Network.clearBrowserCookies", json!({})).await;
    browser.cdp("Emulation.setDocumentCookieDisabled", json!({ "disabled": true })).await;
    browser.open(&plane.login()).await;
    browser.sign_in("ann", PASSWORD).await;
    // The cookie is kept here, and suffices.
    browser.lands_on(&plane.home()).await;
    browser.sees("7@example.com").await;
    browser.quit().await;
}

#[tokio::test]
async fn a_reload_forgets_no_way_back_and_another_address_is_told() {
    let port = free_port();
    let site = format!("http://one.localhost:{port}");
    let _replica = alone(&site, port, "").await;
    let browser = Chromium::start().await;
    browser.open(&format!("{site}/ui/login/?return_to=/session%3Fx")).await;
    browser.form().await;
    browser.client.refresh().await.unwrap();
    browser.sign_in("ann", PASSWORD).await;
    browser.lands_on(&format!("{site}/session?x")).await;
    // Under a name that is not the service's own, it says so.
    browser.open(&format!("http://two.localhost:{port}/ui/login/")).await;
    browser.sign_in("ann", PASSWORD).await;
    browser.sees("does not know the address under which this page is open").await;
    browser.quit().await;
}
