//! What an issuer says of itself (OpenID Connect Discovery, section 3; RFC 8414).

use serde::{Deserialize, de::DeserializeOwned};
use url::{Host, Url};

use super::fetch::{Fetch, FetchError};

/// The most that is told of a text that an issuer has made, in characters.
const MAX_QUOTED_CHARACTERS: usize = 200;

/// The beginning of a text that an issuer has made, as it may stand in a log.
fn brief(text: &impl ToString) -> String {
    text.to_string().chars().take(MAX_QUOTED_CHARACTERS).collect()
}

/// The metadata that every issuer has.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) jwks_uri: Url,
}

/// Where an issuer's metadata is.
///
/// # Errors
///
/// [`FetchError::Garbled`] when the issuer is no address.
pub(crate) fn metadata_url(issuer: &str) -> Result<Url, FetchError> {
    let url = format!("{}/.well-known/openid-configuration", issuer.trim_end_matches('/'));
    Url::parse(&url).map_err(|_| FetchError::Garbled("the issuer is not a URL".to_owned()))
}

/// The metadata of an issuer, which has to call itself just that; `key` is where
/// the configuration has its name.
pub(crate) async fn discover<T: DeserializeOwned>(
    fetch: &Fetch,
    issuer: &str,
    named: impl Fn(&T) -> &str,
    key: &str,
) -> Result<T, FetchError> {
    let (document, _) = fetch.document(&metadata_url(issuer)?, None).await?;
    understood(&document.unwrap_or_default(), issuer, named, key)
}

/// The same of its answer.
pub(crate) fn understood<T: DeserializeOwned>(
    document: &[u8],
    issuer: &str,
    named: impl Fn(&T) -> &str,
    key: &str,
) -> Result<T, FetchError> {
    let garbled = |cause: String| Err(FetchError::Garbled(cause));
    let metadata: T = match serde_json::from_slice(document) {
        Ok(metadata) => metadata,
        Err(error) if error.is_data() => return garbled(brief(&error)),
        Err(_) => return garbled("the answer is no JSON".to_owned()),
    };
    if named(&metadata) != issuer {
        let own = brief(&named(&metadata));
        return garbled(format!("it calls itself {own:?}: write that as {key}"));
    }
    Ok(metadata)
}

impl Metadata {
    pub(super) async fn fetch(
        fetch: &Fetch,
        issuer: &str,
        insecure_http: bool,
    ) -> Result<Self, FetchError> {
        discover(fetch, issuer, Self::issuer, "issuer").await?.checked(insecure_http)
    }

    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn checked(self, insecure_http: bool) -> Result<Self, FetchError> {
        if !may_be_asked(&self.jwks_uri, insecure_http) {
            return Err(FetchError::Garbled("its jwks_uri is not https".to_owned()));
        }
        Ok(self)
    }
}

/// Whether keys may come from there: who can change them on the way can sign in
/// as anybody.
#[must_use]
pub fn may_be_asked(url: &Url, insecure_http: bool) -> bool {
    match url.scheme() {
        "https" => true,
        "http" => insecure_http || is_loopback(url),
        _ => false,
    }
}

/// Whether nobody else is on the way to it.
#[must_use]
pub fn is_loopback(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name.ends_with(".localhost"),
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    }
}
