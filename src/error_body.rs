//! The one form of an error that clients see, on every listener.

use serde::Serialize;

/// The kind of an error, for a client's program to act on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorKind {
    /// Who is this, and may they?
    AuthError,
    /// The request is malformed or can be read in two ways.
    InvalidRequestError,
    /// There is nothing here.
    NotFoundError,
    /// Too many tries.
    RateLimitError,
    /// Not now.
    UnavailableError,
    /// The service failed.
    InternalError,
}

/// `{"error":{"message","type","param","code"}}`.
#[derive(Clone, Debug, Serialize)]
pub struct ErrorBody<'a> {
    /// For a person; says no more than the client may know.
    pub message: &'a str,
    /// The kind.
    #[serde(rename = "type")]
    pub kind: ErrorKind,
    /// The field at fault.
    pub param: Option<&'a str>,
    /// The HTTP status as a string.
    #[serde(serialize_with = "as_string")]
    pub code: u16,
}

#[derive(Serialize)]
struct Envelope<'a> {
    error: &'a ErrorBody<'a>,
}

impl ErrorBody<'_> {
    /// The body as JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        // Strings and numbers alone: there is nothing in it that can fail.
        serde_json::to_string(&Envelope { error: self }).unwrap_or_default()
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands fields by reference")]
fn as_string<S: serde::Serializer>(code: &u16, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_form_is_that_of_the_contract() {
        let body = ErrorBody {
            message: "Invalid or expired login code",
            kind: ErrorKind::AuthError,
            param: Some("code"),
            code: 401,
        };
        insta::assert_snapshot!(body.to_json(), @r#"{"error":{"message":"Invalid or expired login code","type":"auth_error","param":"code","code":"401"}}"#);
    }
}
