//! A real browser, and a control plane with its workers to use it on.

use std::{fmt, process::Command, time::Instant};

use fantoccini::{Client, ClientBuilder, Locator, wd::WebDriverCompatibleCommand};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};
use url::Url;

use crate::{
    oidc::Provider,
    redis::Redis,
    replica::{OPEN, PASSWORD, Replica},
    support::{PATIENCE, Running, eventually, free_port, portcullis},
};

/// A command of Chromium's own.
struct Chrome(&'static str, Value);

impl fmt::Debug for Chrome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl WebDriverCompatibleCommand for Chrome {
    fn endpoint(&self, base: &Url, session: Option<&str>) -> Result<Url, url::ParseError> {
        base.join(&format!("session/{}/{}", session.unwrap_or_default(), self.0))
    }

    fn method_and_body(&self, _: &Url) -> (http::Method, Option<String>) {
        (http::Method::POST, Some(self.1.to_string()))
    }
}

/// Chromium without a window.
pub(crate) struct Chromium {
    pub(crate) client: Client,
    _driver: Running,
}

/// A driver and its port. It takes a free port of IPv6, then the same one of
/// IPv4, and ends when that is taken.
fn driver() -> (Running, u16) {
    for _ in 0..10 {
        let mut driver = Running::start(Command::new("chromedriver").arg("--port=0"));
        let port = eventually("chromedriver, or its end", || {
            let ended = driver.child.try_wait().unwrap().is_some();
            let log = driver.log();
            let line = log.lines().find(|line| line.contains("started successfully on port"));
            let port =
                line.and_then(|line| line.rsplit(' ').next()?.trim_end_matches('.').parse().ok());
            (ended || port.is_some()).then_some(port)
        });
        if let Some(port) = port {
            return (driver, port);
        }
    }
    panic!("chromedriver does not start: run it by hand");
}

impl Chromium {
    pub(crate) async fn start() -> Self {
        let (driver, port) = driver();
        let capabilities = json!({
            "goog:chromeOptions": { "args": [
                "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu",
                "--window-size=1000,800", "--lang=en-GB",
            ] },
            "goog:loggingPrefs": { "browser": "ALL", "performance": "ALL" },
        });
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities.as_object().unwrap().clone())
            .connect(&format!("http://127.0.0.1:{port}"))
            .await
            .expect("no Chromium: run tests/run");
        Self { client, _driver: driver }
    }

    pub(crate) async fn open(&self, url: &str) {
        self.client.goto(url).await.unwrap();
    }

    /// What an expression is in the page.
    pub(crate) async fn eval(&self, expression: &str) -> Value {
        let script = format!("return {expression}");
        self.client.execute(&script, vec![]).await.unwrap_or(Value::Null)
    }

    /// Waits until an expression is true in the page.
    pub(crate) async fn until(&self, expression: &str) {
        let started = Instant::now();
        while self.eval(expression).await != json!(true) {
            if started.elapsed() > PATIENCE {
                let seen = self.eval("[location.href, document.body.innerText]").await;
                panic!("waited in vain for {expression}: {seen} {:?}", self.log().await);
            }
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// Waits for text in the page.
    pub(crate) async fn sees(&self, text: &str) {
        self.until(&format!("document.body.innerText.includes({})", json!(text))).await;
    }

    /// Waits until this is the page, and it has been loaded.
    pub(crate) async fn lands_on(&self, url: &str) {
        self.until(&format!(
            "location.href === {} && document.readyState === 'complete'",
            json!(url)
        ))
        .await;
    }

    /// Waits until the sign-in can be used.
    pub(crate) async fn form(&self) {
        self.until("document.querySelector('#form:not([hidden], [aria-busy])') !== null").await;
    }

    pub(crate) async fn fill(&self, id: &str, text: &str) {
        let field = self.client.find(Locator::Id(id)).await.unwrap();
        field.clear().await.unwrap();
        field.send_keys(text).await.unwrap();
    }

    pub(crate) async fn fill_css(&self, css: &str, text: &str) {
        self.client.find(Locator::Css(css)).await.unwrap().send_keys(text).await.unwrap();
    }

    pub(crate) async fn press(&self, css: &str) {
        self.client.find(Locator::Css(css)).await.unwrap().click().await.unwrap();
    }

    /// Chooses a worker by its id.
    pub(crate) async fn choose(&self, worker: &str) {
        self.press(&format!("#worker option[value='{worker}']")).await;
    }

    /// Types a name and a password, and submits them.
    pub(crate) async fn sign_in(&self, name: &str, password: &str) {
        self.form().await;
        self.fill("username", name).await;
        self.fill("password", password).await;
        self.press("#submit").await;
    }

    /// Asks Chromium by its own protocol.
    pub(crate) async fn cdp(&self, command: &str, parameters: Value) -> Value {
        let body = json!({ "cmd": command, "params": parameters });
        self.client.issue_cmd(Chrome("goog/cdp/execute", body)).await.unwrap()
    }

    /// What the console has said since it was last asked.
    pub(crate) async fn log(&self) -> Vec<String> {
        self.log_of("browser").await
    }

    /// Every `Referer` that was sent since it was last asked.
    pub(crate) async fn referers(&self) -> Vec<String> {
        let mut referers = Vec::new();
        for line in self.log_of("performance").await {
            let event: Value = serde_json::from_str(&line).unwrap();
            let parameters = &event["message"]["params"];
            for headers in [&parameters["request"]["headers"], &parameters["headers"]] {
                for (name, value) in headers.as_object().into_iter().flatten() {
                    if name.eq_ignore_ascii_case("referer") {
                        referers.push(value.as_str().unwrap().to_owned());
                    }
                }
            }
        }
        referers
    }

    async fn log_of(&self, kind: &str) -> Vec<String> {
        let lines = self.client.issue_cmd(Chrome("se/log", json!({ "type": kind }))).await;
        let message = |line: &Value| line["message"].as_str().unwrap().to_owned();
        lines.unwrap().as_array().unwrap().iter().map(message).collect()
    }

    /// The addresses that one can go back to.
    pub(crate) async fn history(&self) -> Vec<String> {
        let history = self.cdp("Page.getNavigationHistory", json!({})).await;
        let entries = history["entries"].as_array().unwrap();
        entries.iter().map(|entry| entry["url"].as_str().unwrap().to_owned()).collect()
    }

    /// The value of a cookie, of whatever host.
    pub(crate) async fn cookie(&self, name: &str) -> Option<String> {
        let all = self.cdp("Network.getAllCookies", json!({})).await;
        let found = all["cookies"].as_array().unwrap().iter().find(|own| own["name"] == name)?;
        Some(found["value"].as_str().unwrap().to_owned())
    }

    pub(crate) async fn scheme(&self, scheme: &str) {
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme });
        self.cdp("Emulation.setEmulatedMedia", json!({ "features": [feature] })).await;
    }

    /// That nothing was said of a policy, nor of anything else that failed
    /// but these.
    pub(crate) async fn assert_clean(&self, expected: &[&str]) {
        for line in self.log().await {
            assert!(expected.iter().any(|part| line.contains(part)), "{line}");
        }
    }

    pub(crate) async fn quit(self) {
        self.client.clone().close().await.unwrap();
    }
}

