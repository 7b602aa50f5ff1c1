//! Tokens that follow another one of the same session: signed here when a part of
//! its life is over, at most one a minute for each session.
//!
//! What was signed is handed to all who ask with a token of that session within the
//! minute, so that any number of requests at once cost one signature. It lives
//! within one [`Verifier`], as the keys that it was signed by.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use jsonwebtoken::Header;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    claims::Claims,
    json::Members,
    jws::{MAX_CLAIMS, Parts, decode},
    known::Verified,
    mint::{MintError, algorithm, random_id},
    revocation::TokenRef,
    verify::Verifier,
};
use crate::clock::Timestamp;

/// For how long a new token is handed out in the place of signing another.
const KEEP: Duration = Duration::from_secs(60);
/// How often those that are over are looked for, and how often when it is full.
const SWEEP: Duration = Duration::from_secs(10);
const SWEEP_FULL: Duration = Duration::from_secs(1);
/// The most sessions at a time; when it is full, none is renewed.
const MOST: usize = 8192;
/// The most that all of them take, in bytes.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// What one takes beside its token and what that says, in bytes.
const OVERHEAD: usize = 512;
/// This part of a token's life passes before another one follows.
const PART: u32 = 10;

/// How long a session may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// How long a token of it lives: how long one may stay away.
    pub lifetime: Duration,
    /// How long after its sign-in it ends, whatever was renewed.
    pub absolute: Duration,
}

impl SessionLimits {
    /// When a session ends that began then.
    #[must_use]
    pub fn end(&self, began: Timestamp) -> Timestamp {
        began.plus(self.absolute)
    }
}

/// A token that was made in the place of another one.
#[derive(Debug)]
pub struct RenewedToken {
    /// Itself.
    pub token: SecretString,
    /// Its `exp`.
    pub expires_at: Timestamp,
}

/// A session that was renewed: that somebody was there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RenewedSession {
    /// Whose it is.
    pub user_id: String,
    /// Its `sid`.
    pub sid: String,
    /// When.
    pub at: Timestamp,
}

/// The place of a session: the first who comes signs, the others wait for that.
struct Slot {
    /// Those of the token that was renewed.
    claims: Arc<Claims>,
    made: Timestamp,
    weight: usize,
    token: OnceLock<Option<Arc<RenewedToken>>>,
    is_told: AtomicBool,
}

impl Slot {
    /// Also when the clock was set back: then not for longer than before.
    fn is_of_now(&self, now: Timestamp) -> bool {
        now < self.made.plus(KEEP) && self.made < now.plus(KEEP)
    }

    /// Whether these are of the same user as the token that was renewed: whoever
    /// has the key might sign two users into one session.
    fn is_for(&self, claims: &Claims) -> bool {
        self.claims.user_id == claims.user_id && self.claims.role == claims.role
    }
}

#[derive(Default)]
struct Slots {
    all: HashMap<TokenRef, Arc<Slot>>,
    bytes: usize,
    swept: Option<Timestamp>,
}

impl Slots {
    fn sweep(&mut self, now: Timestamp) {
        let is_full = self.all.len() >= MOST || self.bytes >= MAX_BYTES;
        let every = if is_full { SWEEP_FULL } else { SWEEP };
        if self.swept.is_some_and(|at| now < at.plus(every) && at < now.plus(every)) {
            return;
        }
        self.swept = Some(now);
        self.all.retain(|_, slot| slot.is_of_now(now));
        self.bytes = self.all.values().map(|slot| slot.weight).sum();
    }
}

/// The sessions that were renewed within the last minute.
#[derive(Default)]
pub(super) struct Renewals(Mutex<Slots>);

impl fmt::Debug for Renewals {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Renewals")
    }
}

