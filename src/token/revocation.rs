//! The tokens and users that are refused before their time.

use std::{
    collections::HashMap,
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};

use super::{claims::Claims, settings::MAX_LEEWAY};
use crate::{clock::Timestamp, hex};

/// What names one token: its `jti`, or without one its signing input.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TokenRef([u8; 32]);

impl TokenRef {
    /// The token of this `jti`.
    #[must_use]
    pub fn by_id(jti: &str) -> Self {
        // The prefix keeps a `jti` from ever naming a signing input: that
        // begins with the base64url of `{`, never with this.
        Self::hash(&[b"jti:", jti.as_bytes()].concat())
    }

    /// The token of this `jti` of an issuer of this name, or of this service.
    #[must_use]
    pub fn by_id_of(issuer: Option<&str>, jti: &str) -> Self {
        match issuer {
            None => Self::by_id(jti),
            // The name of an issuer holds no slash.
            Some(issuer) => {
                Self::hash(&[b"iss:", issuer.as_bytes(), b"/", jti.as_bytes()].concat())
            }
        }
    }

    /// All tokens of this session of this service.
    #[must_use]
    pub fn by_session(sid: &str) -> Self {
        // No `jti` and no signing input begins so, as said above.
        Self::hash(&[b"sid:", sid.as_bytes()].concat())
    }

    /// The token of this signing input (`header.payload`), for one that has
    /// no `jti`.
    #[must_use]
    pub fn by_signing_input(input: &str) -> Self {
        Self::hash(input.as_bytes())
    }

    /// The hash, for handing it to a store.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The name that [`as_bytes`](Self::as_bytes) gave, as hexadecimal.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    fn hash(bytes: &[u8]) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, bytes).as_ref());
        Self(hash)
    }
}

/// The list that every check looks into, held in memory so that no check
/// waits for the network.
///
/// It starts out as not loaded; a service whose list is not loaded does not
/// know who was shut out and lets nobody in.
#[derive(Debug, Default)]
pub struct RevocationList {
    loaded: AtomicBool,
    lists: RwLock<Lists>,
}

#[derive(Debug)]
struct Lists {
    /// Revoked tokens, and when each expires by itself.
    tokens: HashMap<TokenRef, Timestamp>,
    /// Users by id, and the second up to which all they were issued is void.
    users: HashMap<String, i64>,
    /// The second up to which all that anybody was issued is void: the latest
    /// cut-off that was forgotten. Whatever is that old has expired, unless
    /// `max_lifetime` was raised since.
    everybody: i64,
}

impl Default for Lists {
    fn default() -> Self {
        Self { tokens: HashMap::new(), users: HashMap::new(), everybody: i64::MIN }
    }
}

impl Lists {
    fn cuts_off(&self, user_id: &str, issued_at: Option<Timestamp>) -> bool {
        !self.users.is_empty()
            && self
                .users
                .get(user_id)
                .is_some_and(|cut_off| issued_at.is_none_or(|issued| issued.as_secs() <= *cut_off))
    }
}

impl RevocationList {
    /// A list that is complete and empty: for a service that shares none.
    #[must_use]
    pub fn empty() -> Self {
        let list = Self::default();
        list.set_loaded();
        list
    }

    /// Declares the list complete: from now on it can be relied upon.
    pub fn set_loaded(&self) {
        self.loaded.store(true, Ordering::Release);
    }

    /// Whether the list has been complete once.
    #[must_use]
    pub fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Refuses a token until it expires by itself. Of two ends the later one
    /// counts.
    pub fn revoke_token(&self, token: TokenRef, expires_at: Timestamp) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let end = lists.tokens.entry(token).or_insert(expires_at);
        *end = expires_at.max(*end);
    }

    /// Refuses all that the user was issued up to and in that second. A
    /// cut-off is never moved back.
    pub fn cut_off_user(&self, user_id: &str, at: Timestamp) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let cut_off = lists.users.entry(user_id.to_owned()).or_insert(i64::MIN);
        *cut_off = at.as_secs().max(*cut_off);
    }

    /// Refuses all that anybody was issued up to and in that second.
    pub fn cut_off_everybody(&self, at: Timestamp) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        lists.everybody = at.as_secs().max(lists.everybody);
    }

    /// How many tokens are on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.lists.read().unwrap_or_else(PoisonError::into_inner).tokens.len()
    }

    /// Whether nobody is shut out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.tokens.is_empty() && lists.users.is_empty()
    }

    /// Forgets the tokens that nobody accepts any more, by whatever leeway, and
    /// the cut-offs that are older than `kept`. The latest of these holds for
    /// everybody from then on: no token is that old, unless tokens that live
    /// longer than before are accepted now.
    pub fn forget(&self, now: Timestamp, kept: Duration) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let Lists { tokens, users, everybody } = &mut *lists;
        tokens.retain(|_, expires_at| now < expires_at.plus(MAX_LEEWAY));
        users.retain(|_, at| {
            let stays = now < Timestamp::from_secs(*at).plus(kept);
            if !stays {
                *everybody = (*at).max(*everybody);
            }
            stays
        });
    }

    /// Whether all is void that this user was issued at that time. What nobody knows
    /// the time of is void with all of the user's.
    #[must_use]
    pub fn cuts_off(&self, user_id: &str, issued_at: Option<Timestamp>) -> bool {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        lists.cuts_off(user_id, issued_at)
    }

    /// Whether the token of these claims, issued then and of this name, is
    /// refused, or its session. One of which nobody knows when it was issued is
    /// cut off with all of its user's.
    pub fn refuses(
        &self,
        claims: &Claims,
        issued_at: Option<Timestamp>,
        names: impl FnOnce() -> (TokenRef, Option<TokenRef>),
    ) -> bool {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        let is_of_everybody = |issued: Timestamp| issued.as_secs() <= lists.everybody;
        if issued_at.is_some_and(is_of_everybody)
            || lists.cuts_off(claims.user_id.as_str(), issued_at)
        {
            return true;
        }
        if lists.tokens.is_empty() {
            return false;
        }
        let (token, session) = names();
        let is_listed = |name: &TokenRef| lists.tokens.contains_key(name);
        is_listed(&token) || session.as_ref().is_some_and(is_listed)
    }

    /// Whether a session that began then is over: ended, or cut off with its user.
    #[must_use]
    pub fn has_ended(&self, sid: &str, user_id: &str, began: Timestamp) -> bool {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        let began = began.as_secs();
        began <= lists.everybody
            || lists.users.get(user_id).is_some_and(|cut_off| began <= *cut_off)
            || lists.tokens.contains_key(&TokenRef::by_session(sid))
    }
}
