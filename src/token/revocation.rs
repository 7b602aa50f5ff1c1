//! The tokens and users that are refused before their time.

use std::{
    collections::HashMap,
    fmt,
    sync::{
        OnceLock, PoisonError, RwLock,
        atomic::{AtomicBool, AtomicUsize, Ordering},
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

    /// The name that [`as_bytes`](Self::as_bytes) gave.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The same, as hexadecimal.
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

/// Somebody who is shut out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revocation {
    /// A token, until it expires by itself.
    Token(TokenRef, Timestamp),
    /// All that a user was issued up to and in that second.
    User(String, Timestamp),
    /// All that anybody was issued up to and in that second: what is left of
    /// the cut-offs that nobody keeps any more.
    Everybody(Timestamp),
}

/// Who hears of what is taken onto the list.
type Watcher = Box<dyn Fn(&[Revocation]) + Send + Sync>;

/// So many parts have the tokens, one for each first byte: one that grows is moved in one go,
/// and of a million there are four thousand in each.
const PARTS: usize = 256;

/// The list that every check looks into, held in memory so that no check
/// waits for the network.
///
/// It starts out as not loaded; a service whose list is not loaded does not
/// know who was shut out and lets nobody in.
pub struct RevocationList {
    loaded: AtomicBool,
    /// Revoked tokens, and when each expires by itself; in the part of their first byte.
    tokens: Box<[RwLock<HashMap<TokenRef, Timestamp>>; PARTS]>,
    /// How many there are.
    count: AtomicUsize,
    cut_offs: RwLock<CutOffs>,
    watcher: OnceLock<Watcher>,
}

impl Default for RevocationList {
    fn default() -> Self {
        Self {
            loaded: AtomicBool::default(),
            tokens: Box::new(std::array::from_fn(|_| RwLock::default())),
            count: AtomicUsize::default(),
            cut_offs: RwLock::default(),
            watcher: OnceLock::default(),
        }
    }
}

impl fmt::Debug for RevocationList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationList").field("tokens", &self.len()).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct CutOffs {
    /// Users by id, and the second up to which all they were issued is void.
    users: HashMap<String, i64>,
    /// The second up to which all that anybody was issued is void: the latest
    /// cut-off that was forgotten. Whatever is that old has expired, unless
    /// `max_lifetime` was raised since.
    everybody: i64,
}

impl Default for CutOffs {
    fn default() -> Self {
        Self { users: HashMap::new(), everybody: i64::MIN }
    }
}

impl CutOffs {
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

    /// Tells of whatever is taken onto the list from now on, after it has been. Only the
    /// first who asks is told.
    pub fn watch(&self, watcher: impl Fn(&[Revocation]) + Send + Sync + 'static) {
        let _ = self.watcher.set(Box::new(watcher));
    }

    /// Whatever is on the list, in pieces. What is taken onto it meanwhile may be missing.
    pub fn all(&self) -> impl Iterator<Item = Vec<Revocation>> {
        let tokens = self.tokens.iter().map(|part| {
            let part = part.read().unwrap_or_else(PoisonError::into_inner);
            part.iter().map(|(token, end)| Revocation::Token(*token, *end)).collect()
        });
        let cut_offs = std::iter::once_with(|| {
            let cut_offs = self.cut_offs.read().unwrap_or_else(PoisonError::into_inner);
            let at = Timestamp::from_secs;
            let users = cut_offs.users.iter();
            let users = users.map(|(user_id, until)| Revocation::User(user_id.clone(), at(*until)));
            let everybody = Some(cut_offs.everybody).filter(|until| *until > i64::MIN);
            users.chain(everybody.map(|until| Revocation::Everybody(at(until)))).collect()
        });
        tokens.chain(cut_offs)
    }

    /// Takes these onto the list. What is new of them is told of together.
    pub fn take(&self, mut revoked: Vec<Revocation>) {
        revoked.retain(|one| match one {
            Revocation::Token(token, end) => self.list(*token, *end),
            Revocation::User(user_id, at) => self.cut_off(user_id, at.as_secs()),
            Revocation::Everybody(at) => self.cut_off_all(at.as_secs()),
        });
        if !revoked.is_empty()
            && let Some(watcher) = self.watcher.get()
        {
            watcher(&revoked);
        }
    }

    /// Refuses a token until it expires by itself. Of two ends the later one
    /// counts.
    pub fn revoke_token(&self, token: TokenRef, expires_at: Timestamp) {
        self.take(vec![Revocation::Token(token, expires_at)]);
    }

    /// Refuses all that the user was issued up to and in that second. A
    /// cut-off is never moved back.
    pub fn cut_off_user(&self, user_id: &str, at: Timestamp) {
        self.take(vec![Revocation::User(user_id.to_owned(), at)]);
    }

    fn part(&self, token: &TokenRef) -> &RwLock<HashMap<TokenRef, Timestamp>> {
        let [first, ..] = token.0;
        let [any, ..] = &*self.tokens;
        self.tokens.get(usize::from(first)).unwrap_or(any)
    }

