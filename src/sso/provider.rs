//! The provider: its metadata and keys, fetched when they are first needed,
//! and the exchange of its codes.

use std::{fmt, sync::Arc, time::Duration};

use http::{Method, Request, header};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, ExtraTokenFields,
    PkceCodeVerifier, RedirectUrl, RequestTokenError, StandardRevocableToken,
    StandardTokenResponse, TokenResponse as _, TokenUrl,
    basic::{
        BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse,
        BasicTokenType,
    },
};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::{sync::Mutex, time::Instant};

use super::{
    ClientAuth, IdTokenError, LogoutToken, LogoutTokenError, SsoError, SsoSettings,
    id_token::{self, Claims, Expected},
    logout_token,
    metadata::{BackchannelLogout, Metadata},
    provider_error::{ProviderError, garbled, unreachable},
};
use crate::{
    issuers::{Fetch, FetchError, discover},
    token::KeySet,
};

/// How long metadata and keys are good for.
const KEEP: Duration = Duration::from_secs(3600);
/// How long a failure is told to those who come next, so that they do not wait
/// for the same one by one.
const KEEP_FAILURE: Duration = Duration::from_secs(1);
/// How often keys are fetched again for one that is not among them.
const REFETCH: Duration = Duration::from_secs(60);
/// The longest error code of a provider that is logged, in bytes.
const MAX_CODE_BYTES: usize = 64;

/// The one member of a token answer beside those of OAuth (OpenID Connect
/// Core, section 3.1.3.3).
#[derive(Serialize, Deserialize)]
struct IdTokenField {
    id_token: Option<String>,
}

impl fmt::Debug for IdTokenField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IdTokenField").finish_non_exhaustive()
    }
}

impl ExtraTokenFields for IdTokenField {}

type OAuthClient<HasAuthUrl, HasTokenUrl> = Client<
    BasicErrorResponse,
    StandardTokenResponse<IdTokenField, BasicTokenType>,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    HasAuthUrl,
    oauth2::EndpointNotSet,
    oauth2::EndpointNotSet,
    oauth2::EndpointNotSet,
    HasTokenUrl,
>;

impl BackchannelLogout {
    /// Asks the provider of these settings.
    ///
    /// # Errors
    ///
    /// [`ProviderError`].
    pub async fn of(settings: SsoSettings) -> Result<Self, ProviderError> {
        let provider = Provider::new(Arc::new(settings))?;
        Ok(provider.metadata().await?.backchannel_logout())
    }
}

/// What a code was exchanged for.
pub(super) struct Tokens {
    pub(super) id_token: String,
    pub(super) access_token: SecretString,
}

/// Something that was fetched, or why it could not be.
struct Cached<T> {
    value: Option<(Arc<T>, Instant)>,
    failed: Option<(ProviderError, Instant)>,
    /// When it was fetched because of something that was not in it.
    refetched: Option<Instant>,
}

impl<T> Default for Cached<T> {
    fn default() -> Self {
        Self { value: None, failed: None, refetched: None }
    }
}

impl<T> Cached<T> {
    /// What is at hand and not too old, or a failure of just now.
    fn at_hand(&self) -> Option<Result<Arc<T>, ProviderError>> {
        match &self.value {
            Some((value, at)) if at.elapsed() < KEEP => Some(Ok(Arc::clone(value))),
            _ => self.failure().map(Err),
        }
    }

    /// A failure of just now.
    fn failure(&self) -> Option<ProviderError> {
        let (error, at) = self.failed.as_ref()?;
        (at.elapsed() < KEEP_FAILURE).then(|| error.clone())
    }

    fn keep(&mut self, fetched: Result<T, ProviderError>) -> Result<Arc<T>, ProviderError> {
        let now = Instant::now();
        match fetched {
            Ok(value) => {
                let value = Arc::new(value);
                self.value = Some((Arc::clone(&value), now));
                self.failed = None;
                Ok(value)
            }
            Err(error) => {
                self.failed = Some((error.clone(), now));
                Err(error)
            }
        }
    }
}

/// The provider.
pub(super) struct Provider {
    settings: Arc<SsoSettings>,
    fetch: Fetch,
    metadata: Mutex<Cached<Metadata>>,
    keys: Mutex<Cached<KeySet>>,
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider").field("issuer", &self.settings.issuer).finish_non_exhaustive()
    }
}

