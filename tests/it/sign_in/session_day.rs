//! Days of somebody who signs in once: a real browser behind real gateways, by a
//! clock that is moved.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
    time::Duration,
};

use axum::{Router, response::Html};
use portcullis::{
    app::App,
    clock::{Clock, SystemClock, Timestamp},
    token::peek,
};
use serde_json::json;
use tokio::task::JoinSet;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    ask,
    browser::Chromium,
    replica::{OPEN, PASSWORD, everybody},
    replicas::until,
    stack::{Mode, start_gateway},
    support::{Running, free_port},
};

const HOUR: u64 = 3600;

/// The machine's clock, moved ahead.
#[derive(Debug, Default)]
struct Moved(AtomicI64);

impl Clock for Moved {
    fn now(&self) -> Timestamp {
        let ahead = self.0.load(Ordering::Relaxed);
        Timestamp::from_millis(SystemClock.now().as_millis() + ahead)
    }
}

impl Moved {
    fn on(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).unwrap(), Ordering::Relaxed);
    }
}

/// A gateway before a page, and a service in this process.
struct Setting {
    site: String,
    clock: Arc<Moved>,
    _gateway: Running,
    _stop: DropGuard,
    _room: tempfile::TempDir,
}

impl Setting {
    async fn start(mode: Mode) -> Self {
        let [port, check, http, internal, admin] = [(); 5].map(|()| free_port());
        let site = format!("http://127.0.0.1:{port}");
        let room = tempfile::tempdir().unwrap();
        let users = room.path().join("users.toml");
        std::fs::write(&users, everybody()).unwrap();
        let toml = format!(
            "check.listen = \"127.0.0.1:{check}\"\nhttp.listen = \"127.0.0.1:{http}\"\n\
             internal.listen = \"127.0.0.1:{internal}\"\nhttp.public_url = \"{site}\"\n\
             check.sign_in_url = \"{site}/ui/login/\"\nlogin.users_file = {:?}\n{OPEN}\
             [[rules]]\nname = \"app\"\npath_prefix = \"/app\"\naccess = \"authenticated\"\n\
             [lifecycle]\ndrain = \"0s\"\n",
            users.to_str().unwrap(),
        );
        let clock = Arc::<Moved>::default();
        let app = App::bind(ask::config(&toml), Arc::<Moved>::clone(&clock)).await.unwrap();
        let (stop, now) = (CancellationToken::new(), CancellationToken::new());
        tokio::spawn(app.run(stop, now.clone()));

        let upstream = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let upstream_port = upstream.local_addr().unwrap().port();
        let page = async || Html("<!doctype html><title>The app</title><h1>The app</h1>");
        let router = Router::new().fallback(page);
        tokio::spawn(async move { axum::serve(upstream, router).await.unwrap() });

        let ports = [
            (8000, port),
            (9191, check),
            (9192, internal),
            (8080, http),
            (8081, upstream_port),
            (9901, admin),
        ];
        let gateway = {
            let room = room.path().to_owned();
            tokio::task::spawn_blocking(move || start_gateway(mode, ports, &room)).await.unwrap()
        };
        // It is up before it has seen that the others are.
        let client = reqwest::Client::new();
        until("the gateway", async || {
            let answer = client.get(format!("{site}/app")).send().await;
            answer.is_ok_and(|answer| answer.status() == 401)
        })
        .await;
        Self { site, clock, _gateway: gateway, _stop: now.drop_guard(), _room: room }
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.site)
    }
}

fn sid(token: &str) -> String {
    peek(token).unwrap().1["sid"].as_str().unwrap().to_owned()
}

