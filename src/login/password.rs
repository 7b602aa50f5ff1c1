//! Passwords: argon2id (RFC 9106), hashed off the async threads.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use argon2::{
    Algorithm, Argon2, Block, Params, PasswordHasher as _, Version,
    password_hash::phc::PasswordHash,
};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::ConstantTimeEq as _;
use tokio::sync::Semaphore;

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

/// What the time of a hash depends on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cost {
    kib: u32,
    passes: u32,
    lanes: u32,
    /// Version 1.0 of the algorithm writes where 1.3 combines.
    is_old: bool,
}

impl Cost {
    /// What a hash costs that is argon2id and strong enough, and no stronger
    /// than this service can afford.
    pub(super) fn of(hash: &SecretString) -> Result<Self, String> {
        let malformed = || "it is not an argon2id hash in PHC form".to_owned();
        let hash = PasswordHash::new(hash.expose_secret()).map_err(|_| malformed())?;
        if hash.algorithm.as_str() != "argon2id" || hash.hash.is_none() || hash.salt.is_none() {
            return Err(malformed());
        }
        let params = Params::try_from(&hash).map_err(|_| malformed())?;
        let (kib, passes) = (params.m_cost(), params.t_cost());
        let (weak, strong) =
            (kib < MIN_KIB || passes < MIN_PASSES, kib > MAX_KIB || passes > MAX_PASSES);
        if weak || strong {
            return Err(format!(
                "it has {kib} KiB and {passes} passes; {MIN_KIB} to {MAX_KIB} KiB and \
                 {MIN_PASSES} to {MAX_PASSES} passes are taken"
            ));
        }
        let is_old = hash.version == Some(Version::V0x10.into());
        Ok(Self { kib, passes, lanes: params.p_cost(), is_old })
    }

    /// Spends it on a password that is nobody's.
    fn spend(self, password: &[u8], blocks: &mut Vec<Block>) {
        if let Ok(params) = Params::new(self.kib, self.passes, self.lanes, None) {
            let mut hash = [0; Params::DEFAULT_OUTPUT_LEN];
            let spent = self.fill(params, password, NOBODYS_SALT, &mut hash, blocks);
            // Not to be left out for the reason that nobody wants it.
            let _ = std::hint::black_box((spent, hash));
        }
    }

    /// Spends it on a password: whether the hash is that of the password.
    fn is_of(self, hash: &SecretString, password: &[u8], blocks: &mut Vec<Block>) -> Option<bool> {
        let hash = PasswordHash::new(hash.expose_secret()).ok()?;
        let params = Params::try_from(&hash).ok()?;
        let (salt, wanted) = (hash.salt?, hash.hash?);
        let mut own = vec![0; wanted.len()];
        self.fill(params, password, salt.as_ref(), &mut own, blocks)?;
        Some(own.ct_eq(wanted.as_ref()).into())
    }

    fn fill(
        self,
        params: Params,
        password: &[u8],
        salt: &[u8],
        hash: &mut [u8],
        blocks: &mut Vec<Block>,
    ) -> Option<()> {
        let version = if self.is_old { Version::V0x10 } else { Version::V0x13 };
        let count = params.block_count();
        if blocks.len() < count {
            blocks.resize(count, Block::default());
        }
        let argon2 = Argon2::new(Algorithm::Argon2id, version, params);
        let blocks = blocks.get_mut(..count)?;
        argon2.hash_password_into_with_memory(password, salt, hash, blocks).ok()
    }
}

const NOBODYS_SALT: &[u8] = b"nobody's salt...";

/// What the hashes of all accounts cost: each cost once.
///
/// A sign-in spends all of them, one after the other, whoever it is: nothing
/// else takes the same time for every name. To spend the costliest alone, and
/// on a cheaper hash what is left of it, is a guess: how long a block takes
/// depends on how much memory is gone through, and on whose caches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Costs(BTreeSet<Cost>);

impl Default for Costs {
    /// The cost of a service without an account.
    fn default() -> Self {
        Self(BTreeSet::from([Cost { kib: MIN_KIB, passes: MIN_PASSES, lanes: 1, is_old: false }]))
    }
}

impl Costs {
    /// The costs of these hashes.
    pub(super) fn new(costs: BTreeSet<Cost>) -> Self {
        if costs.is_empty() { Self::default() } else { Self(costs) }
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.0.len()
    }

    /// Spends them all on a password. Whether it is that of the hash; without
    /// a hash it never is.
    fn verify(
        &self,
        password: &SecretString,
        hash: Option<&SecretString>,
        blocks: &mut Vec<Block>,
    ) -> bool {
        let password = password.expose_secret().as_bytes();
        let own = hash.and_then(|hash| Cost::of(hash).ok().zip(Some(hash)));
        let mut is_right = false;
        for cost in &self.0 {
            match own {
                Some((of_hash, hash)) if of_hash == *cost => {
                    is_right = cost.is_of(hash, password, blocks).unwrap_or(false);
                }
                _ => cost.spend(password, blocks),
            }
        }
        is_right
    }
}

/// Verifies passwords, as many at a time as there are cores.
#[derive(Clone, Debug)]
pub struct Hasher {
    places: Arc<Semaphore>,
    spare: Arc<Spare>,
    count: usize,
}

impl Default for Hasher {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        Self { places: Arc::new(Semaphore::new(cores)), spare: Arc::default(), count: cores }
    }
}

/// The memory of passwords that were verified, for those that wait: what is given back
/// and taken anew by another thread is in use twice for a while.
#[derive(Default)]
struct Spare(Mutex<Vec<Vec<Block>>>);

