//! Tokens whose signature was verified, so that the next request with one of
//! them need not have it verified again.
//!
//! A token is remembered when it is met for the second time: those that come
//! once would only push others out. What is remembered is only what does not
//! change: that a key has signed the token, what it says, and what names it.
//! Times, parties and revocation are looked at every time, and whether the key
//! is still one of its issuer's. It lives within one
//! [`Verifier`](super::Verifier), so that other keys remember nothing of these.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use arc_swap::ArcSwapOption;
use aws_lc_rs::constant_time::verify_slices_are_equal;
use serde_json::{Map, Value};

use super::{claims::Claims, key_set::KeySet, minted_tokens::MintedTokens, revocation::TokenRef};

/// How many tokens are remembered; each has one place.
const PLACES: usize = 8192;
/// The longest token that is, in bytes: as long as a credential may be.
const MAX_TOKEN_BYTES: usize = 8 * 1024;
/// The most that all of them take, in bytes, beside what is minted of them.
const MAX_BYTES: i64 = 16 * 1024 * 1024;
/// What one takes beside its text and what that says, in bytes.
const OVERHEAD: usize = 512;
/// How often as long as its text its payload is, parsed: a list of numbers is.
const PAYLOAD_TIMES: usize = 16;
/// How many places are emptied at most to make room for one.
const MAX_EMPTIED: usize = 64;

/// A token that a key has signed.
pub struct Verified {
    token: Box<str>,
    /// Where its signature begins, behind the last dot.
    signature_at: usize,
    /// What it says.
    pub claims: Arc<Claims>,
    /// Where its issuer is among those of the verifier, and the keys that it was
    /// verified by; none for a token of this service.
    pub(super) source: Option<(usize, Arc<KeySet>)>,
    name: OnceLock<TokenRef>,
    session: OnceLock<Option<TokenRef>>,
    /// Whether it stands for a key for machines: then its text is no secret, and
    /// nothing that anybody could send.
    is_key: bool,
    /// All that it says, where conditions may ask for it.
    payload: Option<Map<String, Value>>,
    /// What was made of it for upstreams.
    pub(super) minted: MintedTokens,
}

/// Without the token.
impl fmt::Debug for Verified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Verified").field("claims", &self.claims).finish_non_exhaustive()
    }
}

impl Verified {
    pub(super) fn new(
        token: &str,
        claims: Claims,
        source: Option<(usize, Arc<KeySet>)>,
        payload: Option<Map<String, Value>>,
    ) -> Self {
        Self {
            token: token.into(),
            signature_at: token.rfind('.').map_or(0, |dot| dot + 1),
            claims: Arc::new(claims),
            source,
            name: OnceLock::new(),
            session: OnceLock::new(),
            is_key: false,
            payload,
            minted: MintedTokens::default(),
        }
    }

    /// What a key for machines says, as if a token had said it. `name` names the key
    /// as it is now, and is no secret.
    pub(crate) fn of_key(name: &str, claims: Claims, payload: Map<String, Value>) -> Self {
        Self { is_key: true, ..Self::new(name, claims, None, Some(payload)) }
    }

    /// Whether it is this token to the last byte.
    fn is(&self, token: &str) -> bool {
        let at = self.signature_at;
        let (Some((message, signature)), Some((own_message, own_signature))) =
            (token.split_at_checked(at), self.token.split_at_checked(at))
        else {
            return false;
        };
        // The signature first, and in constant time: who does not have it
        // learns nothing of a token that somebody else has sent.
        verify_slices_are_equal(own_signature.as_bytes(), signature.as_bytes()).is_ok()
            && own_message == message
    }

    /// What it takes, in bytes: what it says is about as long as its text.
    fn weight(&self) -> i64 {
        let times = if self.payload.is_some() { 2 + PAYLOAD_TIMES } else { 2 };
        i64::try_from(times * self.token.len() + OVERHEAD).unwrap_or(i64::MAX)
    }

    /// All that it says, where conditions may ask for it.
    #[must_use]
    pub fn payload(&self) -> Option<&Map<String, Value>> {
        self.payload.as_ref()
    }