impl Provider {
    pub(super) fn new(settings: Arc<SsoSettings>) -> Result<Self, ProviderError> {
        let fetch = Fetch::new(settings.issuer.starts_with("https:"), None);
        let fetch = fetch.map_err(unreachable("a client for it"))?;
        Ok(Self { settings, fetch, metadata: Mutex::default(), keys: Mutex::default() })
    }

    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, ProviderError> {
        let mut cached = self.metadata.lock().await;
        if let Some(at_hand) = cached.at_hand() {
            return at_hand;
        }
        let issuer = &self.settings.issuer;
        let fetched = discover(&self.fetch, issuer, Metadata::issuer, "sso.issuer").await;
        let fetched = fetched
            .map_err(unreachable("its metadata"))
            .and_then(|metadata| metadata.check(issuer));
        if let Ok(metadata) = &fetched {
            let backchannel_logout = metadata.backchannel_logout().as_str();
            tracing::info!(backchannel_logout, "the provider's metadata was fetched");
        }
        cached.keep(fetched)
    }

    /// The keys. Whoever misses one among them has them fetched again, unless
    /// that was done just before.
    async fn keys(&self, misses_one: bool) -> Result<Arc<KeySet>, ProviderError> {
        const WHAT: &str = "its keys";
        let url = self.metadata().await?.jwks_uri.clone();
        let mut cached = self.keys.lock().await;
        let was_refetched = cached.refetched.is_some_and(|at| at.elapsed() < REFETCH);
        let refetch = misses_one && !was_refetched;
        if refetch && let Some(error) = cached.failure() {
            return Err(error);
        }
        if !refetch && let Some(at_hand) = cached.at_hand() {
            return at_hand;
        }
        let fetched = self.fetch.document(&url, None).await.map_err(unreachable(WHAT));
        let fetched = fetched.and_then(|(set, _)| {
            let read = KeySet::read(&set.unwrap_or_default(), &id_token::ALGORITHMS);
            read.map(|(set, _)| set).map_err(|error| garbled(WHAT, error.to_string()))
        });
        if refetch && fetched.is_ok() {
            cached.refetched = Some(Instant::now());
        }
        cached.keep(fetched)
    }

    async fn json(
        &self,
        what: &'static str,
        request: http::Result<Request<Vec<u8>>>,
    ) -> Result<Value, ProviderError> {
        let request = request.map_err(|error| garbled(what, error.to_string()))?;
        let answer = self.fetch.send(request).await.map_err(unreachable(what))?;
        if answer.status() != http::StatusCode::OK {
            return Err(garbled(what, format!("it answered with the status {}", answer.status())));
        }
        serde_json::from_slice(answer.body()).map_err(|_| garbled(what, "the answer is no JSON"))
    }

    /// Exchanges a code, with the verifier of its challenge (RFC 7636,
    /// section 4.5).
    pub(super) async fn exchange(
        &self,
        code: SecretString,
        verifier: &SecretString,
    ) -> Result<Tokens, SsoError> {
        const WHAT: &str = "its token endpoint";
        let metadata = self.metadata().await?;
        let settings = &self.settings;
        let mut client: OAuthClient<_, _> = Client::new(ClientId::new(settings.client_id.clone()))
            .set_auth_uri(AuthUrl::from_url(metadata.authorization_endpoint.clone()))
            .set_token_uri(TokenUrl::from_url(metadata.token_endpoint.clone()))
            .set_redirect_uri(RedirectUrl::from_url(settings.redirect_uri.clone()))
            .set_auth_type(match settings.client_auth {
                ClientAuth::Basic => AuthType::BasicAuth,
                ClientAuth::Post => AuthType::RequestBody,
            });
        if let Some(secret) = &settings.client_secret {
            client = client.set_client_secret(ClientSecret::new(secret.expose_secret().to_owned()));
        }
        let send = |request| {
            let fetch = self.fetch.clone();
            async move {
                let answer = fetch.send(request).await?;
                let status = answer.status();
                if status.is_server_error() {
                    return Err(FetchError::Failed(format!(
                        "it answered with the status {status}"
                    )));
                }
                Ok(answer)
            }
        };
        let answer = client
            .exchange_code(AuthorizationCode::new(code.expose_secret().to_owned()))
            .set_pkce_verifier(PkceCodeVerifier::new(verifier.expose_secret().to_owned()))
            .request_async(&send)
            .await
            .map_err(|error| match error {
                RequestTokenError::Request(error) => unreachable(WHAT)(error),
                RequestTokenError::ServerResponse(answer) => {
                    ProviderError::Refused(error_code(answer.error().as_ref()))
                }
                RequestTokenError::Parse(_, body) => not_tokens(WHAT, &body),
                RequestTokenError::Other(cause) => garbled(WHAT, cause),
            })?;
        let id_token = answer.extra_fields().id_token.clone().ok_or(IdTokenError::Missing)?;
        Ok(Tokens { id_token, access_token: answer.access_token().secret().clone().into() })
    }

