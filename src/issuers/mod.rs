//! Issuers over the network: what they say of themselves, and their keys, kept
//! up to date for whoever verifies. Single sign-on and the verification of tokens
//! share what is here.
//!
//! ```text
//! token names a key that is not there ──> IssuerKeys::miss ──> Follower, at most once a minute
//! at the start, and at `refresh` ──────────────────────────── > Follower
//!                                                               discovery, fetch: the set
//!                                         IssuerKeys::put  <──  and the store, for who starts later
//! ```
//!
//! Nothing on the path of a check waits for any of it.

mod discovery;
mod fetch;
mod followed;
mod follower;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod pace;
mod watch;

use std::time::Duration;

use url::Url;

pub(crate) use self::discovery::discover;
#[cfg(any(test, fuzzing))]
pub(crate) use self::discovery::understood;
pub use self::{
    discovery::{is_loopback, may_be_asked},
    fetch::{Fetch, FetchError},
    followed::Followed,
    follower::{Fetched, fetch_once},
    watch::{KeyWatch, Said},
};
use aws_lc_rs::digest::{Context, SHA256};

use crate::token::Algorithm;

/// Where the keys of an issuer come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeySource {
    /// The issuer's name in logs and metrics.
    pub name: String,
    /// Its `iss`.
    pub issuer: String,
    /// Where its keys are; without it, its metadata tell.
    pub jwks_uri: Option<Url>,
    /// What they are used for.
    pub algorithms: Vec<Algorithm>,
    /// How often they are fetched.
    pub refresh: Duration,
    /// How long the last good ones serve while it cannot be reached.
    pub stale_for: Duration,
    /// The certificates of the authorities by which it is known, in PEM; the
    /// usual ones without.
    pub authorities: Option<Vec<u8>>,
    /// Whether it may be asked without TLS.
    pub insecure_http: bool,
}

impl KeySource {
    /// What names the place of its keys, and the way to it: of two configurations one may
    /// have another place under one name.
    #[must_use]
    pub fn place(&self) -> [u8; 32] {
        let mut digest = Context::new(&SHA256);
        let uri = self.jwks_uri.as_ref().map_or("", Url::as_str);
        let authorities = self.authorities.as_deref();
        let parts = [self.issuer.as_bytes(), uri.as_bytes(), authorities.unwrap_or_default()];
        for part in parts {
            digest.update(&part.len().to_be_bytes());
            digest.update(part);
        }
        digest.update(&[u8::from(self.insecure_http), u8::from(authorities.is_some())]);
        let mut place = [0; 32];
        place.copy_from_slice(digest.finish().as_ref());
        place
    }

    /// Whether the keys of the other are these: from one place, on a way that is
    /// trusted alike.
    fn is_same_place(&self, other: &Self) -> bool {
        let of = |source: &Self| (source.jwks_uri.clone(), source.insecure_http);
        self.issuer == other.issuer
            && of(self) == of(other)
            && self.authorities == other.authorities
    }
}
