//! Single sign-on: to the provider, and back from it.

use std::sync::Arc;

use axum::{
    Extension,
    extract::State,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderValue, StatusCode, header, request::Parts};
use secrecy::ExposeSecret as _;
use url::{Url, form_urlencoded};

use super::{address::Peer, error::ApiError, login::checked_challenge, page, state::Site};
use crate::{
    authz::find_cookie,
    login::{Issued, SignedIn},
    sso::{Admitted, Answer, Begun, ReturnTo, Sso, SsoError, Start},
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
    fn answer(self, is_page: bool) -> Response {
        if is_page { page::failed(&self.error, &self.again) } else { self.error.into_response() }
    }
}

/// `GET /sso/login`: to the provider.
pub(super) async fn login(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    request: Parts,
) -> Response {
    let is_page = page::reads_html(&request.headers);
    begin(&site, peer, &request).await.unwrap_or_else(|failed| failed.answer(is_page))
}

/// `GET /sso/callback`: back from the provider.
pub(super) async fn callback(
    State(site): State<Arc<Site>>,
    Extension(peer): Extension<Peer>,
    request: Parts,
) -> Response {
    let is_page = page::reads_html(&request.headers);
    finish(&site, peer, &request).await.unwrap_or_else(|failed| failed.answer(is_page))
}

async fn begin(site: &Site, peer: Peer, request: &Parts) -> Result<Response, Failed> {
    let mut return_to = None;
    let begun = async {
        let sso = site.sso.as_ref().ok_or(ApiError::not_found())?;
        let query = Query::of(request);
        let asked = query.one("return_to")?.map(|text| {
            site.returns
                .read(&text)
                .ok_or(ApiError::invalid("This address may not be returned to", Some("return_to")))
        });
        return_to = asked.transpose()?;
        let challenge =
            checked_challenge(query.one("code_challenge")?, query.one("code_challenge_method")?)?;
        let address = site.client_address(peer, &request.headers);
        site.login.enter(address).await?;
        let known = browser(site, &request.headers);
        let start =
            Start { return_to: return_to.clone(), challenge, browser: known.as_deref(), address };
        let started = sso.start(start).await.map_err(|error| {
            tracing::warn!(%error, "a single sign-on was not begun");
            ApiError::begin(&error)
        })?;
        let mut response = see_other(&started.location);
        let lifetime = sso.settings().state_ttl.as_secs();
        set_cookie(
            &mut response,
            &format!(
                "{}={}; Path=/; HttpOnly; SameSite=Lax; Max-Age={lifetime}{}",
                cookie_name(site),
                started.browser.expose_secret(),
                if site.is_https() { "; Secure" } else { "" }
            ),
        );
        Ok(response)
    };
    let result: Result<Response, ApiError> = begun.await;
    result.map_err(|error| Failed { error, again: again(site, return_to.as_ref()) })
}

async fn finish(site: &Site, peer: Peer, request: &Parts) -> Result<Response, Failed> {
    let failed = |error: ApiError, return_to| Failed { error, again: again(site, return_to) };
    let Some(sso) = &site.sso else { return Err(failed(ApiError::not_found(), None)) };
    let resumed = resume(site, sso, request).await;
    let (begun, answer) = resumed.map_err(|error| {
        audit(site, peer, request, Err(&error));
        failed(ApiError::finish(&error, site.store.is_shared()), None)
    })?;
    let return_to = begun.return_to.as_ref();
    let person = sso.identify(&begun, answer).await.map_err(|error| {
        audit(site, peer, request, Err(&error));
        failed(ApiError::finish(&error, site.store.is_shared()), return_to)
    })?;
    site.login.leave(begun.address).await;
    let subject = person.subject.clone();
    let roles = site.checker.engine();
    let roles = roles.verifier.roles();
    let is_linked = sso.settings().link_by_email;
    let admitted = person.admit(&site.login.accounts(), is_linked, site.login.roles(), roles);
    let admitted = match admitted {
        Ok(Admitted::Account(account)) => site.stand(&account, "sso").await,
        Ok(Admitted::Guest(guest)) => site.stand_as(guest).await,
        Err(error) => Err(error.into()),
    };
    let (user, standing) = admitted.map_err(|error| {
        tracing::info!(
            target: "portcullis::audit",
            event = "sign_in",
            result = "forbidden",
            status = error.status().as_u16(),
            subject,
            method = "sso",
        );
        failed(error, return_to)
    })?;
    audit(site, peer, request, Ok(&user));
    let response = lead_back(site, &begun, user, &standing).await;
    response.map_err(|error| failed(error, return_to))
}

/// Takes up what was begun. The state is used up whatever else is said.
async fn resume(site: &Site, sso: &Sso, request: &Parts) -> Result<(Begun, Answer), SsoError> {
    let query = Query::of(request);
    let one = |name| query.one(name).map_err(|_| SsoError::Malformed(name));
    let state = one("state")?.ok_or(SsoError::Malformed("state"))?;
    let known = browser(site, &request.headers);
    let begun = sso.resume(&state, known.as_deref()).await?;
    let answer = Answer { code: one("code")?, issuer: one("iss")?, error: one("error")? };
    Ok((begun, answer))
}

/// To where it was begun for: the control plane gets a code, a page that
/// shares the cookie gets that.
async fn lead_back(
    site: &Site,
    begun: &Begun,
    user: SignedIn,
    standing: &Standing,
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
    let issued = site.issue(&user, standing)?;
    let own = || Url::parse(&format!("{}/ui/", site.base())).map_err(|_| ApiError::internal());
    let url = begun.return_to.as_ref().map_or_else(own, |to| Ok(to.url().clone()))?;
    let mut response = see_other(&url);
    set_cookie(&mut response, &site.cookie(issued.token.expose_secret(), false));
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

fn audit(site: &Site, peer: Peer, request: &Parts, result: Result<&SignedIn, &SsoError>) {
    let user = result.ok();
    tracing::info!(
        target: "portcullis::audit",
        event = "sign_in",
        result = if user.is_some() { "signed_in" } else { "refused" },
        name = user.map(|user| user.name.as_str()),
        user_id = user.map(|user| user.user_id.as_str()),
        address = site.client_address(peer, &request.headers).map(tracing::field::display),
        method = "sso",
        cause = result.err().map(tracing::field::display),
    );
}

/// The parameters of a query.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Parts) -> Self {
        let query = request.uri.query().unwrap_or_default();
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
fn browser(site: &Site, headers: &HeaderMap) -> Option<String> {
    let lines: Vec<&[u8]> =
        headers.get_all(header::COOKIE).into_iter().map(HeaderValue::as_bytes).collect();
    let value = find_cookie(&lines, &cookie_name(site)).ok()??;
    Some(std::str::from_utf8(value).ok()?.to_owned())
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
