//! Where a browser may be sent after its sign-in.

use serde::{Deserialize, Serialize};
use url::{Origin, Position, Url};

/// The longest `return_to`, in bytes, also when a browser has encoded it: it
/// is kept in the store, and anybody can begin a sign-in.
const MAX_BYTES: usize = 2 * 1024;
/// What is added to the control plane's address, and may not be in it before.
const OURS: [&str; 2] = ["login", "code"];

/// An address that a sign-in may return to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReturnTo {
    /// A page of the control plane, which gets a one-time code.
    ControlPlane(Url),
    /// A page that has the cookie: of this host, or of an origin that shares
    /// the cookie's domain.
    WithCookie(Url),
}

impl ReturnTo {
    /// The address.
    #[must_use]
    pub fn url(&self) -> &Url {
        match self {
            Self::ControlPlane(url) | Self::WithCookie(url) => url,
        }
    }
}

/// Which addresses those are.
#[derive(Clone, Debug)]
pub struct ReturnRules {
    /// How browsers reach this service.
    pub public_url: Url,
    /// The control plane, whose pages get codes.
    pub control_plane: Option<Url>,
    /// The paths of those pages, on its origin or below its address.
    pub paths: Vec<String>,
    /// Origins that get the cookie alone.
    pub origins: Vec<Origin>,
}

impl ReturnRules {
    /// Reads an address as browsers do (WHATWG URL), and as nobody could read
    /// otherwise: what a browser would fix is refused. `None` when it may
    /// not be returned to.
    #[must_use]
    pub fn read(&self, text: &str) -> Option<ReturnTo> {
        self.judge(text).filter(|to| to.url().as_str().len() <= MAX_BYTES)
    }

    fn judge(&self, text: &str) -> Option<ReturnTo> {
        // Browsers drop tabs and line breaks, and take `\` for `/`.
        let plain = |byte: u8| byte.is_ascii_graphic() && byte != b'\\';
        if text.len() > MAX_BYTES || !text.bytes().all(plain) {
            return None;
        }
        if text.starts_with('/') {
            return self.own_path(text);
        }
        let url = Url::parse(text).ok()?;
        let is_web = matches!(url.scheme(), "http" | "https");
        if !is_web || !is_spelt_out(text, &url) {
            return None;
        }
        let control_plane = self.control_plane.as_ref();
        if let Some(control_plane) = control_plane.filter(|cp| cp.origin() == url.origin()) {
            return self.is_page(control_plane, text, &url).then_some(ReturnTo::ControlPlane(url));
        }
        // An address of this very host is a path of it.
        if url.origin() == self.public_url.origin() {
            return self.own_path(after_authority(text)).filter(|own| *own.url() == url);
        }
        let is_listed = self.origins.contains(&url.origin()) && !url.path().starts_with("//");
        is_listed.then_some(ReturnTo::WithCookie(url))
    }

    /// A path of this host. What comes of it is a whole address, since a path
    /// that begins with two slashes once its dots are gone would be another
    /// host's.
    fn own_path(&self, text: &str) -> Option<ReturnTo> {
        if text.starts_with("//") || !text.starts_with('/') {
            return None;
        }
        let url = self.public_url.join(text).ok()?;
        let is_own = url.origin() == self.public_url.origin() && !url.path().starts_with("//");
        is_own.then_some(ReturnTo::WithCookie(url))
    }

    fn is_page(&self, control_plane: &Url, text: &str, url: &Url) -> bool {
        let base = control_plane.path().trim_end_matches('/');
        let path = url.path();
        let is_listed = self
            .paths
            .iter()
            .any(|page| path == page || path.strip_prefix(base).is_some_and(|below| below == page));
        let is_as_written = after_authority(text).starts_with(path);
        is_listed && is_as_written && !url.query_pairs().any(|(name, _)| OURS.contains(&&*name))
    }
}

/// Whether scheme and authority stand there as the browser understands them:
/// `https://`, then the very host, perhaps in another case or with the default
/// port, and no user.
fn is_spelt_out(text: &str, url: &Url) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default().to_ascii_lowercase();
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    let is_bare = authority == host && url.port().is_none();
    scheme.eq_ignore_ascii_case(url.scheme())
        && !host.ends_with('.')
        && (is_bare || authority == format!("{host}:{port}"))
        && url[Position::BeforeUsername..Position::BeforeHost].is_empty()
}