async fn days(mode: Mode) {
    let setting = Setting::start(mode).await;
    let (site, clock) = (&setting.site, &setting.clock);
    let (app, login) = (setting.url("/app"), setting.url("/ui/login/"));
    let browser = Chromium::start().await;
    let cookie = async || browser.cookie("token").await.unwrap();
    browser.open(&app).await;
    browser.lands_on(&login).await;
    browser.sign_in("ann", PASSWORD).await;
    browser.lands_on(&app).await;
    let session = sid(&cookie().await);

    // Twenty hours, of which no token lives more than eight, by one sign-in.
    let mut tokens = HashSet::from([cookie().await]);
    for _ in 0..20 {
        clock.on(Duration::from_secs(HOUR));
        browser.open(&app).await;
        browser.lands_on(&app).await;
        tokens.insert(cookie().await);
    }
    assert_eq!(tokens.len(), 21, "{mode:?}: one an hour");

    // Twenty tabs, restored at once.
    clock.on(Duration::from_secs(HOUR));
    for n in 0..20 {
        let tab = json!({ "url": format!("{app}?tab={n}") });
        browser.cdp("Target.createTarget", tab).await;
    }
    let tabs = browser.client.windows().await.unwrap();
    assert_eq!(tabs.len(), 21);
    for tab in &tabs {
        browser.client.switch_to_window(tab.clone()).await.unwrap();
        browser.until("document.title === 'The app' && location.pathname === '/app'").await;
        if *tab != tabs[0] {
            browser.client.close_window().await.unwrap();
        }
    }
    browser.client.switch_to_window(tabs[0].clone()).await.unwrap();
    assert_eq!(sid(&cookie().await), session, "{mode:?}");

    // A hundred requests as one, when the tenth is over: none is refused, and one
    // token is signed.
    clock.on(Duration::from_secs(HOUR));
    let (client, old) = (reqwest::Client::new(), cookie().await);
    let mut asked = JoinSet::new();
    for _ in 0..100 {
        let request = client.get(&app).header("cookie", format!("token={old}"));
        asked.spawn(async move {
            let answer = request.send().await.unwrap();
            let cookie = answer.headers().get("set-cookie");
            (answer.status().as_u16(), cookie.map(|cookie| cookie.to_str().unwrap().to_owned()))
        });
    }
    let answers = asked.join_all().await;
    assert!(answers.iter().all(|(status, _)| *status == 200), "{mode:?}: {answers:?}");
    let signed: HashSet<_> = answers.iter().map(|(_, cookie)| cookie.clone().unwrap()).collect();
    assert_eq!(signed.len(), 1, "{mode:?}");
    let fetches = format!(
        "return Promise.all(Array.from({{ length: 100 }}, () => fetch('{app}')))\
                           .then((all) => all.every((answer) => answer.status === 200))"
    );
    assert_eq!(browser.client.execute(&fetches, vec![]).await.unwrap(), json!(true));

    // Out in one tab: out in every other within a second.
    let second = browser.client.new_window(true).await.unwrap().handle;
    browser.client.switch_to_window(second).await.unwrap();
    browser.open(&setting.url("/ui/")).await;
    browser.sees("REGULAR").await;
    let before = cookie().await;
    browser.press("#sign-out").await;
    browser.lands_on(&login).await;
    let stolen = client.get(&app).header("cookie", format!("token={before}"));
    let took = until("the sign-out", async || {
        stolen.try_clone().unwrap().send().await.unwrap().status() == 401
    });
    assert!(took.await < Duration::from_secs(1), "{mode:?}");
    browser.client.close_window().await.unwrap();
    browser.client.switch_to_window(tabs[0].clone()).await.unwrap();
    let script = "return fetch('/app').then((answer) => answer.status)";
    assert_eq!(browser.client.execute(script, vec![]).await.unwrap(), json!(401));

    // A week by one sign-in; then the page of the sign-in, which leads back.
    browser.open(&app).await;
    browser.sign_in("ann", PASSWORD).await;
    browser.lands_on(&app).await;
    for _ in 0..27 {
        clock.on(Duration::from_secs(6 * HOUR));
        browser.open(&app).await;
        browser.lands_on(&app).await;
    }
    clock.on(Duration::from_secs(6 * HOUR + 31));
    browser.open(&setting.url("/app?page=2")).await;
    browser.lands_on(&login).await;
    browser.sign_in("ann", PASSWORD).await;
    browser.lands_on(&format!("{site}/app?page=2")).await;
    browser.quit().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sign_in_lasts_through_envoy() {
    Box::pin(days(Mode::Strict)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sign_in_lasts_through_nginx() {
    Box::pin(days(Mode::Nginx)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_sign_in_lasts_through_caddy() {
    Box::pin(days(Mode::Caddy)).await;
}
