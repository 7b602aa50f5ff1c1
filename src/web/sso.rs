//! Single sign-on: to the provider, and back from it.

use std::{net::IpAddr, sync::Arc};

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header, request::Parts};
use secrecy::{ExposeSecret as _, SecretString};
use url::{Url, form_urlencoded};

use super::{
    address::Peer,
    error::ApiError,
    login::checked_challenge,
    page,
    state::{Client, Site},
};
use crate::{
    authz::find_cookie,
    login::{Issued, SignInError, SignedIn},
    sessions::AtIssuer,
    sso::{Admitted, Answer, Begun, Person, ReturnTo, Sso, SsoError, Start, Started},
    store::Standing,
};

/// The cookie that binds a sign-in to its browser.
const COOKIE: &str = "portcullis-sso";

/// A sign-in that failed, and where it may be tried again.
struct Failed {
    error: ApiError,
    again: String,
}

impl Failed {
    fn new(site: &Site, error: ApiError, return_to: Option<&ReturnTo>) -> Self {
        Self { error, again: again(site, return_to) }
    }

    fn answer(self, is_page: bool) -> Response {
        if is_page { page::failed(&self.error, &self.again) } else { self.error.into_response() }
    }
}

/// `GET /sso/login`: to the provider.
pub(super) async fn login(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    head: Parts,
) -> Response {
    let is_page = page::reads_html(&head.headers);
    let method = head.method.clone();
    to_the_end(&method, is_page, async move { begin(&site, peer, &head).await }).await
}

/// `GET /sso/callback`: back from the provider.
pub(super) async fn callback(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    head: Parts,
) -> Response {
    let is_page = page::reads_html(&head.headers);
    let method = head.method.clone();
    to_the_end(&method, is_page, async move { finish(&site, peer, &head).await }).await
}

/// Does what was begun, also when the client hangs up meanwhile: a state that
/// is used up, and keys that are fetched, are everybody's. HEAD looks, and
/// begins nothing.
async fn to_the_end(
    method: &Method,
    is_page: bool,
    work: impl Future<Output = Result<Response, Failed>> + Send + 'static,
) -> Response {
    if method == Method::HEAD {
        let allow = [(header::ALLOW, "GET")];
        return (allow, ApiError::method_not_allowed()).into_response();
    }
    match tokio::spawn(work).await {
        Ok(Ok(response)) => response,
        Ok(Err(failed)) => failed.answer(is_page),
        Err(_) => ApiError::internal().into_response(),
    }
}

/// Whether a person goes there. A page that embeds the address, or fetches
/// it, would begin sign-ins in its visitors' names.
fn is_navigation(headers: &HeaderMap) -> bool {
    let says = |name: &str, expected: &str| {
        headers.get(name).is_none_or(|value| value.as_bytes() == expected.as_bytes())
    };
    says("sec-fetch-mode", "navigate")
        && says("sec-fetch-dest", "document")
        && !headers.contains_key("sec-purpose")
}

async fn begin(site: &Site, peer: Peer, head: &Parts) -> Result<Response, Failed> {
    let address = site.client_address(peer, &head.headers);
    let mut return_to = None;
    let begun: Result<Response, ApiError> = async {
        let sso = site.sso.as_ref().ok_or(ApiError::not_found())?;
        if !is_navigation(&head.headers) {
            return Err(ApiError::invalid("Open this address by itself, not within a page", None));
        }
        let query = Query::of(head);
        let asked = query.one("return_to")?.map(|text| {
            site.returns
                .read(&text)
                .ok_or(ApiError::invalid("This address may not be returned to", Some("return_to")))
        });
        return_to = asked.transpose()?;
        let challenge =
            checked_challenge(query.one("code_challenge")?, query.one("code_challenge_method")?)?;
        site.login.enter(address).await.inspect_err(|error| {
            if matches!(error, SignInError::LockedOut(_)) {
                audit(site, "locked_out", None, address, None);
            }
        })?;
        let browser = browser(site, &head.headers);
        let start = Start { return_to: return_to.clone(), challenge, browser, address };
        match sso.start(start).await {
            Ok(started) => Ok(to_provider(site, sso, &started)),
            Err(error) => {
                site.login.leave(address).await;
                tracing::warn!(%error, "a single sign-on could not be started");
                Err(ApiError::begin(&error))
            }
        }
    }
    .await;
    begun.map_err(|error| Failed::new(site, error, return_to.as_ref()))
}

