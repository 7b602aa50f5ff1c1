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

use super::claims::Claims;
use crate::clock::Timestamp;

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
        let mut bytes = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
        }
        Some(Self(bytes))
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

#[derive(Debug, Default)]
struct Lists {
    /// Revoked tokens, and when each expires by itself.
    tokens: HashMap<TokenRef, Timestamp>,
    /// Users by id, and the second up to which all they were issued is void.
    users: HashMap<String, i64>,
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

    /// Refuses a token until it expires by itself.
    pub fn revoke_token(&self, token: TokenRef, expires_at: Timestamp) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        lists.tokens.insert(token, expires_at);
    }

    /// Refuses all that the user was issued up to and in that second. A
    /// cut-off is never moved back.
    pub fn cut_off_user(&self, user_id: &str, at: Timestamp) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        let cut_off = lists.users.entry(user_id.to_owned()).or_insert(i64::MIN);
        *cut_off = at.as_secs().max(*cut_off);
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

    /// Forgets tokens that have expired by themselves, `leeway` ago.
    pub fn forget_expired(&self, now: Timestamp, leeway: Duration) {
        let mut lists = self.lists.write().unwrap_or_else(PoisonError::into_inner);
        lists.tokens.retain(|_, expires_at| now < expires_at.plus(leeway));
    }

    /// Whether the token of these claims, issued then and of this name, is
    /// refused. One of which nobody knows when it was issued is cut off with
    /// all of its user's.
    pub fn refuses(
        &self,
        claims: &Claims,
        issued_at: Option<Timestamp>,
        name: impl FnOnce() -> TokenRef,
    ) -> bool {
        let lists = self.lists.read().unwrap_or_else(PoisonError::into_inner);
        if !lists.users.is_empty()
            && let Some(cut_off) = lists.users.get(claims.user_id.as_str())
            && issued_at.is_none_or(|issued| issued.as_secs() <= *cut_off)
        {
            return true;
        }
        !lists.tokens.is_empty() && lists.tokens.contains_key(&name())
    }
}
