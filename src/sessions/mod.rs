//! Sessions as all replicas know them: what a sign-in begins, and what ends it.
//!
//! A token of a session is good as long as it says, unless its session is among the
//! revoked: no check asks the store for a record. The records are for people, who
//! are shown where they are signed in, and for providers, which end what they have
//! begun.

mod record;
mod seen;

use std::{net::IpAddr, sync::Arc, time::Duration};

pub use self::{
    record::{AtIssuer, Record},
    seen::keep_seen,
};
use crate::{
    clock::Timestamp,
    store::{Key, Store, StoreError},
    token::{RevocationList, SessionLimits, TokenRef, new_session_id},
};

/// The most sessions of one user; the oldest one ends for another.
pub const MOST_OF_A_USER: usize = 100;
/// The longest name of a browser that is kept, in bytes.
const MAX_AGENT_BYTES: usize = 256;
/// How much longer than its session a record is kept, so that clocks may differ.
const MARGIN: Duration = Duration::from_secs(60);

/// Who signs in, and how.
#[derive(Clone, Copy, Debug)]
pub struct Beginning<'a> {
    /// The user's id.
    pub user_id: &'a str,
    /// The user's name.
    pub name: &'a str,
    /// `password` or `sso`.
    pub method: &'a str,
    /// Who that is at the provider of a single sign-on.
    pub at_issuer: Option<&'a AtIssuer>,
    /// The browser, as it names itself.
    pub agent: Option<&'a str>,
    /// The client's address.
    pub address: Option<IpAddr>,
}

