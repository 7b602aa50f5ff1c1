//! Single sign-on: OpenID Connect, authorization code with PKCE.
//!
//! ```text
//! browser ─ /sso/login ──> Sso::start     state, nonce, verifier -> the store
//!         <─ 303 to the provider          with state, nonce and challenge
//! browser ─ /sso/callback ─> Sso::resume  takes the state, once, on any replica
//!                            Sso::identify  code + verifier -> ID token -> Person
//!                            Person::admit  an account, or a guest with a role
//! ```
//!
//! Nothing about a sign-in is kept in the process: the replica that receives
//! the callback need not be the one that began.

mod flow;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod id_token;
mod logout_token;
mod metadata;
mod person;
mod provider;
mod provider_error;
mod return_to;

use std::{collections::BTreeMap, time::Duration};

use secrecy::SecretString;
use thiserror::Error;
use url::Url;

pub use self::{
    flow::{Answer, Begun, Sso, Start, Started},
    id_token::IdTokenError,
    logout_token::{LogoutToken, LogoutTokenError},
    metadata::BackchannelLogout,
    person::{Admitted, Person},
    provider_error::ProviderError,
    return_to::{ReturnRules, ReturnTo},
};
use crate::{store::StoreError, token::Role};

/// How a client that has a secret shows it (RFC 6749, section 2.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientAuth {
    /// In the `Authorization` header: `client_secret_basic`.
    Basic,
    /// In the body: `client_secret_post`.
    Post,
}

/// What the configuration says of single sign-on.
#[derive(Clone, Debug)]
pub struct SsoSettings {
    /// The provider, as it names itself.
    pub issuer: String,
    /// This service's name at the provider.
    pub client_id: String,
    /// Its secret; a public client has none.
    pub client_secret: Option<SecretString>,
    /// How the secret is shown.
    pub client_auth: ClientAuth,
    /// What is asked for.
    pub scopes: Vec<String>,
    /// How long a sign-in may take at the provider.
    pub state_ttl: Duration,
    /// Whether an account with the same verified email lends its id and role.
    pub link_by_email: bool,
    /// The role of whom nothing gives another; `None`: they may not sign in.
    pub default_role: Option<Role>,
    /// The claim whose values give a role.
    pub role_claim: Option<String>,
    /// The role that each value gives.
    pub role_map: BTreeMap<String, Role>,
    /// Where the provider sends browsers back to.
    pub redirect_uri: Url,
    /// Where the provider sends browsers after a sign-out.
    pub after_logout: Url,
    /// How far clocks may differ.
    pub leeway: Duration,
}

/// Why a single sign-on went no further.
#[derive(Debug, Error)]
pub enum SsoError {
    /// The state is unknown, used or too old.
    #[error("the state is unknown, used or too old")]
    UnknownState,
    /// The state was given to another browser.
    #[error("the state was given to another browser")]
    OtherBrowser,
    /// The callback lacks something, or says it twice.
    #[error("the callback has no single {0}")]
    Malformed(&'static str),
    /// The provider says no.
    #[error("the provider answered with the error {0}")]
    Denied(String),
    /// The callback was sent by another provider (RFC 9207).
    #[error("the callback's iss is not sso.issuer")]
    OtherIssuer,
    /// The ID token is not acceptable.
    #[error("the ID token was refused: {0}")]
    IdToken(#[from] IdTokenError),
    /// The logout token is not acceptable.
    #[error("the logout token was refused: {0}")]
    LogoutToken(#[from] LogoutTokenError),
    /// The userinfo is about somebody else.
    #[error("the userinfo is of another subject than the ID token")]
    OtherSubject,
    /// The provider cannot be reached or understood.
    #[error("the provider failed: {0}")]
    Provider(ProviderError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl SsoError {
    /// Whether the provider was asked, and did not confirm the sign-in.
    #[must_use]
    pub fn is_no(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::OtherIssuer | Self::IdToken(_) | Self::OtherSubject)
    }
}

impl From<ProviderError> for SsoError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Refused(code) => Self::Denied(code),
            error => Self::Provider(error),
        }
    }
}
