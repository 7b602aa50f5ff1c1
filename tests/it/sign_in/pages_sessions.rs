//! The list of sessions on the page, in a real browser.

use serde_json::json;

use crate::{
    browser::{Chromium, Plane, With},
    pages::alone,
    replica::{PASSWORD, Replica, body},
    support::free_port,
};

const WINDOWS: &str =
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:128.0) Gecko/20100101 Firefox/128.0";
const PHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 \
                     (KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1";
const MARKUP: &str = "<img/src=x onerror=alert(1)>";

async fn sign_in(replica: &Replica, agent: &str) -> String {
    let request = replica.post("/session", &body("ann", PASSWORD)).header("user-agent", agent);
    let answer: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    answer["token"].as_str().unwrap().to_owned()
}

const ITEMS: &str = "[...document.querySelectorAll('#list li')].map((li) => li.innerText)";

async fn items(browser: &Chromium) -> Vec<String> {
    let items = browser.eval(ITEMS).await;
    items.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

/// Ends the session of this browser, and then all others.
async fn ends_what_is_pressed(browser: &Chromium, replica: &Replica, region: &str) {
    let [windows, phone, markup] = [
        sign_in(replica, WINDOWS).await,
        sign_in(replica, PHONE).await,
        sign_in(replica, MARKUP).await,
    ];
    browser.client.refresh().await.unwrap();
    browser.until("document.querySelectorAll('#list li').length === 4").await;
    let all = items(browser).await;
    assert!(all[0].starts_with("Chrome on Linux (this one)"), "{all:?}");
    assert!(
        all[0].contains("127.0.0.1, by password") && all[0].contains("last seen now"),
        "{all:?}"
    );
    for (item, name) in all[1..].iter().zip(["<img", "Safari on iOS", "Firefox on Windows"]) {
        // Those of one second are in no order.
        let found = all[1..].iter().filter(|item| item.starts_with(name)).count();
        assert_eq!(found, 1, "{name}: {all:?}");
        assert!(item.contains(region) && item.contains("Since "), "{item}");
    }
    assert_eq!(browser.eval("document.querySelector('#list img')").await, json!(null));
    assert_eq!(browser.eval("document.querySelector('#list li button') !== null").await, true);

    browser.press("#list button[aria-label^='End Safari on iOS']").await;
    browser.sees("That session has ended.").await;
    assert_eq!(items(browser).await.len(), 3);
    assert_eq!(replica.session(&phone).await, 401);
    for token in [&windows, &markup] {
        assert_eq!(replica.session(token).await, 200);
    }
    assert_eq!(browser.eval("document.activeElement.id").await, "sessions-heading");

    browser.press("#end-others").await;
    browser.sees("All other sessions have ended.").await;
    assert_eq!(items(browser).await.len(), 1);
    for token in [&windows, &markup] {
        assert_eq!(replica.session(token).await, 401);
    }
    assert_eq!(browser.eval("document.getElementById('end-others').hidden").await, true);
}

#[tokio::test]
async fn the_page_lists_the_sessions_and_ends_one_or_all_others() {
    let plane = Plane::start(With::default()).await;
    let browser = plane.signed_in().await;
    ends_what_is_pressed(&browser, &plane.eu, "Europe").await;
    browser.sees("7@example.com").await;

    // One that has ended meanwhile leads to the sign-in at the next press.
    sign_in(&plane.eu, PHONE).await;
    browser.client.refresh().await.unwrap();
    browser.until("document.querySelectorAll('#list li').length === 2").await;
    let token = browser.cookie("token").await.unwrap();
    assert_eq!(plane.eu.logout(&token).await.0, 200);
    browser.press("#end-others").await;
    browser.lands_on(&plane.login()).await;
    browser.assert_clean(&["status of 401"]).await;
    browser.quit().await;
}

#[tokio::test]
async fn a_page_of_the_service_itself_and_one_of_another_site_do_the_same() {
    let port = free_port();
    let site = format!("http://127.0.0.1:{port}");
    let replica = alone(&site, port, "").await;
    let browser = Chromium::start().await;
    browser.open(&format!("{site}/ui/login/")).await;
    browser.sign_in("ann", PASSWORD).await;
    browser.lands_on(&format!("{site}/ui/")).await;
    browser.sees("REGULAR").await;
    ends_what_is_pressed(&browser, &replica, "").await;
    browser.assert_clean(&[]).await;
    browser.quit().await;

    // Where the cookie does not reach, the token of the tab does.
    let hosts = Some(["127.0.0.1", "localhost", "localhost"]);
    let plane = Plane::start(With { hosts, ..With::default() }).await;
    let browser = plane.signed_in().await;
    ends_what_is_pressed(&browser, &plane.eu, "Europe").await;
    browser.quit().await;
}