impl std::fmt::Debug for Spare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Spare")
    }
}

impl Spare {
    fn take(&self) -> Vec<Block> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, blocks: Vec<Block>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(blocks);
    }

    fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}

impl Hasher {
    /// Whether the password is that of the hash, which is one of these costs;
    /// without a hash it never is, and takes as long. `None` when there was no
    /// room in time.
    pub(super) async fn verify(
        &self,
        password: SecretString,
        hash: Option<SecretString>,
        costs: &Arc<Costs>,
    ) -> Option<bool> {
        let place = Arc::clone(&self.places).acquire_owned();
        let place = tokio::time::timeout(MAX_WAIT, place).await.ok()?.ok()?;
        let (costs, this) = (Arc::clone(costs), self.clone());
        let verified = tokio::task::spawn_blocking(move || {
            let mut blocks = this.spare.take();
            let is_right = costs.verify(&password, hash.as_ref(), &mut blocks);
            this.spare.put(blocks);
            // Held until the work is done, also when nobody waits any more.
            drop(place);
            // Whoever waits has the place by now: where all are free, nobody does.
            if this.places.available_permits() == this.count {
                this.spare.clear();
            }
            is_right
        });
        verified.await.ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hashed(password: &str, kib: u32, passes: u32, version: Version) -> SecretString {
        let params = Params::new(kib, passes, 1, None).unwrap();
        let argon2 = Argon2::new(Algorithm::Argon2id, version, params);
        let hash: PasswordHash = argon2.hash_password(password.as_bytes()).unwrap();
        hash.to_string().into()
    }

    #[test]
    fn a_password_is_verified_among_hashes_of_any_cost() {
        let hashes = [
            hashed("one", MIN_KIB, 2, Version::V0x13),
            hashed("two", MIN_KIB, 3, Version::V0x13),
            hashed("three", 20 * 1024, 2, Version::V0x13),
            hashed("four", MIN_KIB, 2, Version::V0x10),
        ];
        let costs = hashes.iter().map(|hash| Cost::of(hash).unwrap()).collect();
        let costs = Costs::new(costs);
        assert_eq!(costs.count(), 4);
        // What one leaves in the memory is nothing to the next.
        let mut blocks = Vec::new();
        for (hash, own) in hashes.iter().zip(["one", "two", "three", "four"]) {
            for password in ["one", "two", "three", "four"] {
                let is_right = costs.verify(&password.into(), Some(hash), &mut blocks);
                assert_eq!(is_right, password == own, "{password}");
            }
        }
        assert!(!costs.verify(&"one".into(), None, &mut blocks));
        assert!(!Costs::default().verify(&"one".into(), None, &mut blocks));
    }

    #[test]
    fn a_hash_is_taken_that_is_argon2id_and_neither_weak_nor_beyond_what_can_be_spent() {
        let hash = |algorithm: &str, kib: u32, passes: u32, rest: &str| {
            let hash = format!("${algorithm}$v=19$m={kib},t={passes},p=1{rest}");
            Cost::of(&hash.into()).map(|cost| (cost.kib, cost.passes))
        };
        let rest = "$c29tZXNhbHRzb21lc2FsdA$AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
        for (kib, passes, is_taken) in [
            (19_456, 2, true),
            (19_455, 2, false),
            (19_456, 1, false),
            (1_048_576, 16, true),
            (1_048_577, 16, false),
            (1_048_576, 17, false),
        ] {
            let expected = if is_taken {
                Ok((kib, passes))
            } else {
                Err(format!(
                    "it has {kib} KiB and {passes} passes; 19456 to 1048576 KiB and 2 to 16 \
                     passes are taken"
                ))
            };
            assert_eq!(hash("argon2id", kib, passes, rest), expected);
        }
        let malformed = Err("it is not an argon2id hash in PHC form".to_owned());
        assert_eq!(hash("argon2i", 19_456, 2, rest), malformed);
        assert_eq!(hash("argon2id", 19_456, 2, ""), malformed);
        assert_eq!(hash("argon2id", 19_456, 2, "$c29tZXNhbHRzb21lc2FsdA"), malformed);
    }

    #[test]
    fn a_name_that_is_nobodys_takes_up_what_the_costliest_account_does() {
        let kib = |kib| Cost { kib, passes: 2, lanes: 1, is_old: false };
        let costs = Costs::new(BTreeSet::from([kib(MIN_KIB), kib(MIN_KIB + 1024)]));
        let mut blocks = Vec::new();
        assert!(!costs.verify(&"one".into(), None, &mut blocks));
        assert_eq!(blocks.len(), 20 * 1024);
    }

    #[tokio::test]
    async fn memory_is_kept_while_others_are_at_it_and_given_back_by_the_last() {
        let places = Arc::new(Semaphore::new(2));
        let hasher = Hasher { places, spare: Arc::default(), count: 2 };
        let costs = Arc::new(Costs::default());
        let other = Arc::clone(&hasher.places).acquire_owned().await.unwrap();
        assert_eq!(hasher.verify("one".into(), None, &costs).await, Some(false));
        let kept = hasher.spare.take();
        assert_eq!(kept.len(), 19 * 1024);
        hasher.spare.put(kept);
        // What somebody prints is not all of that memory.
        assert!(format!("{hasher:?}").contains("spare: Spare,"));
        drop(other);
        assert_eq!(hasher.verify("one".into(), None, &costs).await, Some(false));
        assert!(hasher.spare.take().is_empty());
    }
}
