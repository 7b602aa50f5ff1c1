//! The two pages for people, and what they are made of.
//!
//! The files are in the binary. Those that pages load carry a hash of their
//! content in their names, so that browsers may keep them for ever; the pages
//! themselves are never kept.

use std::sync::{Arc, OnceLock};

use axum::{
    extract::{Path, RawQuery, State},
    response::{IntoResponse, Redirect, Response},
};
use http::{HeaderValue, Uri, header};
use url::{Position, Url, form_urlencoded};

use super::{error::ApiError, page::escape, state::Site};
use crate::{hex, sso::ReturnTo};

const LOGIN: &str = include_str!("ui/login.html");
const HOME: &str = include_str!("ui/home.html");

/// What the pages load: a file before those that name it.
const FILES: [(&str, &str); 12] = [
    ("icon.svg", include_str!("ui/icon.svg")),
    ("style.css", include_str!("ui/style.css")),
    ("address.js", include_str!("ui/address.js")),
    ("kept.js", include_str!("ui/kept.js")),
    ("net.js", include_str!("ui/net.js")),
    ("page.js", include_str!("ui/page.js")),
    ("workers.js", include_str!("ui/workers.js")),
    ("session.js", include_str!("ui/session.js")),
    ("agent.js", include_str!("ui/agent.js")),
    ("sessions.js", include_str!("ui/sessions.js")),
    ("login.js", include_str!("ui/login.js")),
    ("home.js", include_str!("ui/home.js")),
];

/// How many characters of the hash are in a name.
const HASH_CHARACTERS: usize = 16;

/// The pages and their files, with names that hold the hash of their content.
struct Ui {
    files: Vec<(String, String)>,
    login: String,
    home: String,
}

fn ui() -> &'static Ui {
    static UI: OnceLock<Ui> = OnceLock::new();
    UI.get_or_init(|| {
        let mut named: Vec<(&str, String, String)> = Vec::with_capacity(FILES.len());
        for (name, text) in FILES {
            let text = with_names(text, &named);
            let hash = hex::encode(
                aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref(),
            );
            let hash: String = hash.chars().take(HASH_CHARACTERS).collect();
            let (stem, kind) = name.rsplit_once('.').unwrap_or((name, ""));
            named.push((name, format!("{stem}.{hash}.{kind}"), text));
        }
        let (login, home) = (with_names(LOGIN, &named), with_names(HOME, &named));
        Ui { files: named.into_iter().map(|(_, name, text)| (name, text)).collect(), login, home }
    })
}

/// A text that names files by their own names, as `./net.js` or
/// `assets/style.css`.
fn with_names(text: &str, named: &[(&str, String, String)]) -> String {
    named.iter().fold(text.to_owned(), |text, (name, hashed, _)| {
        text.replace(&format!("\"./{name}\""), &format!("\"./{hashed}\""))
            .replace(&format!("assets/{name}\""), &format!("assets/{hashed}\""))
    })
}

/// `GET /ui/assets/…`.
pub(super) async fn asset(Path(name): Path<String>) -> Response {
    let Some((_, text)) = ui().files.iter().find(|(own, _)| *own == name) else {
        return ApiError::not_found().into_response();
    };
    let kind = match name.rsplit_once('.').map(|(_, kind)| kind) {
        Some("js") => "text/javascript; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        _ => "image/svg+xml",
    };
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (headers, text.as_str()).into_response()
}

/// `GET /ui/`: who is signed in.
pub(super) async fn home(State(site): State<Arc<Site>>) -> Response {
    page(&site, ui().home.clone())
}

/// `GET /ui/login/`: the sign-in. A `return_to` is in the page only when it
/// may be followed, so that the page need not judge it.
pub(super) async fn login(State(site): State<Arc<Site>>, RawQuery(query): RawQuery) -> Response {
    let query = query.unwrap_or_default();
    let mut asked =
        form_urlencoded::parse(query.as_bytes()).filter(|(name, _)| name == "return_to");
    let only = asked.next().filter(|_| asked.next().is_none());
    let allowed = only.and_then(|(_, text)| site.returns.read(&text));
    let return_to = match &allowed {
        Some(ReturnTo::WithCookie(url)) => site.address_of(url),
        // The control plane's own page of sign-in leads nowhere.
        Some(ReturnTo::ControlPlane(_)) | None => "",
    };
    page(&site, ui().login.replace("{return_to}", &escape(return_to)))
}

/// The same page by its name without a slash, from which its files would not
/// be found.
pub(super) async fn with_slash(uri: Uri) -> Redirect {
    let path = uri.path();
    let name = path.rsplit('/').next().unwrap_or_default();
    let query = uri.query().map(|query| format!("?{query}")).unwrap_or_default();
    Redirect::permanent(&format!("{name}/{query}"))
}

fn page(site: &Site, html: String) -> Response {
    let workers = site.settings.workers.iter().filter_map(|worker| Url::parse(&worker.url).ok());
    let mut connect = String::from("'self'");
    for url in workers {
        connect.push(' ');
        connect.push_str(&url.origin().ascii_serialization());
    }
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
         connect-src {connect}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
         require-trusted-types-for 'script'"
    );
    let mut response = html.into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    match HeaderValue::from_str(&policy) {
        Ok(policy) => drop(headers.insert(header::CONTENT_SECURITY_POLICY, policy)),
        // A page without its policy is none.
        Err(_) => return ApiError::internal().into_response(),
    }
    response
}

impl Site {
    /// An address as this host's pages write it: a path where it is theirs.
    pub(super) fn address_of<'a>(&self, url: &'a Url) -> &'a str {
        let path = &url[Position::BeforePath..];
        // Two slashes would begin another host.
        let is_own = url.origin() == self.settings.public_url.origin() && !path.starts_with("//");
        if is_own { path } else { url.as_str() }
    }
}
