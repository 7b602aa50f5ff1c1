//! The certified provider of npm, and somebody who signs in there.

use std::{collections::BTreeMap, process::Command};

use reqwest::{Client, Response, Url, header::HeaderMap, redirect::Policy};
use serde_json::Value;

use crate::{
    replica::{OPEN, Replica},
    support::{Running, root},
};

/// How browsers would reach the replicas; the tests go to each by itself.
pub(crate) const PUBLIC: &str = "http://sso.localhost:8080";

/// A running provider.
pub(crate) struct Provider {
    pub(crate) issuer: String,
    pub(crate) running: Running,
}

impl Provider {
    /// One that knows the replicas of [`PUBLIC`].
    pub(crate) fn start() -> Self {
        Self::of(PUBLIC)
    }

    /// One that knows the service of this address.
    pub(crate) fn of(public_url: &str) -> Self {
        Self::of_all(&[public_url], "https://cp.example.com")
    }

    /// One that knows these services, and the control plane of this address.
    pub(crate) fn of_all(public_urls: &[&str], control_plane: &str) -> Self {
        Self::telling(public_urls, control_plane, "")
    }

    /// The same, which tells this address whom it has signed out.
    pub(crate) fn telling(public_urls: &[&str], control_plane: &str, logout: &str) -> Self {
        let redirects: Vec<String> =
            public_urls.iter().map(|url| format!("{url}/sso/callback")).collect();
        let modules = root().join("target/npm/node_modules/oidc-provider");
        assert!(modules.exists(), "no oidc-provider: run tests/run, or tests/node/install");
        let running = Running::start(
            Command::new("node")
                .arg(root().join("tests/node/provider.mjs"))
                .env("REDIRECT_URIS", redirects.join(","))
                .env("BACKCHANNEL_LOGOUT_URI", logout)
                .env("POST_LOGOUT_REDIRECT_URIS", format!("{control_plane}/ui/login/")),
        );
        let line = running.line("listening on ");
        let issuer = line.trim_start_matches("listening on ").trim().to_owned();
        Self { issuer, running }
    }

    /// Has it do something: `/rotate` or `/retire`.
    pub(crate) async fn does(&self, what: &str) {
        let done = reqwest::get(format!("{}{what}", self.issuer)).await.unwrap();
        assert_eq!(done.status(), 200);
    }

    /// What its token endpoint answers to this form, without a client's name.
    pub(crate) async fn grants(&self, client: &str, form: &str) -> Value {
        let request = Client::new()
            .post(format!("{}/token", self.issuer))
            .basic_auth(client, Some("a-secret-of-the-provider-on-loopback"))
            .header("content-type", "application/x-www-form-urlencoded")
            .body(form.to_owned());
        let answer = request.send().await.unwrap();
        let (status, body) = crate::replica::answer(answer).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    /// An access token of the client `robot` for this resource.
    pub(crate) async fn robot(&self, resource: &str) -> String {
        let form = format!("grant_type=client_credentials&resource={resource}");
        self.grants("robot", &form).await["access_token"].as_str().unwrap().to_owned()
    }

    /// `[sso]` for the client of this name, with more keys of it.
    pub(crate) fn toml(&self, client: &str, more: &str) -> String {
        let secret = if client == "portcullis-public" { "" } else { SECRET };
        sso_toml(&self.issuer, client, secret, more)
    }
}

const SECRET: &str = "client_secret = \"a-secret-of-the-provider-on-loopback\"\n";

pub(crate) fn sso_toml(issuer: &str, client: &str, secret: &str, more: &str) -> String {
    format!(
        "[sso]\nissuer = \"{issuer}\"\nclient_id = \"{client}\"\n{secret}role_claim = \"groups\"\n\
         role_map = {{ staff = \"REGULAR\", admins = \"ADMIN\", both = \"RESTRICTED\" }}\n{more}\n"
    )
}

/// A replica with a control plane and single sign-on; `before` comes before
/// the first table.
pub(crate) async fn replica(before: &str, sso: &str, store: &str) -> Replica {
    let toml = format!("http.public_url = \"{PUBLIC}\"\n{OPEN}{before}\n{sso}{store}");
    Replica::start(&toml).ready().await
}

/// A browser: it keeps cookies, by the path they are for, and follows nothing
/// by itself.
pub(crate) struct Browser {
    client: Client,
    cookies: BTreeMap<(String, String, String), String>,
    /// Every address that it was sent to.
    pub(crate) seen: Vec<String>,
}

impl Browser {
    pub(crate) fn new() -> Self {
        let client = Client::builder().redirect(Policy::none()).build().unwrap();
        Self { client, cookies: BTreeMap::new(), seen: Vec::new() }
    }

    fn host(url: &Url) -> String {
        format!("{}:{}", url.host_str().unwrap(), url.port_or_known_default().unwrap())
    }

    /// The cookies of a host, whatever their path.
    pub(crate) fn cookie(&self, name: &str) -> Option<&str> {
        self.cookies.iter().find(|((_, _, own), _)| own == name).map(|(_, value)| value.as_str())
    }

