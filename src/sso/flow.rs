//! The two halves of a sign-in, and its end.

use std::{net::IpAddr, sync::Arc};

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use url::Url;

use super::{
    LogoutToken, LogoutTokenError, Person, ReturnTo, SsoError, SsoSettings,
    id_token::{Claims, Expected},
    logout_token,
    provider::{Provider, error_code},
    provider_error::ProviderError,
};
use crate::{
    clock::Clock,
    secret::{self, is_well_formed, s256},
    store::{Key, Limit, Store},
};

/// What a sign-in begins with.
#[derive(Debug, Default)]
pub struct Start {
    /// Where it leads.
    pub return_to: Option<ReturnTo>,
    /// The challenge of the page that will exchange the one-time code.
    pub challenge: Option<String>,
    /// What the browser is known by, from an earlier start.
    pub browser: Option<SecretString>,
    /// The address that the start was counted under.
    pub address: Option<IpAddr>,
}

/// Where the browser goes, and what it is known by from now on.
pub struct Started {
    /// The provider.
    pub location: Url,
    /// The value of the browser's cookie.
    pub browser: SecretString,
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The address holds the state.
        f.debug_struct("Started").finish_non_exhaustive()
    }
}

/// What the store keeps between the two halves.
#[derive(Serialize, Deserialize)]
struct Record {
    verifier: String,
    nonce: String,
    return_to: Option<ReturnTo>,
    challenge: Option<String>,
    /// The hash of the browser's cookie.
    browser: String,
    address: Option<IpAddr>,
}

/// A sign-in that was begun, and is to be finished.
#[derive(Debug)]
pub struct Begun {
    verifier: SecretString,
    nonce: SecretString,
    /// Where it leads.
    pub return_to: Option<ReturnTo>,
    /// The challenge of the page that will exchange the one-time code.
    pub challenge: Option<String>,
    /// The address that the start was counted under.
    pub address: Option<IpAddr>,
}

/// What the provider sent the browser back with.
#[derive(Debug, Default)]
pub struct Answer {
    /// Its one-time code.
    pub code: Option<SecretString>,
    /// Who it is (RFC 9207).
    pub issuer: Option<String>,
    /// Why there is no code.
    pub error: Option<String>,
}

/// Signs people in at a provider.
#[derive(Debug)]
pub struct Sso {
    settings: Arc<SsoSettings>,
    provider: Provider,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
}

