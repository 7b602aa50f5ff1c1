//! Follows one issuer: fetches its keys before they are needed, and again when
//! one was missed.

use std::{
    collections::HashSet,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;
use url::Url;

use super::{
    KeySource,
    discovery::Metadata,
    fetch::{Fetch, FetchError},
    watch::Followed,
};
use crate::{
    clock::{Clock, Timestamp},
    metrics::Metrics,
    store::{Key, Store},
    token::{KeySet, LeftOut},
};

/// How often keys are fetched for one that was missed.
const MISSED: Duration = Duration::from_secs(60);
/// The shortest time that an answer can be kept for, whatever it says.
const LEAST: Duration = Duration::from_secs(60);
/// How long after a failure it is asked again; twice that after the next one.
const FIRST_RETRY: Duration = Duration::from_secs(1);
const LAST_RETRY: Duration = Duration::from_secs(60);
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
    headers: HeaderMap,
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
    let (text, headers) = fetch.document(&url, None).await?;
    read(source, text.unwrap_or_default(), headers)
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

fn read(source: &KeySource, text: Vec<u8>, headers: HeaderMap) -> Result<Fetched, FetchError> {
    let (set, left_out) = KeySet::read(&text, &source.algorithms)
        .map_err(|error| FetchError::Garbled(format!("its keys: {error}")))?;
    Ok(Fetched { set, left_out, text, headers })
}

/// Follows an issuer.
pub(super) struct Follower {
    followed: Arc<Followed>,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    /// Where its keys were last.
    url: Option<Url>,
    etag: Option<String>,
    complaints: HashSet<(String, &'static str)>,
    failures: u32,
}

impl Follower {
    pub(super) fn new(
        followed: Arc<Followed>,
        store: Arc<Store>,
        clock: Arc<dyn Clock>,
        metrics: Arc<Metrics>,
    ) -> Self {
        let (url, etag, complaints) = (None, None, HashSet::new());
        Self { followed, store, clock, metrics, url, etag, complaints, failures: 0 }
    }

    fn source(&self) -> &KeySource {
        &self.followed.source
    }

    /// Follows until it is dropped. Ends by itself only when there can be no
    /// client for the issuer, which is told of.
    pub(super) async fn run(mut self) {
        let fetch = match client(self.source()) {
            Ok(fetch) => fetch,
            Err(error) => {
                self.tell_failure(&error);
                return std::future::pending().await;
            }
        };
        if self.followed.keys.heard().is_none() {
            self.take_kept().await;
        }
        let mut missed_at: Option<Instant> = None;
        let mut is_missed = false;
        loop {
            let pause = self.fetch(&fetch, is_missed).await;
            let due = Instant::now() + pause;
            is_missed = tokio::select! {
                () = tokio::time::sleep_until(due) => false,
                () = self.followed.missed.notified() => {
                    let now = Instant::now();
                    let earliest = missed_at.map_or(now, |at| now.max(at + MISSED));
                    tokio::time::sleep_until(earliest.min(due.max(now))).await;
                    earliest <= due
                }
            };
            if is_missed {
                missed_at = Some(Instant::now());
            }
        }
    }

    /// Fetches the keys, and says when that is to be done again.
    async fn fetch(&mut self, fetch: &Fetch, is_missed: bool) -> Duration {
        let (refresh, stale_for) = (self.source().refresh, self.source().stale_for);
        let (result, pause) = match self.ask(fetch, is_missed).await {
            Ok(None) => {
                self.followed.keys.confirm(self.clock.now(), stale_for);
                ("unchanged", jittered(refresh))
            }
            Ok(Some(fetched)) => {
                let pause = kept_for(&fetched.headers, refresh);
                self.take(fetched).await;
                ("ok", pause)
            }
            Err(error) => {
                self.tell_failure(&error);
                // Another replica may have reached it.
                self.take_kept().await;
                let doubled = FIRST_RETRY.saturating_mul(1 << self.failures.min(6));
                self.failures = self.failures.saturating_add(1);
                ("failed", jittered(doubled.min(LAST_RETRY).min(refresh)))
            }
        };
        if result != "failed" {
            self.tell_success();
            self.keep().await;
        }
        self.metrics.count_issuer_fetch(&self.source().name, result);
        pause
    }

    /// What the issuer says; nothing when that is the same as before. Where its
    /// keys are is asked again, but for one that was missed.
    async fn ask(&mut self, fetch: &Fetch, is_missed: bool) -> Result<Option<Fetched>, FetchError> {
        let url = match &self.url {
            Some(url) if is_missed => url.clone(),
            _ => address(fetch, self.source()).await?,
        };
        if self.url.as_ref() != Some(&url) {
            self.etag = None;
        }
        let (text, headers) = fetch.document(&url, self.etag.as_deref()).await?;
        self.url = Some(url);
        text.map(|text| read(self.source(), text, headers)).transpose()
    }

    async fn take(&mut self, fetched: Fetched) {
        let Fetched { set, left_out, text, headers } = fetched;
        let name = &self.followed.source.name;
        for LeftOut { key, cause } in left_out {
            if self.complaints.len() < MAX_COMPLAINTS
                && self.complaints.insert((key.clone(), cause))
            {
                let mend = "tell the issuer, if its tokens are signed with it";
                tracing::warn!(issuer = name, key, cause, mend, "a key of the issuer is not used");
            }
        }
        let etag = headers.get(header::ETAG).and_then(|etag| etag.to_str().ok());
        self.etag = etag.map(str::to_owned);
        self.followed.keys.put(set, self.clock.now(), self.source().stale_for);
        *self.followed.text.lock().await = String::from_utf8(text).unwrap_or_default();
    }

    fn key(&self) -> Key {
        let KeySource { issuer, jwks_uri, .. } = self.source();
        let uri = jwks_uri.as_ref().map_or("", Url::as_str);
        Key::new("issuer-keys", &format!("{issuer} {uri}"))
    }

    /// Keeps what is known now in the store, when others share that.
    async fn keep(&self) {
        let set = self.followed.text.lock().await.clone();
        if !self.store.is_shared() || set.is_empty() {
            return;
        }
        let kept = Kept { heard: self.clock.now().as_secs(), set };
        // What fails there is told of by the follower of the revocations.
        let _ = self.store.replace(&self.key(), &kept, self.source().stale_for).await;
    }

    /// Takes over what another replica has heard, or this one before it was
    /// started anew, when that is later than what is known here.
    async fn take_kept(&self) {
        if !self.store.is_shared() {
            return;
        }
        let Ok(Some(Kept { heard, set })) = self.store.look(&self.key()).await else { return };
        let heard = Timestamp::from_secs(heard).min(self.clock.now());
        if self.followed.keys.heard().is_some_and(|own| own >= heard) {
            return;
        }
        if let Ok((keys, _)) = KeySet::read(set.as_bytes(), &self.source().algorithms) {
            self.followed.keys.put(keys, heard, self.source().stale_for);
            *self.followed.text.lock().await = set;
        }
    }

    fn tell_success(&mut self) {
        self.failures = 0;
        if self.followed.is_failing.swap(false, Ordering::Relaxed) {
            let (issuer, keys) = (&self.source().name, self.followed.keys.set().len());
            tracing::info!(issuer, keys, "the keys of the issuer were fetched again");
        }
    }

    fn tell_failure(&self, error: &FetchError) {
        if self.followed.is_failing.swap(true, Ordering::Relaxed) {
            return;
        }
        let issuer = &self.source().name;
        let mend =
            "see whether it can be reached from here, with `portcullis check-config --online`";
        if self.followed.keys.heard().is_some() {
            tracing::warn!(issuer, cause = %error, mend, "the keys of the issuer could not be fetched; the last good ones serve");
        } else {
            tracing::error!(issuer, cause = %error, mend, "the keys of the issuer could not be fetched; its tokens are refused");
        }
    }
}

/// For how long an answer says that it can be kept, within the bounds.
fn kept_for(headers: &HeaderMap, refresh: Duration) -> Duration {
    let control = headers.get(header::CACHE_CONTROL).and_then(|value| value.to_str().ok());
    let directive = |text: &str| {
        let (name, value) = text.trim().split_once('=')?;
        let seconds = value.trim_matches('"').parse().ok()?;
        name.eq_ignore_ascii_case("max-age").then(|| Duration::from_secs(seconds))
    };
    let own = control.and_then(|control| control.split(',').find_map(directive));
    // `refresh` may be shorter than the least.
    own.map_or_else(|| jittered(refresh), |own| own.max(LEAST).min(jittered(refresh)))
}

/// Up to a tenth less, so that replicas do not all ask at once.
fn jittered(span: Duration) -> Duration {
    let mut byte = [0];
    // Without random numbers, they do.
    let _ = aws_lc_rs::rand::fill(&mut byte);
    span.mul_f64(1.0 - f64::from(byte[0]) / 2560.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_kept_for_a_minute_at_least_and_until_the_next_refresh_at_most() {
        let hour = Duration::from_secs(3600);
        let kept = |control: &'static str| {
            let value = http::HeaderValue::from_static(control);
            kept_for(&HeaderMap::from_iter([(header::CACHE_CONTROL, value)]), hour).as_secs()
        };
        assert_eq!(kept("max-age=0"), 60);
        assert_eq!(kept("public, max-age=300, must-revalidate"), 300);
        assert_eq!(kept("Max-Age=\"300\""), 300);
        for whole in ["max-age=86400", "no-store", "max-age=-1", "max-age", ""] {
            assert!((3240..=3600).contains(&kept(whole)), "{whole}");
        }
        let refresh = Duration::from_secs(2);
        assert!(kept_for(&HeaderMap::new(), refresh) <= refresh);
    }
}