    fn is_listed(&self, token: &TokenRef) -> bool {
        self.part(token).read().unwrap_or_else(PoisonError::into_inner).contains_key(token)
    }

    /// Lists a token, and says whether that is news.
    fn list(&self, token: TokenRef, end: Timestamp) -> bool {
        let mut part = self.part(&token).write().unwrap_or_else(PoisonError::into_inner);
        // Before it is there: whoever counts none looks for none.
        self.count.fetch_add(1, Ordering::Release);
        let Some(before) = part.insert(token, end) else { return true };
        self.count.fetch_sub(1, Ordering::Release);
        if before > end {
            part.insert(token, before);
        }
        before < end
    }

    fn cut_off(&self, user_id: &str, at: i64) -> bool {
        let mut cut_offs = self.cut_offs.write().unwrap_or_else(PoisonError::into_inner);
        let cut_off = cut_offs.users.entry(user_id.to_owned()).or_insert(i64::MIN);
        at > std::mem::replace(cut_off, at.max(*cut_off))
    }

    fn cut_off_all(&self, at: i64) -> bool {
        let mut cut_offs = self.cut_offs.write().unwrap_or_else(PoisonError::into_inner);
        let latest = at.max(cut_offs.everybody);
        at > std::mem::replace(&mut cut_offs.everybody, latest)
    }

    /// How many tokens are on the list.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Whether nobody is shut out.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let cut_offs = self.cut_offs.read().unwrap_or_else(PoisonError::into_inner);
        self.len() == 0 && cut_offs.users.is_empty()
    }

    /// Forgets the tokens that nobody accepts any more, by whatever leeway, and
    /// the cut-offs that are older than `kept`. The latest of these holds for
    /// everybody from then on: no token is that old, unless tokens that live
    /// longer than before are accepted now.
    pub fn forget(&self, now: Timestamp, kept: Duration) {
        for part in &*self.tokens {
            let mut part = part.write().unwrap_or_else(PoisonError::into_inner);
            let before = part.len();
            part.retain(|_, expires_at| now < expires_at.plus(MAX_LEEWAY));
            self.count.fetch_sub(before - part.len(), Ordering::Release);
        }
        let mut cut_offs = self.cut_offs.write().unwrap_or_else(PoisonError::into_inner);
        let CutOffs { users, everybody } = &mut *cut_offs;
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
        let cut_offs = self.cut_offs.read().unwrap_or_else(PoisonError::into_inner);
        cut_offs.cuts_off(user_id, issued_at)
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
        let cut_offs = self.cut_offs.read().unwrap_or_else(PoisonError::into_inner);
        let is_of_everybody = |issued: Timestamp| issued.as_secs() <= cut_offs.everybody;
        if issued_at.is_some_and(is_of_everybody)
            || cut_offs.cuts_off(claims.user_id.as_str(), issued_at)
        {
            return true;
        }
        drop(cut_offs);
        if self.count.load(Ordering::Acquire) == 0 {
            return false;
        }
        let (token, session) = names();
        self.is_listed(&token) || session.is_some_and(|session| self.is_listed(&session))
    }

    /// Whether a session that began then is over: ended, or cut off with its user.
    #[must_use]
    pub fn has_ended(&self, sid: &str, user_id: &str, began: Timestamp) -> bool {
        let cut_offs = self.cut_offs.read().unwrap_or_else(PoisonError::into_inner);
        began.as_secs() <= cut_offs.everybody
            || cut_offs.cuts_off(user_id, Some(began))
            || self.is_listed(&TokenRef::by_session(sid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    #[test]
    fn what_is_on_a_list_is_told_in_small_pieces_and_makes_the_same_list_elsewhere() {
        let list = RevocationList::empty();
        assert!(list.is_empty() && list.all().all(|piece| piece.is_empty()));
        let token = |number: i64| {
            Revocation::Token(TokenRef::by_id(&number.to_string()), at(1000 + number))
        };
        let mut given: Vec<Revocation> = (0..2560).map(token).collect();
        given.push(Revocation::User("7".to_owned(), at(5)));
        given.push(Revocation::User("8".to_owned(), at(6)));
        given.push(Revocation::Everybody(at(3)));
        list.take(given.clone());
        assert_eq!(list.len(), 2560);
        assert_eq!(format!("{list:?}"), "RevocationList { tokens: 2560, .. }");

        let pieces: Vec<Vec<Revocation>> = list.all().collect();
        // Ten each, if they are spread well.
        assert!(pieces.iter().all(|piece| piece.len() < 50));
        let told = pieces.concat();
        assert_eq!(told.len(), given.len());
        assert!(given.iter().all(|one| told.contains(one)));
        let other = RevocationList::empty();
        other.take(told);
        assert!(other.len() == 2560 && other.cuts_off("8", Some(at(6))));
    }

    #[test]
    fn a_list_is_empty_while_it_shuts_out_nobody() {
        let (token, user) = (RevocationList::empty(), RevocationList::empty());
        token.revoke_token(TokenRef::by_id("a"), at(9));
        user.cut_off_user("7", at(9));
        assert!(!token.is_empty() && !user.is_empty());
        assert!(RevocationList::empty().is_empty());
    }
}