    fn is_of_the_same_keys(&self, other: &Self) -> bool {
        match (&self.source, &other.source) {
            (None, None) => true,
            (Some((_, one)), Some((_, other))) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// What names it.
    #[must_use]
    pub fn name(&self) -> TokenRef {
        *self.name.get_or_init(|| name(&self.token, &self.claims))
    }

    /// What names its session of this service, where it is of one.
    #[must_use]
    pub fn session_name(&self) -> Option<TokenRef> {
        *self.session.get_or_init(|| self.claims.own_session_id().map(TokenRef::by_session))
    }

    /// The token itself.
    pub(super) fn text(&self) -> &str {
        &self.token
    }
}

/// What names a token of these claims: its `jti`, which is its issuer's own
/// matter, or without one its signing input.
fn name(token: &str, claims: &Claims) -> TokenRef {
    match &claims.token_id {
        Some(jti) => TokenRef::by_id_of(claims.issued_by.as_deref(), jti),
        None => TokenRef::by_signing_input(token.rsplit_once('.').map_or("", |(input, _)| input)),
    }
}

/// Where a token is kept, and the end of the signature of the one that was met
/// there last: as good as random, and of no use without the rest.
#[derive(Default)]
struct Place {
    known: ArcSwapOption<Verified>,
    met: AtomicU64,
}

/// The tokens that were seen last.
pub(super) struct KnownTokens {
    places: Box<[Place]>,
    /// What all of them take: below nothing for a moment, when one goes before it
    /// was counted.
    bytes: AtomicI64,
    /// The place that is emptied next, when they are too long.
    hand: AtomicUsize,
}

impl Default for KnownTokens {
    fn default() -> Self {
        let places = (0..PLACES).map(|_| Place::default()).collect();
        Self { places, bytes: AtomicI64::new(0), hand: AtomicUsize::new(0) }
    }
}

impl fmt::Debug for KnownTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KnownTokens")
    }
}

impl KnownTokens {
    /// The token, when it is known to the last byte.
    pub(super) fn find(&self, token: &str) -> Option<Arc<Verified>> {
        let (place, _) = self.place(token)?;
        let known = place.known.load_full()?;
        // Who knows the name of a key has not the key.
        (!known.is_key && known.is(token)).then_some(known)
    }

    /// Notes a token that was verified, and gives back the one to work with; one
    /// that was met here last is kept, in the place of whichever was there. Never
    /// in that of the same one, to which others may have added meanwhile.
    pub(super) fn meet(&self, verified: Arc<Verified>) -> Arc<Verified> {
        match self.place(&verified.token) {
            Some((place, end)) if place.met.swap(end, Ordering::Relaxed) == end => {
                self.keep(&verified)
            }
            _ => verified,
        }
    }

    /// Keeps a token at once, and gives back the one to work with: somebody else
    /// may have kept the same one in the meantime.
    pub(super) fn keep(&self, verified: &Arc<Verified>) -> Arc<Verified> {
        let Some((place, _)) = self.place(&verified.token) else { return Arc::clone(verified) };
        let is_same = |known: &Arc<Verified>| {
            known.is_key == verified.is_key
                && known.is(&verified.token)
                && known.is_of_the_same_keys(verified)
        };
        loop {
            let known = place.known.load_full();
            if let Some(known) = known.clone().filter(is_same) {
                return known;
            }
            let before = place.known.compare_and_swap(&known, Some(Arc::clone(verified)));
            let before: Option<Arc<Verified>> = before.clone();
            if before.as_ref().map(Arc::as_ptr) == known.as_ref().map(Arc::as_ptr) {
                self.weigh(known.as_ref(), Some(verified));
                return Arc::clone(verified);
            }
        }
    }

    fn put(&self, place: &Place, verified: Option<&Arc<Verified>>) {
        let before = place.known.swap(verified.map(Arc::clone));
        self.weigh(before.as_ref(), verified);
    }

    /// Counts what has come and gone, and makes room when it is too much.
    fn weigh(&self, gone: Option<&Arc<Verified>>, come: Option<&Arc<Verified>>) {
        let weight = |token: Option<&Arc<Verified>>| token.map_or(0, |known| known.weight());
        let change = weight(come) - weight(gone);
        let all = self.bytes.fetch_add(change, Ordering::Relaxed) + change;
        if all <= MAX_BYTES || come.is_none() {
            return;
        }
        for _ in 0..MAX_EMPTIED {
            let at = self.hand.fetch_add(1, Ordering::Relaxed) % PLACES;
            if let Some(place) = self.places.get(at) {
                self.put(place, None);
            }
            if self.bytes.load(Ordering::Relaxed) <= MAX_BYTES {
                return;
            }
        }
    }

