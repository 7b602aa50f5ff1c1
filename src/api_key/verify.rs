//! The verification of a key, without any input or output.

use std::{net::IpAddr, sync::Arc};

use serde_json::Map;

use super::{
    foreign::Foreign,
    list::KeyList,
    refusal::KeyRefusal,
    table::{Entry, KeyCounts, KeyTable},
    text::{KeyHash, KeyId, KeyText},
};
use crate::{
    clock::Timestamp,
    token::{Claims, UserId, Verified, Verifier},
};

/// The end of what has none: the last second of the year 9999.
const NEVER: Timestamp = Timestamp::from_secs(253_402_300_799);

/// The keys that are taken.
#[derive(Debug)]
pub struct ApiKeys {
    /// Those of the file.
    pub file: Arc<KeyTable>,
    /// Those of the store, and what was revoked.
    pub list: Arc<KeyList>,
    /// Those of somebody else's making.
    pub foreign: Option<Foreign>,
}

/// A key as a request shows it.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// The client's address, as far as it is known.
    pub address: &'a str,
    /// The time.
    pub now: Timestamp,
}

/// What a request shows of a key.
struct Attempt {
    id: KeyId,
    hash: KeyHash,
    is_sound: bool,
    is_foreign: bool,
}

/// A key that is good.
#[derive(Debug)]
pub struct GoodKey {
    /// What names it.
    pub id: KeyId,
    /// Whose it is, as a token would say.
    pub verified: Arc<Verified>,
}

impl ApiKeys {
    /// Whose key this is. Whatever is wrong with its secret, its id or its
    /// checksum is found out in the same time.
    ///
    /// # Errors
    ///
    /// The [`KeyRefusal`].
    pub fn verify(
        &self,
        text: &str,
        shown: Shown<'_>,
        verifier: &Verifier,
    ) -> Result<GoodKey, KeyRefusal> {
        let form = KeyText::parse(text).ok_or(KeyRefusal::Malformed)?;
        let attempt =
            Attempt { id: form.id, hash: form.hash(), is_sound: form.is_sound, is_foreign: false };
        self.look_up(&attempt, shown, verifier, &|id| self.file.get(id))
    }

    /// Whose key of somebody else's making this is.
    ///
    /// # Errors
    ///
    /// The [`KeyRefusal`].
    pub fn verify_foreign(
        &self,
        text: &str,
        shown: Shown<'_>,
        verifier: &Verifier,
    ) -> Result<GoodKey, KeyRefusal> {
        let foreign = self.foreign.as_ref().ok_or(KeyRefusal::Malformed)?;
        let hash = KeyHash::of(text);
        let attempt = Attempt { id: hash.as_id(), hash, is_sound: true, is_foreign: true };
        self.look_up(&attempt, shown, verifier, &|id| foreign.table.get(id))
    }

    /// How many keys there are, by their state at a time; those of the store, when
    /// they were counted last.
    #[must_use]
    pub fn counts(&self, now: Timestamp) -> KeyCounts {
        let foreign = self.foreign.as_ref().map(|foreign| foreign.table.counts(now));
        let here = self.file.counts(now).plus(foreign.unwrap_or_default());
        here.plus(self.list.counts())
    }

    fn look_up<'s>(
        &'s self,
        attempt: &Attempt,
        shown: Shown<'_>,
        verifier: &Verifier,
        here: &dyn Fn(KeyId) -> Option<Entry<'s>>,
    ) -> Result<GoodKey, KeyRefusal> {
        let Attempt { id, hash, is_sound, is_foreign } = *attempt;
        if !self.list.is_loaded() {
            return Err(KeyRefusal::NotReady);
        }
        let lists = self.list.read();
        let own = here(id);
        let shared = if is_foreign { None } else { lists.table.get(id) };
        let known = own.as_ref().or(shared.as_ref());
        // One that is not there is compared with something all the same.
        let expected = known.map_or_else(|| lists.table.stand_in(id), |entry| entry.hash);
        let is_right: bool = expected.is(&hash).into();
        if !is_sound {
            return Err(KeyRefusal::Malformed);
        }
        let entry = known.ok_or(KeyRefusal::UnknownId)?;
        if !is_right {
            return Err(KeyRefusal::BadKey);
        }
        // One that is in the file, too, is no better for that.
        let both = || own.iter().chain(&shared);
        let is_void = lists.cuts_off(entry.user_id, entry.created)
            || verifier.cuts_off(entry.user_id, entry.created);
        if both().any(|entry| entry.is_revoked) || lists.is_revoked(id) || is_void {
            return Err(KeyRefusal::Revoked);
        }
        if both().any(|entry| entry.expires.is_some_and(|at| at <= shown.now)) {
            return Err(KeyRefusal::Expired);
        }
        if !may_come_from(entry, shown.address) {
            return Err(KeyRefusal::Address);
        }
        let says = what_it_says(entry, verifier).ok_or(KeyRefusal::BadKey)?;
        drop(lists);
        self.list.uses.note(id, shown.now);
        Ok(GoodKey { id, verified: Arc::new(says) })
    }
}

fn may_come_from(entry: &Entry<'_>, address: &str) -> bool {
    let allow = &entry.profile.allow;
    if allow.is_empty() {
        return true;
    }
    let Ok(address) = address.parse::<IpAddr>() else { return false };
    let address = address.to_canonical();
    allow.iter().any(|network| network.contains(&address))
}

/// What the key says, as a token would; `None` when its role is none.
fn what_it_says(entry: &Entry<'_>, verifier: &Verifier) -> Option<Verified> {
    let claims = Claims {
        name: entry.name.to_owned(),
        user_id: UserId::new(entry.user_id)?,
        role: verifier.roles().get(&entry.profile.role)?,
        email: None,
        expires_at: entry.expires.unwrap_or(NEVER),
        issued_at: entry.created,
        not_before: None,
        issuer: None,
        audience: None,
        token_id: None,
        is_sso: false,
        issued_by: None,
        scope: entry.profile.scope.clone(),
        actor: None,
        session_id: None,
        auth_time: None,
    };
    // What is made of it for upstreams is kept under a name that is no secret,
    // and another one when its end is.
    let (bits, _) = entry.hash.as_bytes().split_first_chunk::<16>()?;
    let end = claims.expires_at.as_secs();
    let name = format!("key.{}.{end}.{:032x}", entry.id, u128::from_be_bytes(*bits));
    Some(Verified::of_key(&name, claims, Map::new()))
}
