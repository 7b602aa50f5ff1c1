//! Tokens whose signature was verified, so that the next request with one of
//! them need not have it verified again.
//!
//! What is remembered is only what does not change: that a key of this
//! verifier has signed the token, what it says, and what names it. Times,
//! parties and revocation are looked at every time. It lives within one
//! [`Verifier`](super::Verifier), so that other keys remember nothing of these.

use std::{
    fmt,
    sync::{Arc, OnceLock},
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
    pub(super) fn new(token: &str, claims: Claims) -> Self {
        Self { token: token.into(), claims: Arc::new(claims), name: OnceLock::new() }
    }

    /// What names it.
    pub(super) fn name(&self) -> TokenRef {
        let signing_input = || self.token.rsplit_once('.').map_or("", |(input, _)| input);
        let name = || match &self.claims.token_id {
            Some(jti) => TokenRef::by_id(jti),
            None => TokenRef::by_signing_input(signing_input()),
        };
        *self.name.get_or_init(name)
    }
}

/// The tokens that were seen last.
pub(super) struct KnownTokens(Box<[ArcSwapOption<Known>]>);

impl Default for KnownTokens {
    fn default() -> Self {
        Self((0..PLACES).map(|_| ArcSwapOption::empty()).collect())
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
        let known = self.place(token)?.load_full()?;
        let (message, signature) = token.rsplit_once('.')?;
        let (own_message, own_signature) = known.token.rsplit_once('.')?;
        // The signature first, and in constant time: who does not have it
        // learns nothing of a token that somebody else has sent.
        verify_slices_are_equal(own_signature.as_bytes(), signature.as_bytes()).ok()?;
        (own_message == message).then_some(known)
    }

    /// Remembers a token, in the place of whichever was there.
    pub(super) fn keep(&self, known: &Arc<Known>) {
        if known.token.len() <= MAX_TOKEN_BYTES
            && let Some(place) = self.place(&known.token)
        {
            place.store(Some(Arc::clone(known)));
        }
    }

    /// Where a token is kept. The end of a good signature is as good as random,
    /// and nothing else is kept.
    fn place(&self, token: &str) -> Option<&ArcSwapOption<Known>> {
        let end = token.as_bytes().last_chunk::<8>()?;
        let at = end.iter().fold(0_usize, |at, byte| at.wrapping_mul(67) ^ usize::from(*byte));
        self.0.get(at % PLACES)
    }
}