    /// Takes the cookies over to another host, as if it were the same one.
    pub(crate) fn move_to(&mut self, replica: &Replica) {
        let host = replica.http.to_string();
        let moved: Vec<_> = self
            .cookies
            .iter()
            .map(|((_, path, name), value)| {
                ((host.clone(), path.clone(), name.clone()), value.clone())
            })
            .collect();
        self.cookies.extend(moved);
    }

    fn headers(&self, url: &Url) -> HeaderMap {
        let host = Self::host(url);
        let fits = |(own, path, _): &&(String, String, String)| {
            *own == host && url.path().starts_with(path.as_str())
        };
        let pairs: Vec<String> = self
            .cookies
            .iter()
            .filter(|(key, _)| fits(key))
            .map(|((_, _, name), value)| format!("{name}={value}"))
            .collect();
        let mut headers = HeaderMap::new();
        if !pairs.is_empty() {
            headers.insert("cookie", pairs.join("; ").parse().unwrap());
        }
        headers
    }

    fn keep(&mut self, url: &Url, response: &Response) {
        for line in response.headers().get_all("set-cookie") {
            let mut parts = line.to_str().unwrap().split(';').map(str::trim);
            let (name, value) = parts.next().unwrap().split_once('=').unwrap();
            let mut path = "/".to_owned();
            let mut ends = value.is_empty();
            for part in parts {
                match part.split_once('=') {
                    Some(("path" | "Path", own)) => own.clone_into(&mut path),
                    Some(("Max-Age", "0")) => ends = true,
                    _ => {}
                }
            }
            let key = (Self::host(url), path, name.to_owned());
            if ends {
                self.cookies.remove(&key);
            } else {
                self.cookies.insert(key, value.to_owned());
            }
        }
    }

    /// Opens an address; where it leads, if it leads anywhere.
    pub(crate) async fn open(&mut self, url: &str) -> (Response, Option<String>) {
        let url = Url::parse(url).unwrap();
        let request = self.client.get(url.clone()).headers(self.headers(&url));
        let request = request.header("sec-fetch-mode", "navigate");
        self.send(url, request).await
    }

    async fn send(
        &mut self,
        url: Url,
        request: reqwest::RequestBuilder,
    ) -> (Response, Option<String>) {
        let response = request.send().await.unwrap();
        self.keep(&url, &response);
        let to = response.headers().get("location").map(|to| to.to_str().unwrap().to_owned());
        let to = to.map(|to| url.join(&to).unwrap().to_string());
        self.seen.extend(to.clone());
        (response, to)
    }

    /// Signs in at the provider, from the address that leads there to the
    /// address that it leads back to.
    pub(crate) async fn at_provider(&mut self, url: &str, who: &str) -> String {
        let (response, to) = self.open(url).await;
        let Some(mut to) = to else { panic!("{}", response.text().await.unwrap()) };
        if to.contains("/interaction/") {
            let form = Url::parse(&to).unwrap();
            let body = format!("prompt=login&login={}&password=x", who.replace('+', "%2B"));
            let request = self
                .client
                .post(form.clone())
                .headers(self.headers(&form))
                .header("content-type", "application/x-www-form-urlencoded")
                .body(body);
            let (response, next) = self.send(form, request).await;
            let Some(next) = next else { panic!("{}", response.text().await.unwrap()) };
            to = next;
        }
        while !to.contains("/sso/callback") {
            let (response, next) = self.open(&to).await;
            let Some(next) = next else { panic!("{to}: {}", response.text().await.unwrap()) };
            to = next;
        }
        to
    }

    /// Signs out at the provider, as somebody who is asked there does.
    pub(crate) async fn sign_out_at(&mut self, issuer: &str) {
        let (page, _) = self.open(&format!("{issuer}/session/end?client_id=portcullis")).await;
        let page = page.text().await.unwrap();
        let (_, rest) =
            page.split_once("name=\"xsrf\" value=\"").unwrap_or_else(|| panic!("{page}"));
        let body = format!("xsrf={}&logout=yes", rest.split('"').next().unwrap());
        let url = Url::parse(&format!("{issuer}/session/end/confirm")).unwrap();
        let request = self.client.post(url.clone()).headers(self.headers(&url));
        let request =
            request.header("content-type", "application/x-www-form-urlencoded").body(body);
        let (response, _) = self.send(url, request).await;
        assert!(response.status().is_redirection(), "{}", response.text().await.unwrap());
    }

    /// Begins at one replica, signs in at the provider, and comes back to
    /// another one; the answer to that, and where it leads.
    pub(crate) async fn sign_in(
        &mut self,
        start: &Replica,
        end: &Replica,
        query: &str,
        who: &str,
    ) -> (Response, Option<String>) {
        let (response, to) = self.open(&start.url(&format!("/sso/login{query}"))).await;
        let Some(to) = to else { return (response, None) };
        let back = self.at_provider(&to, who).await;
        self.move_to(end);
        self.open(&back.replace(PUBLIC, &end.url(""))).await
    }
}