/// A control plane and two workers, over a store each.
pub(crate) struct Plane {
    pub(crate) control: Replica,
    pub(crate) eu: Replica,
    pub(crate) us: Replica,
    /// How browsers reach the control plane.
    pub(crate) site: String,
    pub(crate) provider: Option<Provider>,
    pub(crate) redis: Redis,
}

/// How it differs from the usual.
#[derive(Default)]
pub(crate) struct With {
    pub(crate) sso: bool,
    /// More workers: TOML tables of `[[workers]]`.
    pub(crate) workers: String,
    /// More of every worker's configuration, before its first table.
    pub(crate) limits: Option<&'static str>,
    /// The hosts of control plane and workers; of one site, unless it says else.
    pub(crate) hosts: Option<[&'static str; 3]>,
}

impl Plane {
    pub(crate) async fn start(with: With) -> Self {
        let redis = Redis::single();
        let ports = [free_port(), free_port(), free_port()];
        let hosts =
            with.hosts.unwrap_or(["cp.acme.localhost", "eu.acme.localhost", "us.acme.localhost"]);
        let [site, eu, us] =
            [0, 1, 2].map(|at: usize| format!("http://{}:{}", hosts[at], ports[at]));
        let provider = with.sso.then(|| Provider::of_all(&[&eu, &us], &site));
        let worker = |id: &str, name: &str, url: &str| {
            format!("[[workers]]\nworker_id = \"{id}\"\nname = \"{name}\"\nurl = \"{url}\"\n")
        };
        let workers = worker("eu", "Europe", &eu) + &worker("us", "United States", &us);
        let limits = with.limits.unwrap_or(OPEN);
        let replica = async |url: &str, port: u16, rest: &str| {
            let mut command = portcullis();
            command.env("PORTCULLIS__HTTP__LISTEN", format!("127.0.0.1:{port}"));
            let toml = format!(
                "http.public_url = \"{url}\"\nlogin.control_plane_url = \"{site}\"\n{limits}\n{rest}\n\
                 [lifecycle]\ndrain = \"0s\"\n"
            );
            Replica::of(command, &toml).ready().await
        };
        let of_worker = |prefix: &str| {
            let sso = provider.as_ref().map(|p| p.toml("portcullis", "")).unwrap_or_default();
            format!("{sso}{}prefix = \"{prefix}:\"\n", redis.toml)
        };
        let rest = format!("{}prefix = \"cp:\"\n{workers}{}", redis.toml, with.workers);
        let control = replica(&site, ports[0], &rest).await;
        let (eu, us) = (
            replica(&eu, ports[1], &of_worker("eu")).await,
            replica(&us, ports[2], &of_worker("us")).await,
        );
        Self { control, eu, us, site, provider, redis }
    }

    pub(crate) fn login(&self) -> String {
        format!("{}/ui/login/", self.site)
    }

    pub(crate) fn home(&self) -> String {
        format!("{}/ui/", self.site)
    }

    /// A browser in which ann is signed in at the first worker.
    pub(crate) async fn signed_in(&self) -> Chromium {
        let browser = Chromium::start().await;
        browser.open(&self.login()).await;
        browser.sign_in("ann", PASSWORD).await;
        browser.lands_on(&self.home()).await;
        browser.sees("REGULAR").await;
        browser
    }
}
