//! One-time codes: what a page holds between a sign-in and its token.

use std::{sync::Arc, time::Duration};

use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq as _;
use thiserror::Error;

use super::Account;
use crate::{
    secret,
    sessions::AtIssuer,
    store::{Key, Store, StoreError},
};

/// Who has signed in, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedIn {
    /// The user's id.
    pub user_id: String,
    /// The user's name.
    pub name: String,
    /// The user's email.
    pub email: Option<String>,
    /// The name of the user's role.
    pub role: String,
    /// `password` or `sso`.
    pub method: String,
    /// The user's cut-off when they signed in, in seconds: a later one voids
    /// what has not been exchanged yet.
    pub cut_off: Option<i64>,
    /// Who that is at the provider of a single sign-on.
    #[serde(default)]
    pub at_issuer: Option<AtIssuer>,
}

impl SignedIn {
    /// Who has signed in to this account, by this method.
    #[must_use]
    pub fn to_account(account: &Account, method: &str) -> Self {
        Self {
            user_id: account.id.to_string(),
            name: account.name.clone(),
            email: account.email.clone(),
            role: account.role_name.clone(),
            method: method.to_owned(),
            cut_off: None,
            at_issuer: None,
        }
    }
}

/// What a code is bound to: who issues it and who exchanges it must agree.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Issued {
    /// The `Origin` of the page, when one was sent.
    pub origin: Option<String>,
    /// The S256 challenge (RFC 7636, section 4.2), when one was sent.
    pub challenge: Option<String>,
    /// Where the exchange leads; to the pages when it is not given.
    pub return_to: Option<String>,
}

/// What the exchanging page shows.
#[derive(Debug, Default)]
pub struct Proof {
    /// The `Origin` of the page, when one was sent.
    pub origin: Option<String>,
    /// The verifier, when one was sent.
    pub verifier: Option<SecretString>,
}

/// Why a code was not exchanged.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ExchangeError {
    /// Unknown, used, expired, or of another page.
    #[error("the code is not valid")]
    Invalid,
    /// The store does not answer.
    #[error("not now: {0}")]
    Unavailable(#[from] StoreError),
}

#[derive(Serialize, Deserialize)]
struct Record {
    user: SignedIn,
    bound: Issued,
}

/// Issues codes and takes them back.
#[derive(Debug)]
pub struct Codes {
    store: Arc<Store>,
    ttl: Duration,
}

impl Codes {
    /// Codes in this store, that live so long.
    #[must_use]
    pub fn new(store: Arc<Store>, ttl: Duration) -> Self {
        Self { store, ttl }
    }

    /// How long a code lives.
    #[must_use]
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A code for somebody who has signed in. It is given out only when the
    /// store has it.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn issue(&self, user: SignedIn, bound: Issued) -> Result<SecretString, StoreError> {
        let code = secret::random()?;
        let key = Key::new("code", code.expose_secret());
        self.store.put(&key, &Record { user, bound }, self.ttl).await?;
        Ok(code)
    }

    /// Who signed in for this code. Whatever comes of it, the code is used up.
    ///
    /// # Errors
    ///
    /// [`ExchangeError`].
    pub async fn exchange(
        &self,
        code: &str,
        proof: &Proof,
    ) -> Result<(SignedIn, Option<String>), ExchangeError> {
        if !secret::is_well_formed(code) {
            return Err(ExchangeError::Invalid);
        }
        let record: Option<Record> = match self.store.take(&Key::new("code", code)).await {
            // It was taken, and is nothing that a sign-in has put there.
            Err(StoreError::Garbled) => None,
            taken => taken?,
        };
        let Record { user, bound } = record.ok_or(ExchangeError::Invalid)?;
        if bound.origin != proof.origin || !proves(proof, bound.challenge.as_deref()) {
            return Err(ExchangeError::Invalid);
        }
        Ok((user, bound.return_to))
    }
}

/// Whether the verifier is that of the challenge; one that nobody asked for
/// is as wrong as one that is missing.
fn proves(proof: &Proof, challenge: Option<&str>) -> bool {
    match (&proof.verifier, challenge) {
        (None, None) => true,
        (Some(verifier), Some(challenge)) => {
            let own = secret::s256(verifier.expose_secret());
            own.as_bytes().ct_eq(challenge.as_bytes()).into()
        }
        _ => false,
    }
}
