//! An HTTP request as the engine takes it.

use http::{Request, header};

use crate::authz::{CheckInput, Header, Headers, Single};

/// The request as the engine takes it. A host that is told twice, and not
/// alike, is none.
pub(crate) fn request_input<B>(request: &Request<B>) -> CheckInput<'_> {
    let uri = request.uri();
    let map = request
        .headers()
        .iter()
        .map(|(name, value)| Header { name: name.as_str(), value: value.as_bytes() })
        .collect();
    let headers = Headers::new(map, Vec::new());
    let target = uri.authority().map(http::uri::Authority::as_str);
    let host = match (target, headers.single(header::HOST.as_str())) {
        (Some(target), Single::Absent) => target,
        (target, Single::One(host)) => {
            let host = std::str::from_utf8(host).unwrap_or_default();
            if target.is_none_or(|target| target.eq_ignore_ascii_case(host)) { host } else { "" }
        }
        (None, Single::Absent) | (_, Single::Repeated) => "",
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
