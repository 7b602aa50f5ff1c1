//! Passwords: argon2id (RFC 9106), hashed off the async threads.

use std::{sync::Arc, time::Duration};

use argon2::{
    Algorithm, Argon2, Params, PasswordHasher as _, PasswordVerifier as _, Version,
    password_hash::phc::PasswordHash,
};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;

use super::account::Accounts;

/// The weakest parameters: OWASP's, 19 MiB, 2 passes, 1 lane.
const MIN_KIB: u32 = 19 * 1024;
const MIN_PASSES: u32 = 2;
/// The strongest ones: a hash must not take the machine away.
const MAX_KIB: u32 = 1024 * 1024;
const MAX_PASSES: u32 = 16;

/// How long a sign-in waits for a free core before it is told to come back.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Hashes a password, for a users file.
///
/// # Errors
///
/// A sentence, when it cannot be hashed.
pub fn hash(password: &SecretString) -> Result<String, String> {
    if password.expose_secret().is_empty() {
        return Err("the password is empty".into());
    }
    let params = Params::new(MIN_KIB, MIN_PASSES, 1, None).map_err(|error| error.to_string())?;
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password(password.expose_secret().as_bytes())
        .map(|hash: PasswordHash| hash.to_string())
        .map_err(|error| error.to_string())
}

/// Checks that a hash is argon2id and strong enough, and no stronger than
/// this service can afford.
pub(super) fn check_hash(hash: &SecretString) -> Result<(), String> {
    let malformed = || "it is not an argon2id hash in PHC form".to_owned();
    let hash = PasswordHash::new(hash.expose_secret()).map_err(|_| malformed())?;
    if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || hash.salt.is_none() {
        return Err(malformed());
    }
    let params = Params::try_from(&hash).map_err(|_| malformed())?;
    let weak = params.m_cost() < MIN_KIB || params.t_cost() < MIN_PASSES;
    let strong = params.m_cost() > MAX_KIB || params.t_cost() > MAX_PASSES;
    if weak || strong {
        return Err(format!(
            "it has {} KiB and {} passes; {MIN_KIB} to {MAX_KIB} KiB and {MIN_PASSES} to \
             {MAX_PASSES} passes are taken",
            params.m_cost(),
            params.t_cost()
        ));
    }
    Ok(())
}

/// What a hash costs: memory times passes. Zero for what is no hash.
pub(super) fn cost(hash: &SecretString) -> u64 {
    let params =
        PasswordHash::new(hash.expose_secret()).ok().and_then(|hash| Params::try_from(&hash).ok());
    params.map_or(0, |params| u64::from(params.m_cost()) * u64::from(params.t_cost()))
}

/// A hash of the weakest parameters that no password has: its value is made
/// up. For a service that has no account whose hash could be taken.
const NOBODYS: &str = "$argon2id$v=19$m=19456,t=2,p=1$bm9ib2R5J3Mgc2FsdCE$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Verifies passwords, as many at a time as there are cores.
#[derive(Clone, Debug)]
pub struct Hasher {
    places: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { places: Arc::new(Semaphore::new(cores)) }
    }
}

impl Hasher {
    /// Whether the password is that of the hash; without a hash it never is,
    /// and takes as long as the costliest of the accounts. `None` when there
    /// was no room in time.
    pub(super) async fn verify(
        &self,
        password: SecretString,
        hash: Option<SecretString>,
        accounts: &Accounts,
    ) -> Option<bool> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(MAX_WAIT, place).await.ok()?.ok()?;
        let is_somebody = hash.is_some();
        let hash =
            hash.or_else(|| accounts.costliest_hash().cloned()).unwrap_or_else(|| NOBODYS.into());
        let verified = tokio::task::spawn_blocking(move || {
            let matches = PasswordHash::new(hash.expose_secret()).is_ok_and(|hash| {
                Argon2::default()
                    .verify_password(password.expose_secret().as_bytes(), &hash)
                    .is_ok()
            });
            // Held until the work is done, also when nobody waits any more.
            drop(place);
            matches && is_somebody
        });
        verified.await.ok()
    }
}
