//! Follows one issuer: fetches its keys before they are needed, and again when
//! one was missed.

use std::{
    collections::HashSet,
    sync::{Arc, PoisonError, atomic::Ordering},
};

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::{
    KeySource,
    discovery::Metadata,
    fetch::{Fetch, FetchError},
    followed::Followed,
    pace::Pace,
};
use crate::{
    clock::{Clock, Timestamp},
    metrics::Metrics,
    store::{Key, Store},
    token::{KeySet, LeftOut},
};

/// So many complaints about keys are remembered, so that each is told once.
const MAX_COMPLAINTS: usize = 256;

/// What an issuer has answered.
#[derive(Debug)]
pub struct Fetched {
    /// Its keys.
    pub set: KeySet,
    /// Those that are not used, and why.
    pub left_out: Vec<LeftOut>,
    /// As they were sent.
    text: Vec<u8>,
}

/// What is kept in the store, for who starts while the issuer is down.
#[derive(Serialize, Deserialize)]
struct Kept {
    heard: i64,
    set: String,
}

/// The keys of an issuer, as it says now.
///
/// # Errors
///
/// [`FetchError`].
pub async fn fetch_once(source: &KeySource) -> Result<Fetched, FetchError> {
    let fetch = client(source)?;
    let url = address(&fetch, source).await?;
    let (text, _) = fetch.document(&url, None).await?;
    read(source, text.unwrap_or_default())
}

fn client(source: &KeySource) -> Result<Fetch, FetchError> {
    let is_plain = |url: &str| url.starts_with("http:");
    let uri = source.jwks_uri.as_ref().map_or(&*source.issuer, Url::as_str);
    // What is asked at all has been allowed: loopback, or by `insecure_http`.
    Fetch::new(!source.insecure_http && !is_plain(uri), source.authorities.as_deref())
}

async fn address(fetch: &Fetch, source: &KeySource) -> Result<Url, FetchError> {
    match &source.jwks_uri {
        Some(url) => Ok(url.clone()),
        None => Ok(Metadata::fetch(fetch, &source.issuer, source.insecure_http).await?.jwks_uri),
    }
}

fn read(source: &KeySource, text: Vec<u8>) -> Result<Fetched, FetchError> {
    let (set, left_out) = KeySet::read(&text, &source.algorithms)
        .map_err(|error| FetchError::Garbled(format!("its keys: {error}")))?;
    Ok(Fetched { set, left_out, text })
}

/// What the operator was told last.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Told {
    /// That there are keys, or nothing yet.
    Good,
    /// That the last good ones serve.
    OldServe,
    /// That its tokens are refused.
    Refused,
}

/// Follows an issuer.
pub(super) struct Follower {
    followed: Arc<Followed>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Where its keys were last.
    url: Option<Url>,
    /// The entity tag of the keys that serve now.
    etag: Option<String>,
    complaints: HashSet<(String, &'static str)>,
    told: Told,
}

impl Follower {
    pub(super) fn new(
        followed: Arc<Followed>,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        metrics.expect_issuer(&followed.source.name);
        let (url, etag, complaints) = (None, None, HashSet::new());
        Self { followed, store, clock, metrics, url, etag, complaints, told: Told::Good }
    }

    fn source(&self) -> &KeySource {
        &self.followed.source
    }

    /// Follows until it is dropped.
    pub(super) async fn run(mut self) {
        let fetch = match client(self.source()) {
            Ok(fetch) => fetch,
            Err(error) => {
                self.tell_failure(&error);
                self.followed.is_asked.store(true, Ordering::Relaxed);
                return std::future::pending().await;
            }
        };
        if self.followed.keys.heard().is_none() {
            self.take_kept().await;
        }
        let mut pace = Pace::new(self.source().refresh);
        let followed = Arc::clone(&self.followed);
        loop {
            let is_missed = pace.wait(&followed.missed).await;
            self.fetch(&fetch, &mut pace, is_missed).await;
            followed.is_asked.store(true, Ordering::Relaxed);
        }
    }

