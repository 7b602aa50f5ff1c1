//! Bodies of requests: JSON objects of a bounded size.

use axum::extract::Request;
use http::header;
use http_body_util::BodyExt as _;
use serde_json::Value;

use super::error::ApiError;
use crate::token::json::Members;

/// The longest body, in bytes.
const MAX_BODY_BYTES: usize = 16 * 1024;
/// The most that is received of a longer one.
const MAX_DISCARDED_BYTES: usize = 8 * 1024 * 1024;
/// The most members of an object.
const MAX_MEMBERS: usize = 32;

/// Reads the body of a request: what it is said to be, its size, its form.
pub(super) async fn read(request: Request) -> Result<Vec<u8>, ApiError> {
    if !is_of_type(&request, "application/json") {
        return Err(ApiError::not_json());
    }
    receive(request).await
}

/// The same of a form that a provider sends.
pub(super) async fn read_form(request: Request) -> Result<Vec<u8>, ApiError> {
    if !is_of_type(&request, "application/x-www-form-urlencoded") {
        let message = "The body must be application/x-www-form-urlencoded";
        return Err(ApiError::bad_logout(message));
    }
    let too_long = |_| ApiError::bad_logout("The body was not sent whole, or is too long");
    receive(request).await.map_err(too_long)
}

fn is_of_type(request: &Request, expected: &str) -> bool {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let essence = content_type.and_then(|value| value.to_str().ok()?.split(';').next());
    essence.is_some_and(|essence| essence.trim().eq_ignore_ascii_case(expected))
}

async fn receive(request: Request) -> Result<Vec<u8>, ApiError> {
    let mut frames = request.into_body();
    let (mut body, mut length) = (Vec::new(), 0_usize);
    while let Some(frame) = frames.frame().await {
        let frame = frame.map_err(|_| ApiError::invalid("The body was not sent whole", None))?;
        let Ok(data) = frame.into_data() else { continue };
        length = length.saturating_add(data.len());
        if length <= MAX_BODY_BYTES {
            body.extend_from_slice(&data);
        } else if length > MAX_DISCARDED_BYTES {
            break;
        }
    }
    // A client that is cut off while it sends does not read the answer, so
    // what is too long is received, within reason, and dropped.
    if length > MAX_BODY_BYTES { Err(ApiError::too_large()) } else { Ok(body) }
}

/// An object, in which no member stands twice.
pub(super) struct Object<'a>(Members<'a>);

impl<'a> Object<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, ApiError> {
        Members::parse(body, MAX_MEMBERS)
            .map(Self)
            .map_err(|_| ApiError::invalid("The body must be one JSON object", None))
    }

    /// Text that has to be there.
    pub(super) fn text(&self, name: &'static str) -> Result<String, ApiError> {
        self.optional_text(name)?.ok_or(ApiError::invalid("A field is missing", Some(name)))
    }

    /// Text that may be left out, or be null.
    pub(super) fn optional_text(&self, name: &'static str) -> Result<Option<String>, ApiError> {
        match self.0.get(name) {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(ApiError::invalid("A field must be a string", Some(name))),
        }
    }
}
