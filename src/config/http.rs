//! `[http]` and `[internal]`: the other two listeners.

use std::net::SocketAddr;

use ipnet::IpNet;
use url::Url;

use super::{
    reader::Section,
    tls::{self, Clients},
};
pub(super) use crate::issuers::is_loopback;
use crate::tls::Tls;

pub(super) const URL: &str = "an http(s) URL without credentials, query and fragment";
const ADDRESS: &str = "an address such as \"0.0.0.0:8080\"";
const NETWORK: &str = "a network such as \"10.0.0.0/8\"";
const HOPS: &str = "how many proxies are in front, from 1 to 16";
const MAX_HOPS: usize = 16;

/// `[http]`.
#[derive(Clone, Debug)]
pub struct HttpConfig {
    /// Where browsers, or a proxy before it, connect.
    pub listen: SocketAddr,
    /// What it shows browsers.
    pub tls: Option<Tls>,
    /// How browsers reach it, a path included, without a slash at its end.
    pub public_url: Url,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How many proxies are in front; none where nobody has counted them.
    pub trusted_hops: Option<usize>,
}

impl HttpConfig {
    /// `None` when there was a problem.
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let listen = section.parsed("listen", ADDRESS, |text| text.parse().ok());
        let public_url = section.parsed("public_url", URL, web_url);
        let trusted_proxies = networks(&mut section, "trusted_proxies");
        let trusted_hops: Option<usize> = section.get("trusted_hops", HOPS);
        if trusted_hops.is_some_and(|hops| !(1..=MAX_HOPS).contains(&hops)) {
            let cause = "this number of proxies is not possible";
            section.problem("trusted_hops", cause, format!("write {HOPS}, or leave it out"));
        }
        if trusted_proxies.iter().any(|network| network.prefix_len() == 0) {
            section.warn(
                "trusted_proxies",
                "every client counts as a proxy, and can choose the address that guessing is \
                 counted by",
                "name only the networks of the proxies, or set their number in http.trusted_hops",
            );
        }
        let tls = tls::read(&mut section, b"http/1.1", Clients::AreNotAsked);
        if tls.is_some() && public_url.as_ref().is_some_and(|url| url.scheme() == "http") {
            section.warn(
                "public_url",
                "http.listen uses TLS, but this URL does not, so cookies will not be Secure",
                "write the https URL that browsers use",
            );
        }
        section.finish();
        Some(Self { listen: listen?, tls, public_url: public_url?, trusted_proxies, trusted_hops })
    }
}

/// `[internal]`.
#[derive(Clone, Debug)]
pub struct InternalConfig {
    /// Where the kubelet and Prometheus connect.
    pub listen: SocketAddr,
    /// Who may; empty for any.
    pub peers: Vec<IpNet>,
}

impl InternalConfig {
    /// `None` when there was a problem.
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let listen = section.parsed("listen", ADDRESS, |text| text.parse().ok());
        let peers = networks(&mut section, "peers");
        section.finish();
        Some(Self { listen: listen?, peers })
    }
}

fn networks(section: &mut Section<'_>, key: &'static str) -> Vec<IpNet> {
    section.parsed_list(key, NETWORK, |text| text.parse().ok())
}

/// Warns of pages on which nobody can sign in to a worker.
pub(super) fn check_pages(section: &Section<'_>, http: &HttpConfig) {
    if http.public_url.scheme() == "http" && !is_loopback(&http.public_url) {
        section.warn(
            "public_url",
            "sign-in needs a challenge that browsers compute only on pages with TLS, so nobody \
             could sign in",
            "use https",
        );
    }
}

/// An address that a browser is sent to.
pub(super) fn web_url(text: &str) -> Option<Url> {
    let url = Url::parse(text).ok()?;
    let plain = url.username().is_empty()
        && url.password().is_none()
        && url.query().is_none()
        && url.fragment().is_none();
    (matches!(url.scheme(), "http" | "https") && url.has_host() && plain).then_some(url)
}
