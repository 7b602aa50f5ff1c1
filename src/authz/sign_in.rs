//! Where a browser goes that has yet to sign in.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use url::Url;

use super::{input::CheckInput, origin::Origin};

/// What may stand in the value of a query parameter (RFC 3986, section 3.4),
/// but for `&`, `+`, `=` and `%`.
const VALUE: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The page at which people sign in.
#[derive(Clone, Debug)]
pub struct SignIn {
    url: String,
    origin: Origin,
}

impl SignIn {
    /// A page of this address; `None` unless it is http or https without a
    /// fragment.
    #[must_use]
    pub fn new(url: &str) -> Option<Self> {
        let origin = Origin::parse(url)?;
        // As it was parsed: what was written may hold a line break.
        let url = Url::parse(url).ok()?;
        url.fragment().is_none().then(|| Self { url: url.into(), origin })
    }

    /// The page's address, with the way back to the request: its path when
    /// the page is on the same origin, else its whole address. The token's
    /// parameter is left out of it.
    pub(super) fn location(&self, input: &CheckInput<'_>, token_parameter: &str) -> String {
        let (path, query) = input.path_and_query();
        let mut back = String::new();
        // nginx does not say which scheme it was: at the page's own host, the
        // page's.
        let is_here = self.origin.is_own(input)
            || (input.scheme.is_empty() && self.origin.is_at_host_of(input));
        if !is_here {
            let scheme = if input.scheme.is_empty() { "https" } else { input.scheme };
            back = format!("{scheme}://{}", input.host);
        }
        back.push_str(path);
        let is_token = |pair: &&str| {
            let name = pair.split('=').next().unwrap_or_default();
            percent_encoding::percent_decode_str(name).eq(token_parameter.bytes())
        };
        let rest: Vec<&str> =
            query.into_iter().flat_map(|q| q.split('&')).filter(|pair| !is_token(pair)).collect();
        if !rest.is_empty() {
            back.push('?');
            back.push_str(&rest.join("&"));
        }
        let joint = if self.url.contains('?') { '&' } else { '?' };
        format!("{}{joint}return_to={}", self.url, utf8_percent_encode(&back, VALUE))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn location(page: &str, host: &str, path: &str) -> String {
        let input =
            CheckInput { scheme: "https", host, path, method: "GET", ..CheckInput::default() };
        SignIn::new(page).unwrap().location(&input, "access-token")
    }

    #[test]
    fn the_way_back_is_a_path_on_the_same_origin_and_whole_elsewhere() {
        assert_eq!(
            location("https://a.com/ui/login/", "a.com", "/x?y=1&z=a%20b"),
            "https://a.com/ui/login/?return_to=/x%3Fy%3D1%26z%3Da%2520b"
        );
        assert_eq!(
            location("https://cp.com/ui/login/?w=eu", "a.com:8443", "/x"),
            "https://cp.com/ui/login/?w=eu&return_to=https%3A//a.com%3A8443/x"
        );
    }

    #[test]
    fn where_the_scheme_is_not_known_the_pages_own_host_is_its_origin() {
        let at = |host| CheckInput { host, path: "/x", method: "GET", ..CheckInput::default() };
        let page = SignIn::new("http://a.com:8000/l").unwrap();
        assert_eq!(page.location(&at("a.com:8000"), ""), "http://a.com:8000/l?return_to=/x");
        assert_eq!(
            page.location(&at("b.com"), ""),
            "http://a.com:8000/l?return_to=https%3A//b.com/x"
        );
    }

    #[test]
    fn the_token_is_left_out() {
        for path in ["/x?access-token=T", "/x?access%2Dtoken=T"] {
            assert_eq!(location("https://a.com/l", "a.com", path), "https://a.com/l?return_to=/x");
        }
        assert_eq!(
            location("https://a.com/l", "a.com", "/x?a=1&access-token=T&b=2"),
            "https://a.com/l?return_to=/x%3Fa%3D1%26b%3D2"
        );
    }

    #[test]
    fn pages_that_a_browser_cannot_open_are_refused() {
        for bad in ["", "/ui", "javascript:alert(1)", "ftp://a.com/", "https://a.com/#x"] {
            assert!(SignIn::new(bad).is_none(), "{bad}");
        }
    }
}
