//! The issuers that are followed just now: those of the configuration in force.

use std::{
    fmt,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio::{
    sync::Notify,
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{KeySource, followed::Followed, follower::Follower};
use crate::{
    clock::{Clock, Timestamp},
    metrics::Metrics,
    store::Store,
};

/// How long after a bug an issuer is followed anew.
const ANEW: Duration = Duration::from_secs(60);

/// What an issuer has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Said {
    /// The place of its keys ([`KeySource::place`]).
    pub place: [u8; 32],
    /// Its set of keys, as it was sent.
    pub text: String,
    /// When it was heard last.
    pub heard: Timestamp,
}

/// Follows issuers.
pub struct KeyWatch {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    wanted: ArcSwap<Vec<Arc<Followed>>>,
    changed: Notify,
    had_asked: AtomicBool,
}

impl fmt::Debug for KeyWatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyWatch").field("wanted", &*self.wanted.load()).finish_non_exhaustive()
    }
}

impl KeyWatch {
    /// A watch that follows nobody yet.
    #[must_use]
    pub fn new(store: Arc<Store>, clock: Arc<dyn Clock>, metrics: Arc<Metrics>) -> Self {
        let (wanted, changed, had_asked) =
            (ArcSwap::default(), Notify::new(), AtomicBool::new(false));
        Self { store, clock, metrics, wanted, changed, had_asked }
    }

    /// Whether every issuer was asked for its keys once, whatever came of it: a
    /// replica that takes requests before refuses tokens that others accept. One
    /// that is new in a later configuration takes nothing back.
    #[must_use]
    pub fn has_asked(&self) -> bool {
        let is_asked = |followed: &Arc<Followed>| followed.is_asked.load(Ordering::Relaxed);
        if !self.had_asked.load(Ordering::Relaxed) && self.wanted.load().iter().all(is_asked) {
            self.had_asked.store(true, Ordering::Relaxed);
        }
        self.had_asked.load(Ordering::Relaxed)
    }

    /// The issuer of this source: the one that is followed, or a new one.
    #[must_use]
    pub fn of(&self, source: &KeySource) -> Arc<Followed> {
        let wanted = self.wanted.load();
        if let Some(known) = wanted.iter().find(|followed| followed.source == *source) {
            return Arc::clone(known);
        }
        let same = wanted.iter().find(|followed| followed.source.is_same_place(source));
        Arc::new(match same {
            Some(before) => Followed::after(source.clone(), before),
            None => Followed::new(source.clone()),
        })
    }

    /// What the issuers that are followed have said.
    #[must_use]
    pub fn said(&self) -> Vec<Said> {
        let wanted = self.wanted.load();
        let said = wanted.iter().filter_map(|followed| {
            let heard = followed.keys.heard()?;
            let text = followed.text.lock().unwrap_or_else(PoisonError::into_inner).clone();
            Some(Said { place: followed.source.place(), text, heard })
        });
        said.collect()
    }

    /// A token named a key that is not known of the issuer whose keys are there.
    pub fn miss(&self, place: &[u8; 32]) {
        let wanted = self.wanted.load();
        for followed in wanted.iter().filter(|followed| followed.source.place() == *place) {
            followed.missed.notify_one();
        }
    }

    /// Follows these from now on, and no others.
    pub fn follow(&self, wanted: Vec<Arc<Followed>>) {
        self.wanted.store(Arc::new(wanted));
        self.changed.notify_one();
    }

    /// Follows until it is told to stop.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut tasks = JoinSet::new();
        let mut running: Vec<(Arc<Followed>, AbortHandle)> = Vec::new();
        loop {
            let wanted = self.wanted.load_full();
            running.retain(|(followed, handle)| {
                let stays = wanted.iter().any(|wanted| Arc::ptr_eq(wanted, followed));
                if !stays {
                    handle.abort();
                }
                stays
            });
            for followed in &*wanted {
                if running.iter().all(|(known, _)| !Arc::ptr_eq(known, followed)) {
                    let task = tasks.spawn(Arc::clone(&self).keep_up(Arc::clone(followed)));
                    running.push((Arc::clone(followed), task));
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                // One that was told to end.
                Some(_) = tasks.join_next() => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Follows one.
    async fn keep_up(self: Arc<Self>, followed: Arc<Followed>) {
        let follow = || {
            let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
            Follower::new(Arc::clone(&followed), store, clock, Arc::clone(&self.metrics)).run()
        };
        without_end(&followed, follow).await;
    }
}

/// Follows an issuer anew when that has ended by a bug: what an issuer can answer
/// to reach one takes nothing with it but its own tokens.
async fn without_end<F: Future<Output = ()> + Send + 'static>(
    followed: &Followed,
    follow: impl Fn() -> F,
) {
    loop {
        // Within one, so that it ends when this does.
        let mut task = JoinSet::new();
        task.spawn(follow());
        task.join_next().await;
        followed.is_asked.store(true, Ordering::Relaxed);
        let (issuer, fix) = (&followed.source.name, "report it");
        tracing::error!(issuer, fix, "a bug: fetching the keys of the issuer has failed");
        tokio::time::sleep(ANEW).await;
    }
}

#[cfg(test)]
#[allow(clippy::panic, reason = "that is what is tested")]
mod tests {
    use super::*;
    use crate::token::Algorithm;

    #[tokio::test]
    async fn a_bug_that_an_issuer_reaches_ends_nothing_else() {
        let source = KeySource {
            name: "acme".to_owned(),
            issuer: "https://idp.example.com".to_owned(),
            jwks_uri: None,
            algorithms: vec![Algorithm::EdDsa],
            refresh: ANEW,
            stale_for: ANEW,
            authorities: None,
            insecure_http: false,
        };
        let followed = Followed::new(source);
        let soon = Duration::from_millis(200);
        let ended =
            tokio::time::timeout(soon, without_end(&followed, || async { panic!("a bug") }));
        assert!(ended.await.is_err(), "it goes on");
        assert!(followed.is_asked.load(Ordering::Relaxed), "nobody waits for it");
    }
}