impl Renewals {
    /// The place of this token's session; `None` when there is no room.
    fn slot(&self, name: TokenRef, verified: &Verified, now: Timestamp) -> Option<Arc<Slot>> {
        let mut slots = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.all.get(&name)
            && slot.is_of_now(now)
        {
            return Some(Arc::clone(slot));
        }
        slots.sweep(now);
        let weight = 2 * verified.text().len() + OVERHEAD;
        let before = slots.all.get(&name).map_or(0, |slot| slot.weight);
        let bytes = slots.bytes - before.min(slots.bytes) + weight;
        let is_new = before == 0;
        if bytes > MAX_BYTES || (is_new && slots.all.len() >= MOST) {
            return None;
        }
        let slot = Arc::new(Slot {
            claims: Arc::clone(&verified.claims),
            made: now,
            weight,
            token: OnceLock::new(),
            is_told: AtomicBool::new(false),
        });
        slots.all.insert(name, Arc::clone(&slot));
        slots.bytes = bytes;
        Some(slot)
    }
}

impl Verifier {
    /// Whether so much of a token's life is over that another one should follow.
    #[must_use]
    pub fn is_due(claims: &Claims, now: Timestamp) -> bool {
        let Some(issued_at) = claims.issued_at.filter(|_| claims.session().is_some()) else {
            return false;
        };
        now >= issued_at.plus(claims.expires_at.since(issued_at) / PART)
    }

    /// A token of the same session that says the same, and lives longer than this
    /// one; the same one for a minute. `None` when none can live longer, when it is
    /// of no session, when there is no key, or no room for another session.
    #[must_use]
    pub fn renewed(
        &self,
        verified: &Verified,
        limits: SessionLimits,
        now: Timestamp,
    ) -> Option<Arc<RenewedToken>> {
        let claims = &verified.claims;
        let (_, began) = claims.session()?;
        let end = now.plus(limits.lifetime).min(limits.end(began));
        let end = Timestamp::from_secs(end.as_secs());
        if end <= claims.expires_at || end <= now || self.keys().is_empty() {
            return None;
        }
        let slot = self.renewals.slot(verified.session_name()?, verified, now)?;
        if !slot.is_for(claims) {
            return None;
        }
        let token = slot.token.get_or_init(|| {
            let token = self.follow(verified, end, now).ok()?;
            Some(Arc::new(RenewedToken { token, expires_at: end }))
        });
        token.clone().filter(|token| token.expires_at > claims.expires_at)
    }

    /// The sessions that were renewed since this was asked last.
    #[must_use]
    pub fn renewed_sessions(&self) -> Vec<RenewedSession> {
        let slots = self.renewals.0.lock().unwrap_or_else(PoisonError::into_inner);
        let is_new = |slot: &&Arc<Slot>| {
            slot.token.get().is_some_and(Option::is_some)
                && !slot.is_told.swap(true, Ordering::Relaxed)
        };
        let told = |slot: &Arc<Slot>| {
            let (sid, _) = slot.claims.session()?;
            let user_id = slot.claims.user_id.to_string();
            Some(RenewedSession { user_id, sid: sid.to_owned(), at: slot.made })
        };
        slots.all.values().filter(is_new).filter_map(told).collect()
    }

    /// All that a token says, but for its own times and id, signed anew.
    fn follow(
        &self,
        verified: &Verified,
        end: Timestamp,
        now: Timestamp,
    ) -> Result<SecretString, MintError> {
        let key = self.keys().first().ok_or(MintError::NoKey)?;
        let mut header = Header::new(algorithm(key.algorithm()));
        header.kid = key.id().map(str::to_owned);
        let payload = Parts::split(verified.text()).and_then(|parts| decode(parts.payload));
        let payload = payload.map_err(|_| MintError::Signing)?;
        let payload = Members::parse(&payload, MAX_CLAIMS).map_err(|_| MintError::Signing)?;
        let mut payload = payload.to_map();
        payload.remove("nbf");
        let own: [(&str, Value); 3] = [
            ("iat", now.as_secs().into()),
            ("exp", end.as_secs().into()),
            ("jti", random_id()?.into()),
        ];
        payload.extend(own.map(|(name, value)| (name.to_owned(), value)));
        jsonwebtoken::encode(&header, &payload, key.signing())
            .map(SecretString::from)
            .map_err(|_| MintError::Signing)
    }
}
