//! Whether a request that a browser made can be trusted to carry a cookie.

use url::Url;

use super::{
    host::NormalHost,
    input::{CheckInput, Single},
};

/// A web origin (RFC 6454): scheme, host and port.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Origin {
    scheme: String,
    host: String,
    port: u16,
}

impl Origin {
    /// Parses an origin or the URL of a page on it.
    ///
    /// `None` unless it is http or https, with a host.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        if !matches!(url.scheme(), "http" | "https") {
            return None;
        }
        Some(Self {
            scheme: url.scheme().to_owned(),
            host: url.host_str()?.trim_end_matches('.').to_owned(),
            port: url.port_or_known_default()?,
        })
    }

    /// Whether pages of this origin come from the host that the request goes
    /// to: the same host and port, over https or the request's own scheme.
    ///
    /// Behind a gateway that ends TLS the request may say http where the page
    /// was loaded over https, so a port that is not written is the origin's.
    pub(super) fn is_own(&self, input: &CheckInput<'_>) -> bool {
        let scheme_fits = self.scheme == "https" || self.scheme == input.scheme;
        scheme_fits && self.is_at_host_of(input)
    }

    /// Whether this is the host and the port that the request goes to.
    pub(super) fn is_at_host_of(&self, input: &CheckInput<'_>) -> bool {
        let host_fits =
            NormalHost::parse(input.host).is_some_and(|host| host.as_str() == self.host);
        let default_port = if self.scheme == "https" { 443 } else { 80 };
        host_fits && port_of(input.host, default_port) == Some(self.port)
    }
}

/// The port behind the host; `None` when what is written there is no port.
fn port_of(authority: &str, default: u16) -> Option<u16> {
    match authority.rsplit_once(':') {
        // The colons of an IPv6 address are within its brackets.
        Some((host, port)) if !port.is_empty() && (!host.contains(':') || host.ends_with(']')) => {
            port.parse().ok()
        }
        _ => Some(default),
    }
}

/// Whether a request that changes something, or that opens a WebSocket, was
/// made by a page that may use the cookie.
///
/// The browser says so by `Sec-Fetch-Site`, or by an `Origin` that is the
/// request's own or one of the `trusted`. A request that says neither may
/// have been made by any page (RFC 6265bis, section 8.8).
pub(super) fn may_use_cookie(input: &CheckInput<'_>, trusted: &[Origin]) -> bool {
    if matches!(input.headers.text("sec-fetch-site"), Some("same-origin" | "none")) {
        return true;
    }
    let Single::One(_) = input.headers.single("origin") else { return false };
    input
        .headers
        .text("origin")
        .and_then(Origin::parse)
        .is_some_and(|origin| origin.is_own(input) || trusted.contains(&origin))
}

/// Whether a page of this site caused the request, or nobody's page did, as far as
/// its browser tells: what a page elsewhere asks for does not keep a session alive.
///
/// A browser that sends no `Sec-Fetch-Site` sends `Origin` with what other sites'
/// scripts ask for. A page of another origin counts when it is one of the
/// `trusted`.
pub(super) fn is_of_this_site(input: &CheckInput<'_>, trusted: &[Origin]) -> bool {
    let is_known = || {
        let origin = input.headers.text("origin").and_then(Origin::parse);
        origin.is_some_and(|origin| origin.is_own(input) || trusted.contains(&origin))
    };
    match input.headers.single("sec-fetch-site") {
        Single::One(b"same-origin" | b"none") => true,
        Single::Absent if input.headers.single("origin") == Single::Absent => true,
        Single::One(_) | Single::Absent => is_known(),
        Single::Repeated => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(origin: &str, scheme: &str, host: &str) -> bool {
        let input = CheckInput { scheme, host, ..CheckInput::default() };
        Origin::parse(origin).is_some_and(|origin| origin.is_own(&input))
    }

    #[test]
    fn an_origin_is_own_by_scheme_host_and_port() {
        assert!(own("https://a.com", "https", "a.com"));
        assert!(own("https://a.com", "http", "a.com"), "TLS ended before the gateway");
        assert!(own("https://a.com", "http", "A.com:443"));
        assert!(own("http://a.com:8080", "http", "a.com:8080"));
        assert!(own("http://[::1]:8080", "http", "[::1]:8080"));
        assert!(own("http://[::1]", "http", "[::1]") && own("https://a.com", "https", "a.com:"));
        assert!(!own("http://a.com", "https", "a.com"), "a page over plain http");
        assert!(!own("http://a.com", "", "a.com"));
        assert!(!own("https://a.com:8443", "https", "a.com"));
        assert!(!own("https://a.com", "https", "a.com:8443"));
        assert!(!own("https://evil.com", "https", "a.com"));
        assert!(!own("https://a.com.evil.com", "https", "a.com"));
        assert!(!own("null", "https", "a.com"));
        assert!(!own("https://a.com", "https", "a.com:99999"));
    }
}
