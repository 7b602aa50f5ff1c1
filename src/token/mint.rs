//! The making of tokens.

use std::{fmt::Write as _, time::Duration};

use jsonwebtoken::{Algorithm, Header};
use secrecy::SecretString;
use serde_json::{Map, Value};
use thiserror::Error;

use super::{UserId, Verifier, algorithm::Algorithm as OwnAlgorithm, role::Role, shape::Said};
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
    /// The service has no key to sign such a token with.
    #[error("there is no key to sign it with")]
    NoKey,
    /// The signature failed.
    #[error("the token could not be signed")]
    Signing,
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers")]
    Random,
}

/// The session that a new token is of.
#[derive(Clone, Copy, Debug)]
pub struct SessionClaims<'a> {
    /// `sid`.
    pub id: &'a str,
    /// `auth_time`: when the user signed in.
    pub began: Timestamp,
}

/// What a new token is to say.
#[derive(Clone, Debug)]
pub struct NewToken<'a> {
    /// The user's name.
    pub name: &'a str,
    /// The user's id.
    pub user_id: &'a UserId,
    /// The user's role.
    pub role: Role,
    /// The user's email.
    pub email: Option<&'a str>,
    /// How long it lives from its issue on.
    pub lifetime: Duration,
    /// How the user signed in, when that is known.
    pub login_method: Option<&'a str>,
    /// The session, when it is made at a sign-in.
    pub session: Option<SessionClaims<'a>>,
}

/// Signs tokens that its [`Verifier`] accepts: with the first key, and with
/// the issuer and audience that are asked for.
#[derive(Debug)]
pub struct Minter<'a> {
    verifier: &'a Verifier,
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
        let key = self.verifier.keys().first().ok_or(MintError::NoKey)?;
        let mut header = Header::new(algorithm(key.algorithm()));
        header.kid = key.id().map(str::to_owned);
        let shape = &settings.shape;
        let mut payload = Map::new();
        let said = Said {
            id: token.user_id,
            name: token.name,
            email: token.email,
            role: shape.roles.write(token.role, self.verifier.roles()),
            method: token.login_method,
        };
        shape.write(&said, &mut payload);
        // Last, so that nothing can stand in the place of these.
        let parties = [("iss", &settings.issuer), ("aud", &settings.audience)];
        let parties = parties.map(|(name, party)| Some((name, Value::from(party.as_deref()?))));
        let registered = [
            ("iat", Value::from(now.as_secs())),
            ("exp", Value::from(now.plus(token.lifetime).as_secs())),
            ("jti", Value::from(random_id()?)),
        ];
        let session = token.session.map(|SessionClaims { id, began }| {
            [("sid", Value::from(id)), ("auth_time", Value::from(began.as_secs()))]
        });
        let session = session.into_iter().flatten();
        for (name, value) in
            registered.into_iter().chain(parties.into_iter().flatten()).chain(session)
        {
            payload.insert(name.to_owned(), value);
        }
        jsonwebtoken::encode(&header, &payload, key.signing())
            .map(SecretString::from)
            .map_err(|_| MintError::Signing)
    }
}

/// An algorithm as the library knows it, of those that own keys are for.
pub(super) fn algorithm(algorithm: OwnAlgorithm) -> Algorithm {
    match algorithm {
        OwnAlgorithm::Es256 => Algorithm::ES256,
        OwnAlgorithm::EdDsa => Algorithm::EdDSA,
        _ => Algorithm::HS256,
    }
}

/// The id of a new session: 128 random bits in hexadecimal.
///
/// # Errors
///
/// [`MintError::Random`].
pub fn new_session_id() -> Result<String, MintError> {
    random_id()
}

/// 128 random bits in hexadecimal.
pub(super) fn random_id() -> Result<String, MintError> {
    let mut bytes = [0; 16];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| MintError::Random)?;
    Ok(bytes.iter().fold(String::with_capacity(32), |mut id, byte| {
        let _ = write!(id, "{byte:02x}");
        id
    }))
}
