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

/// Verifies passwords, as many at a time as there are cores.
#[derive(Debug)]
pub struct Hasher {
    places: Arc<Semaphore>,
    /// What a name is compared with that nobody has.
    decoy: Arc<str>,
}

impl Hasher {
    /// A hasher whose decoy costs what the accounts' hashes do.
    #[must_use]
    pub fn new(accounts: &Accounts) -> Self {
        let params = accounts
            .any_hash()
            .and_then(|hash| Params::try_from(&hash).ok())
            .or_else(|| Params::new(MIN_KIB, MIN_PASSES, 1, None).ok())
            .unwrap_or_default();
        let decoy = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
            .hash_password(b"the password of nobody")
            .map(|hash: PasswordHash| hash.to_string())
            .unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { places: Arc::new(Semaphore::new(cores)), decoy: decoy.into() }
    }

    /// Whether the password is that of the hash; without a hash it never is,
    /// and takes as long. `None` when there was no room in time.
    pub async fn verify(&self, password: SecretString, hash: Option<String>) -> Option<bool> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(MAX_WAIT, place).await.ok()?.ok()?;
        let decoy = Arc::clone(&self.decoy);
        let verified = tokio::task::spawn_blocking(move || {
            let is_somebody = hash.is_some();
            let hash = hash.as_deref().unwrap_or(&decoy);
            let matches = PasswordHash::new(hash).is_ok_and(|hash| {
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