/// The path and what follows it, as it was written; nothing where no path is.
fn after_authority(text: &str) -> &str {
    let rest = text.split_once("://").map_or("", |(_, rest)| rest);
    let end = rest.find(['/', '?', '#']).and_then(|at| rest.get(at..)).unwrap_or_default();
    if end.starts_with('/') { end } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> ReturnRules {
        ReturnRules {
            public_url: Url::parse("https://eu.example.com/auth").unwrap(),
            control_plane: Some(Url::parse("https://cp.example.com").unwrap()),
            paths: vec!["/ui/login".into(), "/ui/login/".into()],
            origins: vec![Url::parse("https://app.example.com:8443").unwrap().origin()],
        }
    }

    #[test]
    fn three_kinds_of_address_may_be_returned_to() {
        for page in [
            "https://cp.example.com/ui/login/",
            "https://cp.example.com/ui/login",
            "HTTPS://CP.example.com:443/ui/login/?worker=eu#top",
        ] {
            assert!(matches!(rules().read(page), Some(ReturnTo::ControlPlane(_))), "{page}");
        }
        for (page, expected) in [
            ("https://app.example.com:8443/x?y=1", "https://app.example.com:8443/x?y=1"),
            ("/api/agents?page=2#x", "https://eu.example.com/api/agents?page=2#x"),
            ("/", "https://eu.example.com/"),
            ("/a?next=https://evil.com", "https://eu.example.com/a?next=https://evil.com"),
            ("https://eu.example.com/ui/login", "https://eu.example.com/ui/login"),
            ("HTTPS://EU.example.com:443/x?y=1#z", "https://eu.example.com/x?y=1#z"),
        ] {
            let read = rules().read(page).unwrap_or_else(|| panic!("{page}"));
            assert_eq!(read, ReturnTo::WithCookie(Url::parse(expected).unwrap()), "{page}");
        }
    }

    #[test]
    fn a_control_plane_below_a_path_has_its_pages_there() {
        let control_plane = Url::parse("https://cp.example.com/auth/").ok();
        let rules = ReturnRules { control_plane, ..rules() };
        assert!(rules.read("https://cp.example.com/auth/ui/login/").is_some());
        assert!(rules.read("https://cp.example.com/authui/login/").is_none());
    }

    #[test]
    fn nothing_else_may() {
        for bad in [
            "",
            "//evil.com",
            "///evil.com",
            "/\\evil.com",
            "\\\\evil.com",
            "/x/..//evil.com",
            "/.//evil.com",
            "/%09/evil.com\t",
            "/\t/evil.com",
            "/x\r\nset-cookie: a=b",
            "/x y",
            "/ü",
            "evil.com",
            "ui/login/",
            "https:evil.com",
            "https:/evil.com",
            "https:cp.example.com/ui/login/",
            "https:/cp.example.com/ui/login/",
            "https:///cp.example.com/ui/login/",
            "https://evil.com/ui/login/",
            "https://cp@evil.com/ui/login/",
            "https://cp.example.com@evil.com/ui/login/",
            "https://@cp.example.com/ui/login/",
            "https://a:b@cp.example.com/ui/login/",
            "https://evil.com\\@cp.example.com/ui/login/",
            "https://cp.example.com\\.evil.com/ui/login/",
            "https://cp.example.com.evil.com/ui/login/",
            "https://evil.com#@cp.example.com/ui/login/",
            "https://evil.com?@cp.example.com/ui/login/",
            "https://cp.example.com./ui/login/",
            "https://cp.evil/ui/login/",
            "https://cp.example.com:8443/ui/login/",
            "https://cp.example.com:/ui/login/x",
            "http://cp.example.com/ui/login/",
            "https://cp。example。com/ui/login/",
            "https://cp%2eexample.com/ui/login/",
            "https://cp.example.com%2fui/login/",
            " https://cp.example.com/ui/login/",
            "https://cp.example.com/ui/login/ ",
            "https://cp.exa\tmple.com/ui/login/",
            "https://cp.exa\nmple.com/ui/login/",
            "https://cp.example.com/ui/login/%0d%0a/x",
            "https://cp.example.com/",
            "https://cp.example.com/ui/login/x",
            "https://cp.example.com/ui/x/../login/",
            "https://cp.example.com/ui/%6cogin/",
            "https://cp.example.com/ui//login/",
            "https://cp.example.com/UI/login/",
            "https://cp.example.com/ui/login/?code=x",
            "https://cp.example.com/ui/login/?a=b&login=success",
            "https://cp.example.com/ui/login/?%63ode=x",
            "https://app.example.com/x",
            "https://app.example.com:8443//evil.com",
            "https://app.example.com:8443/x/..//evil.com",
            "https://eu.example.com",
            "https://eu.example.com?next=/x",
            "https://eu.example.com#/x",
            "https://eu.example.com//evil.com",
            "https://eu.example.com/x/..//evil.com",
            "https://eu.example.com:8443/x",
            "http://eu.example.com/x",
            "https://a@eu.example.com/x",
            "https://eu.example.com./x",
            "https://eu.example.com.evil.com/x",
            "https://eu.example.com\\@evil.com/x",
            "javascript:alert(1)",
            "javascript://cp.example.com/ui/login/",
            "data:text/html,x",
            "ftp://cp.example.com/ui/login/",
            "null",
        ] {
            assert_eq!(rules().read(bad), None, "{bad:?}");
        }
        assert_eq!(rules().read(&format!("/{}", "x".repeat(MAX_BYTES))), None);
        // Also what is short once a browser has fixed it.
        assert_eq!(rules().read(&format!("/{}x", "./".repeat(MAX_BYTES / 2))), None);
        // To the last byte.
        let listed = "https://app.example.com:8443/";
        for (length, is_read) in [(2048, true), (2049, false)] {
            let page = format!("{listed}{}", "x".repeat(length - listed.len()));
            assert_eq!(rules().read(&page).is_some(), is_read, "{length}");
        }
        assert_eq!(rules().read(&format!("/{}", "\"".repeat(MAX_BYTES / 2))), None);
    }

    #[test]
    fn an_address_of_this_host_is_written_in_full_or_as_a_path() {
        let public_url = Url::parse("https://eu.example.com/").unwrap();
        let rules = ReturnRules { public_url, ..rules() };
        assert!(rules.read("https://eu.example.com/").is_some() && rules.read("/").is_some());
        for bad in ["https://eu.example.com", "//eu.example.com/x"] {
            assert_eq!(rules.read(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_host_with_a_dot_at_its_end_is_none_also_where_it_is_listed() {
        let origins = vec![Url::parse("https://app.example.com.").unwrap().origin()];
        let rules = ReturnRules { origins, ..rules() };
        assert_eq!(rules.read("https://app.example.com./x"), None);
    }
}