    /// Where a token is kept, and the end of its signature. That of a good one
    /// is as good as random, and nothing else is kept.
    fn place(&self, token: &str) -> Option<(&Place, u64)> {
        let end = u64::from_le_bytes(*token.as_bytes().last_chunk()?);
        if token.len() > MAX_TOKEN_BYTES {
            return None;
        }
        // The last character has but four bits.
        let at = usize::try_from(end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).ok()?;
        Some((self.places.get(at % PLACES)?, end))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::tests::claims_of as claims;

    fn of(token: &str, name: &str) -> Arc<Verified> {
        Arc::new(Verified::new(token, claims(name), None, None))
    }

    #[test]
    fn one_that_is_met_twice_is_known() {
        let known = KnownTokens::default();
        let (first, second) = (of("a.b.12345678", "ann"), of("a.b.12345678", "ann"));
        assert!(Arc::ptr_eq(&known.meet(Arc::clone(&first)), &first));
        assert!(known.find("a.b.12345678").is_none());
        assert!(Arc::ptr_eq(&known.meet(Arc::clone(&second)), &second));
        assert!(Arc::ptr_eq(&known.find("a.b.12345678").unwrap(), &second));
        assert!(Arc::ptr_eq(&known.meet(first), &second));
        assert!(known.find("a.c.12345678").is_none());
        // Nobody sees a token in a log.
        assert_eq!(format!("{known:?}"), "KnownTokens");
        let shown = format!("{second:?}");
        assert!(shown.contains("ann") && !shown.contains("12345678"), "{shown}");
    }

    #[test]
    fn one_is_never_taken_for_another_one_of_its_place() {
        let known = KnownTokens::default();
        let (ann, bob) = (of("a.b.12345678", "ann"), of("c.d.12345678", "bob"));
        assert!(Arc::ptr_eq(&known.keep(&ann), &ann));
        assert!(Arc::ptr_eq(&known.keep(&bob), &bob));
        assert!(known.find("a.b.12345678").is_none());
        let key = Arc::new(Verified::of_key("c.d.12345678", claims("eve"), Map::new()));
        assert!(Arc::ptr_eq(&known.keep(&key), &key));
        assert!(known.find("c.d.12345678").is_none());
    }

    #[test]
    fn what_other_keys_have_verified_is_another_one() {
        let known = KnownTokens::default();
        let by = |set: &Arc<KeySet>| {
            let source = Some((0, Arc::clone(set)));
            Arc::new(Verified::new("a.b.12345678", claims("ann"), source, None))
        };
        let (old, new) = (Arc::default(), Arc::default());
        let (first, second) = (by(&old), by(&new));
        assert!(Arc::ptr_eq(&known.keep(&first), &first));
        assert!(Arc::ptr_eq(&known.keep(&by(&old)), &first));
        assert!(Arc::ptr_eq(&known.keep(&second), &second));
        let own = of("a.b.12345678", "ann");
        assert!(Arc::ptr_eq(&known.keep(&own), &own));
    }

    #[test]
    fn what_they_take_is_bounded() {
        let known = KnownTokens::default();
        // Ends that are as good as random, as those of signatures are.
        let text = |length: usize, at: u32| {
            format!("{}.{:08x}", "x".repeat(length - 9), at.wrapping_mul(0x9e37_79b1))
        };
        for (length, is_kept) in [(8192, true), (8193, false)] {
            let token = text(length, 7);
            known.keep(&of(&token, "ann"));
            assert_eq!(known.find(&token).is_some(), is_kept);
        }
        for at in 0..3000 {
            known.keep(&of(&text(8000, at), "ann"));
            assert!(known.bytes.load(Ordering::Relaxed) <= MAX_BYTES);
        }
        let kept = (0..3000).filter(|at| known.find(&text(8000, *at)).is_some()).count();
        // Each takes twice its text, of 16 MiB in all.
        assert!((500..=1048).contains(&kept), "{kept}");
        let with = Verified::new(&text(100, 0), claims("ann"), None, Some(Map::new()));
        let (short, long) = (of(&text(100, 0), "ann"), of(&text(200, 0), "ann"));
        assert_eq!(long.weight() - short.weight(), 200);
        assert!(short.weight() > 200);
        // All that one says may take sixteen times its text.
        assert_eq!(with.weight() - short.weight(), 1600);
    }

    #[test]
    fn as_long_as_there_is_room_one_pushes_out_no_other_but_that_of_its_place() {
        let known = KnownTokens::default();
        known.keep(&of("e.f.87654321", "eve"));
        let long = format!("{}.12345678", "c".repeat(4000));
        let (ann, bob) = (of("a.b.12345678", "ann"), of(&long, "bob"));
        for _ in 0..PLACES {
            known.keep(&ann);
            known.keep(&bob);
        }
        assert!(known.find("e.f.87654321").is_some());
    }
}