fn to_provider(site: &Site, sso: &Sso, started: &Started) -> Response {
    let mut response = see_other(&started.location);
    let cookie = format!(
        "{}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={}{}",
        cookie_name(site),
        started.browser.expose_secret(),
        sso.settings().state_ttl.as_secs(),
        if site.is_https() { "; Secure" } else { "" }
    );
    set_cookie(&mut response, &cookie);
    response
}

async fn finish(site: &Site, peer: Peer, head: &Parts) -> Result<Response, Failed> {
    let client = site.client(peer, &head.headers);
    let address = client.address;
    let Some(sso) = &site.sso else {
        return Err(Failed::new(site, ApiError::not_found(), None));
    };
    let refused = |error: SsoError, return_to| {
        audit(site, "refused", None, address, Some(&error));
        Failed::new(site, ApiError::finish(&error, site.store.is_shared()), return_to)
    };
    let (begun, answer) = resume(site, sso, head).await.map_err(|error| refused(error, None))?;
    let return_to = begun.return_to.as_ref();
    let identified = sso.identify(&begun, answer).await;
    // Only what the provider does not confirm counts as a try.
    if !identified.as_ref().is_err_and(SsoError::is_no) {
        site.login.leave(begun.address).await;
    }
    let person = identified.map_err(|error| refused(error, return_to))?;
    let guest = format!("sso:{}", person.subject);
    let finished = async {
        let (user, standing) = admit(site, sso, person).await?;
        let response = lead_back(site, &begun, (user.clone(), &standing), &client).await?;
        Ok::<_, ApiError>((user, response))
    };
    match finished.await {
        Ok((user, response)) => {
            audit(site, "signed_in", Some((&user.user_id, Some(&user.name))), address, None);
            Ok(response)
        }
        Err(error) => {
            let is_forbidden = error.status() == StatusCode::FORBIDDEN;
            let result = if is_forbidden { "forbidden" } else { "unavailable" };
            audit(site, result, Some((&guest, None)), address, None);
            Err(Failed::new(site, error, return_to))
        }
    }
}

/// Who that is here, and how they stand.
async fn admit(site: &Site, sso: &Sso, person: Person) -> Result<(SignedIn, Standing), ApiError> {
    let (roles, is_linked) = (site.engine.verifier.roles(), sso.settings().link_by_email);
    let at_issuer = AtIssuer {
        issuer: sso.settings().issuer.clone(),
        subject: person.subject.clone(),
        session_id: person.session_id.clone(),
    };
    let admitted = person.admit(site.login.accounts(), is_linked, site.login.roles(), roles)?;
    let (mut user, standing) = match admitted {
        Admitted::Account(account) => site.stand(&account, "sso").await?,
        Admitted::Guest(guest) => site.stand_as(guest).await?,
    };
    user.at_issuer = Some(at_issuer);
    Ok((user, standing))
}

/// Takes up what was begun. The state is used up whatever else is said.
async fn resume(site: &Site, sso: &Sso, head: &Parts) -> Result<(Begun, Answer), SsoError> {
    let query = Query::of(head);
    let one = |name| query.one(name).map_err(|_| SsoError::Malformed(name));
    let state = one("state")?.ok_or(SsoError::Malformed("state"))?;
    let known = browser(site, &head.headers);
    let begun = sso.resume(&state, known.as_ref()).await?;
    let answer = Answer {
        code: one("code")?.map(SecretString::from),
        issuer: one("iss")?,
        error: one("error")?,
    };
    Ok((begun, answer))
}