impl Sso {
    /// A client of this provider. Nothing is fetched before it is needed.
    ///
    /// # Errors
    ///
    /// [`ProviderError`] when no client can be made, as without any
    /// certificate to trust.
    pub fn new(
        settings: SsoSettings,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, ProviderError> {
        let settings = Arc::new(settings);
        let provider = Provider::new(Arc::clone(&settings))?;
        Ok(Self { settings, provider, store, clock })
    }

    /// The settings.
    #[must_use]
    pub fn settings(&self) -> &SsoSettings {
        &self.settings
    }

    /// Begins a sign-in: what only its end may know goes to the store, and
    /// the browser to the provider.
    ///
    /// # Errors
    ///
    /// [`SsoError::Provider`] and [`SsoError::Store`].
    pub async fn start(&self, start: Start) -> Result<Started, SsoError> {
        let metadata = self.provider.metadata().await?;
        let known = start.browser.filter(|known| is_well_formed(known.expose_secret()));
        let browser = known.map_or_else(secret::random, Ok)?;
        let (state, nonce, verifier) = (secret::random()?, secret::random()?, secret::random()?);
        let mut location = metadata.authorization_endpoint.clone();
        location
            .query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("redirect_uri", self.settings.redirect_uri.as_str())
            .append_pair("scope", &self.settings.scopes.join(" "))
            .append_pair("state", state.expose_secret())
            .append_pair("nonce", nonce.expose_secret())
            .append_pair("code_challenge", &s256(verifier.expose_secret()))
            .append_pair("code_challenge_method", "S256");
        let record = Record {
            verifier: verifier.expose_secret().to_owned(),
            nonce: nonce.expose_secret().to_owned(),
            return_to: start.return_to,
            challenge: start.challenge,
            browser: s256(browser.expose_secret()),
            address: start.address,
        };
        self.store.put(&key(state.expose_secret()), &record, self.settings.state_ttl).await?;
        Ok(Started { location, browser })
    }

    /// Takes up a sign-in that this or another replica has begun. Whatever
    /// comes of it, the state is used up.
    ///
    /// # Errors
    ///
    /// [`SsoError::UnknownState`], [`SsoError::OtherBrowser`] and
    /// [`SsoError::Store`].
    pub async fn resume(
        &self,
        state: &str,
        browser: Option<&SecretString>,
    ) -> Result<Begun, SsoError> {
        if !is_well_formed(state) {
            return Err(SsoError::UnknownState);
        }
        let record: Option<Record> = self.store.take(&key(state)).await?;
        let record = record.ok_or(SsoError::UnknownState)?;
        let known = browser.map(ExposeSecret::expose_secret).filter(|known| is_well_formed(known));
        let known = known.map(s256).unwrap_or_default();
        if !bool::from(known.as_bytes().ct_eq(record.browser.as_bytes())) {
            return Err(SsoError::OtherBrowser);
        }
        let Record { verifier, nonce, return_to, challenge, address, .. } = record;
        let (verifier, nonce) = (verifier.into(), nonce.into());
        Ok(Begun { verifier, nonce, return_to, challenge, address })
    }

    /// Asks the provider who it was that signed in.
    ///
    /// # Errors
    ///
    /// [`SsoError`], but for those of [`Self::resume`].
    pub async fn identify(&self, begun: &Begun, answer: Answer) -> Result<Person, SsoError> {
        let settings = &self.settings;
        let metadata = self.provider.metadata().await?;
        match &answer.issuer {
            Some(issuer) if *issuer != settings.issuer => return Err(SsoError::OtherIssuer),
            None if metadata.authorization_response_iss_parameter_supported => {
                return Err(SsoError::OtherIssuer);
            }
            _ => {}
        }
        if let Some(error) = &answer.error {
            return Err(SsoError::Denied(error_code(error)));
        }
        let code = answer.code.ok_or(SsoError::Malformed("code"))?;
        let tokens = self.provider.exchange(code, &begun.verifier).await?;
        let expected = Expected {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            nonce: begun.nonce.expose_secret(),
            now: self.clock.now(),
            leeway: settings.leeway,
        };
        let claims = self.provider.verify(&tokens.id_token, &expected).await?;
        let mut more = Claims::new();
        if Person::is_incomplete(&claims, settings) {
            let subject = claims.get("sub").and_then(|sub| sub.as_str()).unwrap_or_default();
            more = self.provider.userinfo(&tokens.access_token, subject).await?;
        }
        Ok(Person::read(&claims, &more, settings))
    }

    /// Whom a logout token signs out; one is taken once.
    ///
    /// # Errors
    ///
    /// [`SsoError::LogoutToken`], [`SsoError::Provider`] and [`SsoError::Store`].
    pub async fn logout_token(&self, token: &str) -> Result<LogoutToken, SsoError> {
        let settings = &self.settings;
        let expected = logout_token::Expected {
            issuer: &settings.issuer,
            client_id: &settings.client_id,
            now: self.clock.now(),
            leeway: settings.leeway,
        };
        let token = self.provider.verify_logout(token, &expected).await?;
        let window = logout_token::good_for(settings.leeway);
        let once = Limit { tries: 1, window, lockout: window };
        if self.store.hit(&self.logout_key(&token), once).await?.count > 1 {
            return Err(LogoutTokenError::Repeated.into());
        }
        Ok(token)
    }

    /// Takes a logout token back whose sessions could not be ended.
    pub async fn give_back(&self, token: &LogoutToken) {
        if let Err(error) = self.store.forget(&self.logout_key(token)).await {
            tracing::warn!(%error, "a logout token of the provider will not be accepted again");
        }
    }

    fn logout_key(&self, token: &LogoutToken) -> Key {
        Key::new("logout", &format!("{}\n{}", self.settings.issuer, token.token_id))
    }

    /// Where a browser ends its session at the provider (OpenID Connect
    /// RP-Initiated Logout); `None` when that is not possible, or not known
    /// because the provider cannot be reached.
    pub async fn end_session_url(&self) -> Option<Url> {
        let metadata = self.provider.metadata().await;
        let metadata = metadata.inspect_err(|error| {
            tracing::warn!(%error, "nobody can be signed out at the provider");
        });
        let mut url = metadata.ok()?.end_session_endpoint.clone()?;
        url.query_pairs_mut()
            .append_pair("client_id", &self.settings.client_id)
            .append_pair("post_logout_redirect_uri", self.settings.after_logout.as_str());
        Some(url)
    }
}

fn key(state: &str) -> Key {
    Key::new("state", state)
}
