//! What arrived, who sent it, and an answer that tells so.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    Json,
    body::Body,
    extract::{FromRequestParts, Request},
    http::{HeaderName, StatusCode, request::Parts},
    response::{IntoResponse, Response},
};
use portcullis::guard::{Admission, User};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// The most of a request's body, in bytes.
const MAX_BODY_BYTES: usize = 32 * 1024;
/// How long a body may take.
const BODY_WITHIN: Duration = Duration::from_secs(10);

/// What arrived at this service: the headers that could name a user, in
/// whatever spelling, and the names of all.
#[derive(Clone)]
pub(crate) struct Arrived(Value);

/// Keeps it for whoever answers.
pub(crate) async fn keep(mut request: Request) -> Request {
    let mut identity = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in request.headers() {
        let folded = name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        if folded.starts_with("x-user") {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            identity.entry(name.as_str()).or_default().push(value);
        }
    }
    let arrived = json!({
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "identity": identity,
        "headers": request.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(),
    });
    request.extensions_mut().insert(Arrived(arrived));
    request
}

impl Arrived {
    /// An answer that tells also what arrived.
    pub(crate) fn answer(self, answer: Answer) -> Response {
        let (status, mut body) = match answer {
            Ok((status, body)) => (status, body),
            Err(Refusal(status, cause)) => (status, json!({ "error": cause })),
        };
        if let Some(body) = body.as_object_mut() {
            body.insert("received".into(), self.0);
        }
        (status, Json(body)).into_response()
    }
}

/// What is answered: an object, or why not.
pub(crate) type Answer = Result<(StatusCode, Value), Refusal>;

/// Why a request is not answered as it wants: the cause, and the fix.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) StatusCode, pub(crate) &'static str);

impl Refusal {
    /// Also where there is one that the caller may not see.
    pub(crate) const NOT_FOUND: Self =
        Self(StatusCode::NOT_FOUND, "no such agent: GET /api/agents lists yours");

    pub(crate) const fn bad(fix: &'static str) -> Self {
        Self(StatusCode::BAD_REQUEST, fix)
    }
}

/// Who asks, as the guard has admitted them.
pub(crate) struct Caller {
    pub(crate) user: User,
    pub(crate) admission: Admission,
    pub(crate) arrived: Arrived,
}

impl Caller {
    pub(crate) fn is_admin(&self) -> bool {
        self.user.role == "ADMIN"
    }

    pub(crate) fn answer(self, answer: Answer) -> Response {
        self.arrived.answer(answer)
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Response> {
        let extensions = &parts.extensions;
        let (Some(arrived), Some(admission)) =
            (extensions.get::<Arrived>().cloned(), extensions.get::<Admission>().cloned())
        else {
            return Err(StatusCode::INTERNAL_SERVER_ERROR.into_response());
        };
        match admission.user().cloned() {
            Some(user) => Ok(Self { user, admission, arrived }),
            // By the rules of another configuration than the built-in one.
            None => Err(arrived.answer(Err(Refusal(
                StatusCode::FORBIDDEN,
                "agents are for users: the rule of /api/agents has to want a role",
            )))),
        }
    }
}

/// Reads a body as JSON, whatever type it says it is of.
pub(crate) async fn read<T: DeserializeOwned>(body: Body, fix: &'static str) -> Result<T, Refusal> {
    let body = tokio::time::timeout(BODY_WITHIN, axum::body::to_bytes(body, MAX_BODY_BYTES));
    let late = Refusal(StatusCode::REQUEST_TIMEOUT, "the body took longer than 10 seconds");
    let bytes = body.await.map_err(|_| late)?.map_err(|_| {
        Refusal(StatusCode::PAYLOAD_TOO_LARGE, "the body broke off, or has more than 32 KiB")
    })?;
    serde_json::from_slice(&bytes).map_err(|_| Refusal::bad(fix))
}
