//! Tokens whose signature was verified, so that the next request with one of
//! them need not have it verified again.
//!
//! A token is remembered when it is met for the second time: those that come
//! once would only push others out. What is remembered is only what does not
//! change: that a key of this
//! verifier has signed the token, what it says, and what names it. Times,
//! parties and revocation are looked at every time. It lives within one
//! [`Verifier`](super::Verifier), so that other keys remember nothing of these.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use aws_lc_rs::constant_time::verify_slices_are_equal;

use super::{claims::Claims, revocation::TokenRef};

/// How many tokens are remembered; each has one place.
const PLACES: usize = 8192;
/// The longest token that is, in bytes: all of them are at most 8 MiB.
const MAX_TOKEN_BYTES: usize = 1024;

/// A token that a key has signed.
pub(super) struct Known {
    token: Box<str>,
    /// What it says.
    pub(super) claims: Arc<Claims>,
    name: OnceLock<TokenRef>,
}

impl Known {
    fn new(token: &str, claims: &Arc<Claims>) -> Self {
        Self { token: token.into(), claims: Arc::clone(claims), name: OnceLock::new() }
    }

    /// What names it.
    pub(super) fn name(&self) -> TokenRef {
        *self.name.get_or_init(|| name(&self.token, &self.claims))
    }
}

/// What names a token of these claims.
pub(super) fn name(token: &str, claims: &Claims) -> TokenRef {
    match &claims.token_id {
        Some(jti) => TokenRef::by_id(jti),
        None => TokenRef::by_signing_input(token.rsplit_once('.').map_or("", |(input, _)| input)),
    }
}

/// Where a token is kept, and the end of the signature of the one that was met
/// there last: as good as random, and of no use without the rest.
#[derive(Default)]
struct Place {
    known: ArcSwapOption<Known>,
    met: AtomicU64,
}

/// The tokens that were seen last.
pub(super) struct KnownTokens(Box<[Place]>);

impl Default for KnownTokens {
    fn default() -> Self {
        Self((0..PLACES).map(|_| Place::default()).collect())
    }
}

impl fmt::Debug for KnownTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownTokens")
    }
}

impl KnownTokens {
    /// The token, when it is known to the last byte.
    pub(super) fn find(&self, token: &str) -> Option<Arc<Known>> {
        let (place, _) = self.place(token)?;
        let known = place.known.load_full()?;
        let (message, signature) = token.rsplit_once('.')?;
        let (own_message, own_signature) = known.token.rsplit_once('.')?;
        // The signature first, and in constant time: who does not have it
        // learns nothing of a token that somebody else has sent.
        verify_slices_are_equal(own_signature.as_bytes(), signature.as_bytes()).ok()?;
        (own_message == message).then_some(known)
    }

    /// Notes a token that was verified; one that was met here last is kept, in
    /// the place of whichever was there.
    pub(super) fn meet(&self, token: &str, claims: &Arc<Claims>) {
        if token.len() <= MAX_TOKEN_BYTES
            && let Some((place, end)) = self.place(token)
            && place.met.swap(end, Ordering::Relaxed) == end
        {
            place.known.store(Some(Arc::new(Known::new(token, claims))));
        }
    }

    /// Where a token is kept, and the end of its signature. That of a good one
    /// is as good as random, and nothing else is kept.
    fn place(&self, token: &str) -> Option<(&Place, u64)> {
        let end = u64::from_le_bytes(*token.as_bytes().last_chunk()?);
        // The last character has but four bits.
        let at = usize::try_from(end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).ok()?;
        Some((self.0.get(at % PLACES)?, end))
    }
}