    /// Fetches the keys, and says when that is to be done again.
    async fn fetch(&mut self, fetch: &Fetch, pace: &mut Pace, is_missed: bool) {
        let result = match self.ask(fetch).await {
            Ok((fetched, headers)) => {
                pace.answered(&headers, is_missed, Instant::now());
                let result = if let Some(fetched) = fetched {
                    self.take(fetched, &headers);
                    "ok"
                } else {
                    self.followed.keys.confirm(self.clock.now(), self.source().stale_for);
                    "unchanged"
                };
                self.tell_success();
                self.keep().await;
                result
            }
            Err(error) => {
                pace.failed(Instant::now());
                // Another replica may have reached it.
                self.take_kept().await;
                self.tell_failure(&error);
                "failed"
            }
        };
        self.metrics.count_issuer_fetch(&self.source().name, result);
    }

    /// What the issuer says, and with which headers; nothing when that is the
    /// same as before. Where its keys are is asked again each time: whoever moves
    /// them may change them as well.
    async fn ask(&mut self, fetch: &Fetch) -> Result<(Option<Fetched>, HeaderMap), FetchError> {
        let url = address(fetch, self.source()).await?;
        if self.url.as_ref() != Some(&url) {
            self.etag = None;
        }
        let (text, headers) = fetch.document(&url, self.etag.as_deref()).await?;
        self.url = Some(url);
        Ok((text.map(|text| read(self.source(), text)).transpose()?, headers))
    }

    fn take(&mut self, fetched: Fetched, headers: &HeaderMap) {
        let Fetched { set, left_out, text } = fetched;
        let name = &self.followed.source.name;
        for LeftOut { key, cause } in left_out {
            if self.complaints.len() < MAX_COMPLAINTS
                && self.complaints.insert((key.clone(), cause))
            {
                let fix = "tell the issuer, if its tokens are signed with it";
                tracing::warn!(issuer = name, key, cause, fix, "a key of the issuer is not used");
            }
        }
        let etag = headers.get(header::ETAG).and_then(|etag| etag.to_str().ok());
        self.etag = etag.map(str::to_owned);
        let text = String::from_utf8(text).unwrap_or_default();
        self.followed.put(set, text, self.clock.now());
    }

    fn key(&self) -> Key {
        let KeySource { issuer, jwks_uri, authorities, insecure_http, .. } = self.source();
        let uri = jwks_uri.as_ref().map_or("", Url::as_str);
        // Keys that were heard on another way are not trusted on this one.
        let authorities = String::from_utf8_lossy(authorities.as_deref().unwrap_or_default());
        Key::new("issuer-keys", &format!("{issuer} {uri} {authorities} {insecure_http}"))
    }

    /// Keeps what is known now in the store, when others share that.
    async fn keep(&self) {
        if !self.store.is_shared() {
            return;
        }
        let set = self.followed.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let kept = Kept { heard: self.clock.now().as_secs(), set };
        // What fails there is told of by the follower of the revocations.
        let _ = self.store.replace(&self.key(), &kept, self.source().stale_for).await;
    }

    /// Takes over what another replica has heard, or this one before it was
    /// started anew, when that is later than what is known here.
    async fn take_kept(&mut self) {
        if !self.store.is_shared() {
            return;
        }
        let Ok(Some(Kept { heard, set })) = self.store.look(&self.key()).await else { return };
        let heard = Timestamp::from_secs(heard).min(self.clock.now());
        if self.followed.keys.heard().is_some_and(|own| own >= heard) {
            return;
        }
        if let Ok((keys, _)) = KeySet::read(set.as_bytes(), &self.source().algorithms) {
            // The tag is of what was here before.
            self.etag = None;
            self.followed.put(keys, set, heard);
        }
    }

    fn tell_success(&mut self) {
        if self.told != Told::Good {
            self.told = Told::Good;
            let (issuer, keys) = (&self.source().name, self.followed.keys.set().len());
            tracing::info!(issuer, keys, "the keys of the issuer were fetched again");
        }
    }

    /// Once, and again when its keys have become too old.
    fn tell_failure(&mut self, error: &FetchError) {
        let serves = self.followed.keys.can_be_relied_upon(self.clock.now());
        let state = if serves { Told::OldServe } else { Told::Refused };
        if self.told == state {
            return;
        }
        self.told = state;
        let issuer = &self.source().name;
        let fix =
            "check with `portcullis check-config --online` whether it can be reached from here";
        if serves {
            tracing::warn!(issuer, cause = %error, fix, "the keys of the issuer could not be fetched; the last good ones are used");
        } else {
            tracing::error!(issuer, cause = %error, fix, "the keys of the issuer could not be fetched; its tokens are refused");
        }
    }
}
