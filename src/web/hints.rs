//! Questions at Envoy's place that no right configuration asks: whose they
//! are, what is told of them, and how often.
//!
//! Envoy's HTTP mode always sends a `Content-Length`, by HTTP/1.1, and of the
//! request's own headers only those that it is told to. nginx asks by `GET`
//! whatever the method, without a length, and hands on every header but
//! `Upgrade`; unless it is told otherwise, by HTTP/1.0.

use http::{Method, Request, Version, header};

use crate::{
    authz::{CheckInput, CredentialSettings},
    hints::OnceAMinute,
};

/// Who asks where Envoy does, as far as can be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asker {
    /// Envoy, or nothing speaks against it.
    Envoy,
    /// Not Envoy: a person by hand, or nginx.
    Anybody,
    /// nginx: the request's method has been lost on the way, so that whatever
    /// would be decided is about another request.
    Nginx,
}

impl Asker {
    /// Whose question this is.
    pub(super) fn of<B>(request: &Request<B>) -> Self {
        let has = |name| request.headers().contains_key(name);
        if request.version() < Version::HTTP_11 {
            return Self::Nginx;
        }
        if request.method() != Method::GET
            || has(header::CONTENT_LENGTH)
            || has(header::TRANSFER_ENCODING)
        {
            return Self::Envoy;
        }
        // What is left of a body, and of a WebSocket's handshake.
        let opens = has(header::SEC_WEBSOCKET_KEY) && !has(header::UPGRADE);
        if has(header::CONTENT_TYPE) || opens { Self::Nginx } else { Self::Anybody }
    }
}

/// Whether the request would carry its token in the query, if it were known to
/// be a WebSocket, and no header came that always comes with a right list:
/// Envoy puts an `X-Request-ID` on every request, so that one which is no
/// WebSocket is told by that.
pub(super) fn lacks_headers(input: &CheckInput<'_>, settings: &CredentialSettings) -> bool {
    const LISTED: [&str; 4] = ["upgrade", "sec-websocket-version", "connection", "x-request-id"];
    settings.waits_for_websocket(input) && !LISTED.iter().any(|name| input.headers.contains(name))
}

/// Gives each hint at most once a minute.
#[derive(Debug, Default)]
pub struct Hints {
    nginx: OnceAMinute,
    headers: OnceAMinute,
}

impl Hints {
    /// Tells of a question that is not Envoy's.
    pub(super) fn of_nginx(&self, is_refused: bool) {
        if self.nginx.is_due() {
            tracing::warn!(
                is_refused,
                fix = "let nginx ask at /auth/nginx with X-Original-Method, X-Original-URI and \
                        X-Original-Host, as nginx/portcullis.conf does",
                "a request at /api/auth does not come from Envoy: if nginx asks there, every \
                 method is judged as GET, and nginx treats a 400 as a failure"
            );
        }
    }

    /// Tells of a list of headers that is too short.
    pub(super) fn of_headers(&self) {
        if self.headers.is_due() {
            tracing::warn!(
                fix = "list at least authorization, cookie, connection, upgrade, \
                        sec-websocket-version, origin, x-request-id and x-user-role in \
                        headersToExtAuth (Envoy: allowed_headers), and x-user-id, x-user-name, \
                        x-user-email and x-user-role in headersToBackend \
                        (allowed_upstream_headers): k8s/envoy-gateway/one-route has all of them; \
                        or ask by gRPC",
                "a token in the query was ignored: Envoy is not configured to send the headers \
                 that identify a WebSocket"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asker(version: Version, method: &str, headers: &[(&str, &str)]) -> Asker {
        let request = Request::builder().version(version).method(method).uri("/api/auth/x");
        let request =
            headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
        Asker::of(&request.body(()).unwrap())
    }

    #[test]
    fn nothing_that_envoy_sends_is_taken_for_nginxs() {
        // Whatever of a client's headers is listed, and whatever it sends.
        let listed = [
            ("content-length", "0"),
            ("content-type", "application/json"),
            ("connection", "close"),
            ("sec-websocket-version", "13"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ];
        for method in ["GET", "POST", "PATCH", "HEAD", "OPTIONS"] {
            assert_eq!(asker(Version::HTTP_11, method, &listed), Asker::Envoy);
            assert_eq!(asker(Version::HTTP_11, method, &listed[..1]), Asker::Envoy);
        }
    }

    #[test]
    fn what_nginx_sends_is_its_own_where_another_requests_traces_are() {
        assert_eq!(asker(Version::HTTP_10, "GET", &[("content-length", "0")]), Asker::Nginx);
        for trace in [
            ("content-type", "application/json"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
        ] {
            assert_eq!(asker(Version::HTTP_11, "GET", &[trace]), Asker::Nginx);
        }
        assert_eq!(asker(Version::HTTP_11, "GET", &[("accept", "*/*")]), Asker::Anybody);
    }
}