/// To where it was begun for: the control plane gets a code, a page that
/// shares the cookie gets that.
async fn lead_back(
    site: &Site,
    begun: &Begun,
    (user, standing): (SignedIn, &Standing),
    client: &Client,
) -> Result<Response, ApiError> {
    if let Some(ReturnTo::ControlPlane(url)) = &begun.return_to {
        let bound = Issued {
            origin: Some(url.origin().ascii_serialization()),
            challenge: begun.challenge.clone(),
            return_to: Some(url.to_string()),
        };
        let code = site.codes.issue(user, bound).await?;
        let mut url = url.clone();
        url.query_pairs_mut()
            .append_pair("login", "success")
            .append_pair("code", code.expose_secret());
        return Ok(see_other(&url));
    }
    let issued = site.issue(&user, standing, client).await?;
    let own = || Url::parse(&format!("{}/ui/", site.base())).map_err(|_| ApiError::internal());
    let url = begun.return_to.as_ref().map_or_else(own, |to| Ok(to.url().clone()))?;
    let mut response = see_other(&url);
    set_cookie(&mut response, &site.cookie().set(issued.token.expose_secret()));
    Ok(response)
}

/// Where a sign-in can be begun anew.
fn again(site: &Site, return_to: Option<&ReturnTo>) -> String {
    let start = format!("{}/sso/login", site.base());
    match return_to {
        // Its page made the challenge, and makes another.
        Some(ReturnTo::ControlPlane(url)) => url.to_string(),
        Some(ReturnTo::WithCookie(url)) => {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("return_to", site.address_of(url))
                .finish();
            format!("{start}?{query}")
        }
        None => start,
    }
}

/// Tells the audit log of a sign-in: of whom, by id and name, where it is known.
fn audit(
    site: &Site,
    result: &'static str,
    user: Option<(&str, Option<&str>)>,
    address: Option<IpAddr>,
    cause: Option<&SsoError>,
) {
    site.metrics.count_login("sso", if result == "signed_in" { "ok" } else { result });
    tracing::info!(
        target: "portcullis::audit",
        event = "sign_in",
        result,
        name = user.and_then(|(_, name)| name),
        user_id = user.map(|(id, _)| id),
        address = address.map(tracing::field::display),
        method = "sso",
        cause = cause.map(tracing::field::display),
    );
}

/// The parameters of a query.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(head: &Parts) -> Self {
        let query = head.uri.query().unwrap_or_default();
        Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect())
    }

    /// The parameter of this name; one that stands there twice can be read in
    /// two ways.
    fn one(&self, name: &'static str) -> Result<Option<String>, ApiError> {
        let mut found = self.0.iter().filter(|(own, _)| own == name);
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(ApiError::invalid("A parameter is repeated", Some(name))),
            (one, None) => Ok(one.map(|(_, value)| value.clone())),
        }
    }
}

fn cookie_name(site: &Site) -> String {
    format!("{}{COOKIE}", if site.is_https() { "__Host-" } else { "" })
}

/// What the browser is known by; nothing when it says two things.
fn browser(site: &Site, headers: &HeaderMap) -> Option<SecretString> {
    let lines: Vec<&[u8]> =
        headers.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes).collect();
    let value = find_cookie(&lines, &cookie_name(site)).ok()??;
    Some(std::str::from_utf8(value).ok()?.into())
}

fn see_other(url: &Url) -> Response {
    let mut response = StatusCode::SEE_OTHER.into_response();
    match HeaderValue::from_str(url.as_str()) {
        Ok(location) => drop(response.headers_mut().insert(header::LOCATION, location)),
        Err(_) => response = ApiError::internal().into_response(),
    }
    response
}

fn set_cookie(response: &mut Response, cookie: &str) {
    match HeaderValue::from_str(cookie) {
        Ok(cookie) => drop(response.headers_mut().append(header::SET_COOKIE, cookie)),
        Err(_) => *response = ApiError::internal().into_response(),
    }
}