    /// The claims of an ID token. Keys are fetched again for one that is not
    /// among them, but not more often than once a minute.
    pub(super) async fn verify(
        &self,
        id_token: &str,
        expected: &Expected<'_>,
    ) -> Result<Claims, SsoError> {
        let verified = id_token::verify(id_token, &*self.keys(false).await?, expected);
        if verified != Err(IdTokenError::UnknownKey) {
            return Ok(verified?);
        }
        Ok(id_token::verify(id_token, &*self.keys(true).await?, expected)?)
    }

    /// What a logout token says, with the keys as above.
    pub(super) async fn verify_logout(
        &self,
        token: &str,
        expected: &logout_token::Expected<'_>,
    ) -> Result<LogoutToken, SsoError> {
        let verified = logout_token::verify(token, &*self.keys(false).await?, expected);
        if verified != Err(LogoutTokenError::UnknownKey) {
            return Ok(verified?);
        }
        Ok(logout_token::verify(token, &*self.keys(true).await?, expected)?)
    }

    /// The claims of the userinfo endpoint (OpenID Connect Core, section
    /// 5.3); none when there is no such endpoint.
    pub(super) async fn userinfo(
        &self,
        access_token: &SecretString,
        subject: &str,
    ) -> Result<Claims, SsoError> {
        const WHAT: &str = "its userinfo endpoint";
        let metadata = self.metadata().await?;
        let Some(url) = &metadata.userinfo_endpoint else { return Ok(Claims::new()) };
        let request = Request::builder()
            .method(Method::GET)
            .uri(url.as_str())
            .header(header::ACCEPT, "application/json")
            .header(header::AUTHORIZATION, format!("Bearer {}", access_token.expose_secret()));
        match self.json(WHAT, request.body(Vec::new())).await? {
            Value::Object(claims) if claims.get("sub").is_some_and(|sub| sub == subject) => {
                Ok(claims)
            }
            Value::Object(_) => Err(SsoError::OtherSubject),
            _ => Err(garbled(WHAT, "the answer is no object").into()),
        }
    }
}

/// What an answer is that holds no tokens: an error beside a 200, or nonsense.
fn not_tokens(what: &'static str, body: &[u8]) -> ProviderError {
    let answer: Option<Value> = serde_json::from_slice(body).ok();
    match answer.as_ref().and_then(|answer| answer.get("error")?.as_str()) {
        Some(code) => ProviderError::Refused(error_code(code)),
        None => garbled(what, "the answer holds no tokens"),
    }
}

/// An error code of a provider as it may stand in a log.
pub(super) fn error_code(code: &str) -> String {
    let plain = |c: &char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    code.chars().filter(plain).take(MAX_CODE_BYTES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sso::{Started, person::tests::settings};

    #[test]
    fn a_failure_is_told_for_a_second_and_what_was_fetched_serves_for_an_hour() {
        let ago = |millis| Instant::now().checked_sub(Duration::from_millis(millis)).unwrap();
        let mut cached = Cached::default();
        assert_eq!(cached.at_hand(), None);
        let error = garbled("its keys", "x");
        assert_eq!(cached.keep(Err(error.clone())), Err(error.clone()));
        assert_eq!(cached.at_hand(), Some(Err(error.clone())));
        cached.failed = Some((error.clone(), ago(1000)));
        assert_eq!(cached.at_hand(), None);
        let seven = Arc::new(7);
        assert_eq!(cached.keep(Ok(7)), Ok(Arc::clone(&seven)));
        cached.value = Some((Arc::clone(&seven), ago(3_590_000)));
        // It goes before a later failure, as long as it serves.
        cached.failed = Some((error.clone(), ago(0)));
        assert_eq!(cached.at_hand(), Some(Ok(Arc::clone(&seven))));
        cached.value = Some((seven, ago(3_600_000)));
        assert_eq!(cached.at_hand(), Some(Err(error)));
    }

    #[test]
    fn whoever_prints_it_sees_no_token_and_no_state() {
        let tokens = IdTokenField { id_token: Some("secret".to_owned()) };
        assert_eq!(format!("{tokens:?}"), "IdTokenField { .. }");
        let url = url::Url::parse("https://idp.example.com/?state=secret").unwrap();
        let started = Started { location: url, browser: "secret".into() };
        assert_eq!(format!("{started:?}"), "Started { .. }");
        let provider = Provider::new(Arc::new(settings(&[], None))).unwrap();
        let shown = "Provider { issuer: \"https://idp.example.com\", .. }";
        assert_eq!(format!("{provider:?}"), shown);
    }
}
