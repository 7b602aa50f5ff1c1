//! The making of tokens.

use std::{fmt::Write as _, time::Duration};

use jsonwebtoken::{Algorithm, Header};
use secrecy::SecretString;
use serde::Serialize;
use thiserror::Error;

use super::{UserId, Verifier, role::Role};
use crate::clock::Timestamp;

/// Why a token was not made.
#[derive(Debug, Error)]
pub enum MintError {
    /// It would be refused by the service that made it.
    #[error("a life of {0:?} is longer than tokens.max_lifetime ({1:?})")]
    LivesTooLong(Duration, Duration),
    /// A token needs a name.
    #[error("the name is empty")]
    EmptyName,
    /// The signature failed.
    #[error("the token could not be signed")]
    Signing,
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers")]
    Random,
}

/// What a new token is to say.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// `sub`.
    pub name: &'a str,
    /// `userId`.
    pub user_id: &'a UserId,
    /// `role`.
    pub role: Role,
    /// `email`.
    pub email: Option<&'a str>,
    /// How long it lives from its issue on.
    pub lifetime: Duration,
    /// `login_method`: how the user signed in, when that is known.
    pub login_method: Option<&'a str>,
}

/// Signs tokens that its [`Verifier`] accepts: with the first key, and with
/// the issuer and audience that are asked for.
#[derive(Debug)]
pub struct Minter<'a> {
    verifier: &'a Verifier,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Payload<'a> {
    sub: &'a str,
    user_id: &'a str,
    role: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    email: Option<&'a str>,
    iat: i64,
    exp: i64,
    jti: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(rename = "login_method", skip_serializing_if = "Option::is_none")]
    login_method: Option<&'a str>,
}

impl<'a> Minter<'a> {
    /// A minter of tokens for this verifier.
    #[must_use]
    pub fn new(verifier: &'a Verifier) -> Self {
        Self { verifier }
    }

    /// A signed token, issued at `now`, with 128 random bits as its `jti`.
    ///
    /// # Errors
    ///
    /// [`MintError`]: the verifier would refuse it, or it could not be signed.
    pub fn mint(&self, token: &NewToken<'_>, now: Timestamp) -> Result<SecretString, MintError> {
        let settings = self.verifier.settings();
        if token.name.is_empty() {
            return Err(MintError::EmptyName);
        }
        if token.lifetime > settings.max_lifetime {
            return Err(MintError::LivesTooLong(token.lifetime, settings.max_lifetime));
        }
        let key = self.verifier.keys().first().ok_or(MintError::Signing)?;
        let mut header = Header::new(Algorithm::HS256);
        header.kid = key.id().map(str::to_owned);
        let payload = Payload {
            sub: token.name,
            user_id: token.user_id.as_str(),
            role: self.verifier.roles().name(token.role),
            email: token.email,
            iat: now.as_secs(),
            exp: now.plus(token.lifetime).as_secs(),
            jti: &random_id()?,
            iss: settings.issuer.as_deref(),
            aud: settings.audience.as_deref(),
            login_method: token.login_method,
        };
        jsonwebtoken::encode(&header, &payload, key.signing())
            .map(SecretString::from)
            .map_err(|_| MintError::Signing)
    }
}

/// 128 random bits in hexadecimal.
fn random_id() -> Result<String, MintError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| MintError::Random)?;
    Ok(bytes.iter().fold(String::with_capacity(32), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    }))
}