/// Whom a provider signs out.
#[derive(Clone, Copy, Debug)]
pub enum OfIssuer<'a> {
    /// One session of the provider.
    Session(&'a str),
    /// All of a subject.
    Subject(&'a str),
}

/// The sessions in the store, and their ends in the list.
#[derive(Clone, Debug)]
pub struct Register {
    store: Arc<Store>,
    list: Arc<RevocationList>,
    limits: SessionLimits,
}

fn of_user(user_id: &str) -> Key {
    Key::new("sessions", user_id)
}

fn of_sid(sid: &str) -> Key {
    Key::new("session", sid)
}

/// An issuer's address holds no line break.
fn of_issuer(issuer: &str, whom: OfIssuer<'_>) -> Key {
    match whom {
        OfIssuer::Session(sid) => Key::new("sessions-sid", &format!("{issuer}\n{sid}")),
        OfIssuer::Subject(sub) => Key::new("sessions-sub", &format!("{issuer}\n{sub}")),
    }
}

/// The keys under which a provider finds a session.
fn issuer_keys(at: Option<&AtIssuer>) -> Vec<Key> {
    let Some(AtIssuer { issuer, subject, session_id }) = at else { return Vec::new() };
    let by_sid = session_id.iter().map(|sid| of_issuer(issuer, OfIssuer::Session(sid)));
    by_sid.chain([of_issuer(issuer, OfIssuer::Subject(subject))]).collect()
}

impl Register {
    /// The sessions of this store, which are ended in this list at once, and in
    /// those of the other replicas as they follow.
    #[must_use]
    pub fn new(store: Arc<Store>, list: Arc<RevocationList>, limits: SessionLimits) -> Self {
        Self { store, list, limits }
    }

    /// How long sessions go on.
    #[must_use]
    pub fn limits(&self) -> SessionLimits {
        self.limits
    }

    /// Begins a session: no token of it may be given out before this is done. The
    /// oldest one of a user who has too many ends.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then there is none.
    pub async fn begin(
        &self,
        who: Beginning<'_>,
        begun: Timestamp,
        now: Timestamp,
    ) -> Result<Record, StoreError> {
        let sid =
            new_session_id().map_err(|_| StoreError::Failed("no random numbers".to_owned()))?;
        let cut = |agent: &str| {
            agent.get(..agent.floor_char_boundary(MAX_AGENT_BYTES)).unwrap_or_default().to_owned()
        };
        let record = Record {
            sid,
            user_id: who.user_id.to_owned(),
            name: who.name.to_owned(),
            method: who.method.to_owned(),
            at_issuer: who.at_issuer.cloned(),
            agent: who.agent.map(cut),
            address: who.address,
            begun: begun.as_secs(),
            seen: begun.as_secs(),
            ends: self.limits.end(begun).as_secs(),
        };
        let begun = self.put(&record, now).await;
        if begun.is_err() {
            self.forget(&record).await;
        } else {
            tell("session_begin", "begun", &record, None);
        }
        begun.map(|()| record)
    }

    /// What finds the record comes first: what is found without a record ends all
    /// the same.
    async fn put(&self, record: &Record, now: Timestamp) -> Result<(), StoreError> {
        let Record { sid, user_id, .. } = record;
        let ttl = Timestamp::from_secs(record.ends).since(now).saturating_add(MARGIN);
        self.store.replace(&of_sid(sid), user_id, ttl).await?;
        for key in issuer_keys(record.at_issuer.as_ref()) {
            self.store.put_member(&key, sid, user_id, ttl).await?;
        }
        let count = self.store.put_member(&of_user(user_id), sid, record, ttl).await?;
        if count <= MOST_OF_A_USER {
            return Ok(());
        }
        let mut all = self.all_of(user_id).await?;
        all.retain(|other| other.sid != *sid);
        let too_many = (all.len() + 1).saturating_sub(MOST_OF_A_USER);
        for oldest in all.iter().take(too_many) {
            self.end(oldest, "too_many", now).await?;
        }
        Ok(())
    }

    /// All records of a user, the oldest first.
    async fn all_of(&self, user_id: &str) -> Result<Vec<Record>, StoreError> {
        let members = self.store.members::<Record>(&of_user(user_id)).await?;
        let mut all: Vec<Record> = members.into_values().collect();
        all.sort_by(|a, b| (a.begun, &a.sid).cmp(&(b.begun, &b.sid)));
        Ok(all)
    }

    /// The sessions of a user that go on, the newest first.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn of_user(&self, user_id: &str, now: Timestamp) -> Result<Vec<Record>, StoreError> {
        let mut all = self.all_of(user_id).await?;
        all.retain(|record| self.goes_on(record, now));
        all.reverse();
        Ok(all)
    }

    fn goes_on(&self, record: &Record, now: Timestamp) -> bool {
        let begun = Timestamp::from_secs(record.begun);
        now.as_secs() < record.ends && !self.list.has_ended(&record.sid, &record.user_id, begun)
    }

    /// A session by its `sid`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn find(&self, sid: &str, now: Timestamp) -> Result<Option<Record>, StoreError> {
        let Some(user_id) = self.store.look::<String>(&of_sid(sid)).await? else { return Ok(None) };
        self.find_of(&user_id, sid, now).await
    }

    /// A session of a user by its `sid`.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    pub async fn find_of(
        &self,
        user_id: &str,
        sid: &str,
        now: Timestamp,
    ) -> Result<Option<Record>, StoreError> {
        let found = self.store.members::<Record>(&of_user(user_id)).await?.remove(sid);
        Ok(found.filter(|record| self.goes_on(record, now)))
    }

    /// Ends a session for this cause, on every replica.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then it may go on.
    pub async fn end(
        &self,
        record: &Record,
        cause: &'static str,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let begun = Timestamp::from_secs(record.begun);
        let ends = Timestamp::from_secs(record.ends);
        self.revoke(&record.sid, begun, ends, now).await?;
        self.forget(record).await;
        tell("session_end", "ended", record, Some(cause));
        Ok(())
    }

    /// Ends the session of a token, whether there is a record of it or not. `ends`
    /// is the end of that token.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then it may go on.
    pub async fn end_of_token(
        &self,
        (sid, user_id): (&str, &str),
        begun: Timestamp,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        match self.find_of(user_id, sid, now).await {
            Ok(Some(record)) => self.end(&record, "sign_out", now).await,
            // Nobody stays signed in for a record that a later version has written.
            Ok(None) | Err(StoreError::Garbled) => self.revoke(sid, begun, ends, now).await,
            Err(error) => Err(error),
        }
    }

    /// Ends what a provider has begun, and says how many those were.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then some may go on.
    pub async fn end_of_issuer(
        &self,
        issuer: &str,
        whom: OfIssuer<'_>,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let members = self.store.members::<String>(&of_issuer(issuer, whom)).await?;
        for (sid, user_id) in &members {
            match self.find_of(user_id, sid, now).await? {
                Some(record) => self.end(&record, "provider", now).await?,
                // It began no later than now.
                None => self.revoke(sid, now, now, now).await?,
            }
        }
        Ok(members.len())
    }

    /// Ends those of a subject of which the provider has not said which they are: a
    /// provider may name a session when it ends, and not when it begins.
    ///
    /// # Errors
    ///
    /// [`StoreError`]: then some may go on.
    pub async fn end_unnamed(
        &self,
        issuer: &str,
        subject: &str,
        now: Timestamp,
    ) -> Result<usize, StoreError> {
        let key = of_issuer(issuer, OfIssuer::Subject(subject));
        let mut count = 0;
        for (sid, user_id) in &self.store.members::<String>(&key).await? {
            let found = self.find_of(user_id, sid, now).await?;
            let is_unnamed = |record: &Record| {
                record.at_issuer.as_ref().is_some_and(|at| at.session_id.is_none())
            };
            if let Some(record) = found.filter(is_unnamed) {
                self.end(&record, "provider", now).await?;
                count += 1;
            }
        }
        Ok(count)
    }

    /// Refuses all tokens of a session for as long as one could live: by these
    /// limits, by those that were in force when it began, and by one token's word.
    async fn revoke(
        &self,
        sid: &str,
        begun: Timestamp,
        ends: Timestamp,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        let until = self.limits.end(begun).max(ends).max(now.plus(self.limits.lifetime));
        let name = TokenRef::by_session(sid);
        self.store.revoke(name, until).await?;
        self.list.revoke_token(name, until);
        Ok(())
    }

    /// Forgets a record. What stays of one that has ended is not shown, and goes by
    /// itself.
    async fn forget(&self, record: &Record) {
        let Record { sid, user_id, .. } = record;
        let forgetting = async {
            self.store.remove_member(&of_user(user_id), sid).await?;
            for key in issuer_keys(record.at_issuer.as_ref()) {
                self.store.remove_member(&key, sid).await?;
            }
            self.store.forget(&of_sid(sid)).await
        };
        if let Err(error) = forgetting.await {
            tracing::debug!(%error, "the record of an ended session goes by itself");
        }
    }

    /// Notes that somebody was there.
    ///
    /// # Errors
    ///
    /// [`StoreError`].
    async fn note_seen(&self, user_id: &str, sid: &str, at: Timestamp) -> Result<(), StoreError> {
        let key = of_user(user_id);
        let Some(mut record) = self.store.members::<Record>(&key).await?.remove(sid) else {
            return Ok(());
        };
        if record.seen >= at.as_secs() {
            return Ok(());
        }
        record.seen = at.as_secs();
        self.store.replace_member(&key, sid, &record).await.map(drop)
    }
}

fn tell(event: &'static str, result: &'static str, record: &Record, cause: Option<&'static str>) {
    tracing::info!(
        target: "portcullis::audit",
        event,
        result,
        name = record.name,
        user_id = record.user_id,
        sid = record.sid,
        method = record.method,
        address = record.address.map(tracing::field::display),
        cause,
    );
}
