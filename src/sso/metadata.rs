//! What a provider says of itself.

use serde::Deserialize;
use url::Url;

use super::provider_error::{ProviderError, garbled};

/// What a provider says of itself (OpenID Connect Discovery, section 3).
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) userinfo_endpoint: Option<Url>,
    pub(super) end_session_endpoint: Option<Url>,
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
    code_challenge_methods_supported: Option<Vec<String>>,
    #[serde(default)]
    backchannel_logout_supported: bool,
    #[serde(default)]
    backchannel_logout_session_supported: bool,
}

/// What a provider says of signing people out here (OpenID Connect Back-Channel
/// Logout, section 2.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackchannelLogout {
    /// One session at a time, by its `sid`.
    BySession,
    /// All sessions of a subject at once.
    BySubject,
    /// Not at all.
    Unsupported,
}

impl BackchannelLogout {
    /// As it is told to people.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BySession => "by session",
            Self::BySubject => "by subject",
            Self::Unsupported => "not supported",
        }
    }
}

impl Metadata {
    pub(super) fn issuer(&self) -> &str {
        &self.issuer
    }

    pub(super) fn backchannel_logout(&self) -> BackchannelLogout {
        match (self.backchannel_logout_supported, self.backchannel_logout_session_supported) {
            (true, true) => BackchannelLogout::BySession,
            (true, false) => BackchannelLogout::BySubject,
            (false, _) => BackchannelLogout::Unsupported,
        }
    }

    pub(super) fn check(self, issuer: &str) -> Result<Self, ProviderError> {
        let problem = |cause: String| Err(garbled("its metadata", cause));
        let needs_tls = issuer.starts_with("https:");
        let endpoints = [&self.authorization_endpoint, &self.token_endpoint, &self.jwks_uri];
        let optional = [&self.userinfo_endpoint, &self.end_session_endpoint];
        for url in endpoints.into_iter().chain(optional.into_iter().flatten()) {
            if url.scheme() != "https" && (needs_tls || url.scheme() != "http") {
                return problem("an endpoint is not https".to_owned());
            }
        }
        let methods = &self.code_challenge_methods_supported;
        if methods.as_ref().is_some_and(|methods| !methods.iter().any(|method| method == "S256")) {
            return problem("it does not support PKCE with S256".to_owned());
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_provider_can_end_is_told_in_plain_words() {
        let told = [
            BackchannelLogout::BySession,
            BackchannelLogout::BySubject,
            BackchannelLogout::Unsupported,
        ];
        let told = told.map(BackchannelLogout::as_str);
        assert_eq!(told, ["by session", "by subject", "not supported"]);
    }

    #[test]
    fn an_endpoint_is_reached_by_tls_unless_the_issuer_itself_is_not() {
        for (issuer, scheme, is_taken) in [
            ("https://idp.example.com", "https", true),
            ("https://idp.example.com", "http", false),
            ("http://idp.example.com", "http", true),
            ("http://idp.example.com", "https", true),
            ("http://idp.example.com", "ftp", false),
        ] {
            let at = |path: &str| format!("{scheme}://idp.example.com/{path}");
            let told = json!({
                "issuer": issuer, "authorization_endpoint": at("a"), "token_endpoint": at("t"),
                "jwks_uri": at("j"),
            });
            let metadata: Metadata = serde_json::from_value(told).unwrap();
            assert_eq!(metadata.check(issuer).is_ok(), is_taken, "{issuer} {scheme}");
        }
    }
}
