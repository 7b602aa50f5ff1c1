//! An HTTP request as the engine takes it.

use http::{Request, header};

use crate::authz::{CheckInput, Header, Headers};

/// The request as the engine takes it. A host that is told twice, and not
/// alike, is none.
pub(crate) fn request_input<B>(request: &Request<B>) -> CheckInput<'_> {
    let uri = request.uri();
    let map = request
        .headers()
        .iter()
        .map(|(name, value)| Header { name: name.as_str(), value: value.as_bytes() })
        .collect();
    let headers = Headers { map, list: Vec::new() };
    let named = headers.values(header::HOST.as_str()).count();
    let in_header = headers.text(header::HOST.as_str());
    let host = match (uri.authority().map(http::uri::Authority::as_str), in_header) {
        (Some(target), None) if named == 0 => target,
        (Some(target), Some(host)) if target.eq_ignore_ascii_case(host) => host,
        (None, Some(host)) => host,
        _ => "",
    };
    CheckInput {
        method: request.method().as_str(),
        scheme: uri.scheme_str().unwrap_or_default(),
        host,
        path: uri.path_and_query().map_or("", http::uri::PathAndQuery::as_str),
        headers,
        ..CheckInput::default()
    }
}
