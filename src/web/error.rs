//! Errors of the endpoints, in the one form that clients see.

use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};

use crate::{
    authz::{Answer, Denial},
    error_body::{ErrorBody, ErrorKind},
    login::{ExchangeError, SignInError},
    sso::SsoError,
    store::StoreError,
};

/// An error to answer with.
#[derive(Clone, Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    kind: ErrorKind,
    message: &'static str,
    param: Option<&'static str>,
    retry_after: Option<u64>,
}

impl ApiError {
    const fn new(status: StatusCode, kind: ErrorKind, message: &'static str) -> Self {
        Self { status, kind, message, param: None, retry_after: None }
    }

    pub(super) const fn invalid(message: &'static str, param: Option<&'static str>) -> Self {
        let error = Self::new(StatusCode::BAD_REQUEST, ErrorKind::InvalidRequestError, message);
        Self { param, ..error }
    }

    /// What a provider sends to sign somebody out is not right: 400, whatever it is.
    pub(super) const fn bad_logout(message: &'static str) -> Self {
        Self::invalid(message, Some("logout_token"))
    }

    pub(super) const fn not_found() -> Self {
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFoundError, "There is nothing here")
    }

    /// A page elsewhere asks for a code, and no page elsewhere may.
    pub(super) const fn no_control_plane() -> Self {
        let message = "Signing in from a page elsewhere is off: set login.control_plane_url";
        Self::new(StatusCode::NOT_FOUND, ErrorKind::NotFoundError, message)
    }

    pub(super) const fn method_not_allowed() -> Self {
        let (status, kind) = (StatusCode::METHOD_NOT_ALLOWED, ErrorKind::InvalidRequestError);
        Self::new(status, kind, "This method is not possible here")
    }

    pub(super) const fn foreign_origin() -> Self {
        let (status, kind) = (StatusCode::FORBIDDEN, ErrorKind::AuthError);
        let error = Self::new(status, kind, "This origin may not do that");
        Self { param: Some("origin"), ..error }
    }

    pub(super) const fn foreign_peer() -> Self {
        let (status, kind) = (StatusCode::FORBIDDEN, ErrorKind::AuthError);
        Self::new(status, kind, "This peer may not ask here")
    }

    pub(super) const fn too_large() -> Self {
        let (status, kind) = (StatusCode::PAYLOAD_TOO_LARGE, ErrorKind::InvalidRequestError);
        Self::new(status, kind, "The body is too long")
    }

    pub(super) const fn not_json() -> Self {
        let (status, kind) = (StatusCode::UNSUPPORTED_MEDIA_TYPE, ErrorKind::InvalidRequestError);
        Self::new(status, kind, "The body must be application/json")
    }

    pub(super) const fn unavailable() -> Self {
        let (status, kind) = (StatusCode::SERVICE_UNAVAILABLE, ErrorKind::UnavailableError);
        Self::new(status, kind, "Not available now, try again soon")
    }

    /// Why a single sign-on was not begun.
    pub(super) fn begin(error: &SsoError) -> Self {
        match error {
            SsoError::Provider(_) => Self {
                message: "The identity provider cannot be reached now, try again soon",
                ..Self::unavailable()
            },
            _ => Self::unavailable(),
        }
    }

    /// Why a single sign-on was not finished. Replicas that share no store do
    /// not know what the others have begun.
    pub(super) fn finish(error: &SsoError, is_shared: bool) -> Self {
        match error {
            SsoError::UnknownState if is_shared => Self::invalid(
                "This sign-in is unknown: it was finished before, or took too long",
                Some("state"),
            ),
            SsoError::UnknownState => Self::invalid(
                "This sign-in is unknown here: it was finished before, took too long, or was \
                 begun at another replica, which keeps it in its own memory",
                Some("state"),
            ),
            SsoError::OtherBrowser => Self::invalid(
                "This sign-in was begun in another browser, or the cookie of its begin is missing",
                Some("state"),
            ),
            SsoError::Malformed(param) => {
                Self::invalid("A parameter is missing, or stands there twice", Some(param))
            }
            error if error.is_no() => {
                let (status, kind) = (StatusCode::UNAUTHORIZED, ErrorKind::AuthError);
                Self::new(status, kind, "The identity provider did not confirm the sign-in")
            }
            SsoError::Provider(_) => {
                let (status, kind) = (StatusCode::BAD_GATEWAY, ErrorKind::UnavailableError);
                Self::new(status, kind, "The identity provider did not answer as it should")
            }
            _ => Self::unavailable(),
        }
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.status
    }

    pub(super) const fn message(&self) -> &'static str {
        self.message
    }

    /// After how many seconds it makes sense to try again.
    pub(super) const fn retry_after(&self) -> Option<u64> {
        self.retry_after
    }

    pub(super) const fn internal() -> Self {
        let (status, kind) = (StatusCode::INTERNAL_SERVER_ERROR, ErrorKind::InternalError);
        Self::new(status, kind, "Something went wrong")
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        tracing::warn!(%error, "a request could not be answered, because the store failed");
        Self::unavailable()
    }
}

impl From<SignInError> for ApiError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Wrong => {
                let (status, kind) = (StatusCode::UNAUTHORIZED, ErrorKind::AuthError);
                Self::new(status, kind, "The name or the password is wrong")
            }
            SignInError::Forbidden => {
                let (status, kind) = (StatusCode::FORBIDDEN, ErrorKind::AuthError);
                Self::new(status, kind, "This account may not sign in")
            }
            SignInError::LockedOut(seconds) => {
                let (status, kind) = (StatusCode::TOO_MANY_REQUESTS, ErrorKind::RateLimitError);
                let error = Self::new(status, kind, "Too many tries, wait before the next one");
                Self { retry_after: Some(seconds), ..error }
            }
            SignInError::Unavailable => Self::unavailable(),
        }
    }
}

impl From<ExchangeError> for ApiError {
    fn from(error: ExchangeError) -> Self {
        match error {
            ExchangeError::Invalid => {
                let (status, kind) = (StatusCode::UNAUTHORIZED, ErrorKind::AuthError);
                let error = Self::new(status, kind, "Invalid or expired login code");
                Self { param: Some("code"), ..error }
            }
            ExchangeError::Unavailable(error) => error.into(),
        }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let code = self.status.as_u16();
        let body = ErrorBody { message: self.message, kind: self.kind, param: self.param, code };
        let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut response = (self.status, [content_type], body.to_json()).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

/// An answer of this service itself, over HTTP.
pub(crate) fn answered<B: From<String>>(answer: &Answer<'_>) -> http::Response<B> {
    let mut response = http::Response::new(answer.body.to_owned().into());
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::FORBIDDEN);
    for (name, value) in answer.headers {
        let name = http::HeaderName::from_static(name);
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

/// The answer to a request that may not pass, over HTTP.
pub(crate) fn denied<B: From<String>>(denial: &Denial) -> http::Response<B> {
    let mut response = http::Response::new(denial.body().into());
    // A status that is none would be a bug; it must not become a 200.
    *response.status_mut() = StatusCode::from_u16(denial.status()).unwrap_or(StatusCode::FORBIDDEN);
    for (name, value) in denial.headers() {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(http::HeaderName::from_static(name), value);
        }
    }
    response
}
