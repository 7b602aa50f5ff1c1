//! The issuers that are followed just now: those of the configuration in force.

use std::{
    fmt,
    sync::{Arc, atomic::AtomicBool},
};

use arc_swap::ArcSwap;
use tokio::{
    sync::{Mutex, Notify},
    task::{AbortHandle, JoinSet},
};
use tokio_util::sync::CancellationToken;

use super::{KeySource, follower::Follower};
use crate::{clock::Clock, metrics::Metrics, store::Store, token::IssuerKeys};

/// An issuer whose keys are fetched, and its keys.
pub struct Followed {
    /// Where they come from.
    pub source: KeySource,
    /// The keys.
    pub keys: Arc<IssuerKeys>,
    pub(super) missed: Arc<Notify>,
    pub(super) is_failing: AtomicBool,
    /// The set as it was sent last.
    pub(super) text: Mutex<String>,
}

impl fmt::Debug for Followed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Followed").field("source", &self.source.name).finish_non_exhaustive()
    }
}

impl Followed {
    /// An issuer of which nothing is known yet.
    #[must_use]
    pub fn new(source: KeySource) -> Self {
        let missed = Arc::<Notify>::default();
        let notify = Arc::clone(&missed);
        let keys = Arc::new(IssuerKeys::awaited(move || notify.notify_one()));
        let (is_failing, text) = (AtomicBool::new(false), Mutex::default());
        Self { source, keys, missed, is_failing, text }
    }
}

/// Follows issuers.
pub struct KeyWatch {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    wanted: ArcSwap<Vec<Arc<Followed>>>,
    changed: Notify,
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
        Self { store, clock, metrics, wanted: ArcSwap::default(), changed: Notify::new() }
    }

    /// The issuer of this source: the one that is followed, or a new one.
    #[must_use]
    pub fn of(&self, source: &KeySource) -> Arc<Followed> {
        let wanted = self.wanted.load();
        let known = wanted.iter().find(|followed| followed.source == *source);
        known.map_or_else(|| Arc::new(Followed::new(source.clone())), Arc::clone)
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
                    let (store, clock) = (Arc::clone(&self.store), Arc::clone(&self.clock));
                    let metrics = Arc::clone(&self.metrics);
                    let follower = Follower::new(Arc::clone(followed), store, clock, metrics);
                    running.push((Arc::clone(followed), tasks.spawn(follower.run())));
                }
            }
            tokio::select! {
                () = self.changed.notified() => {}
                Some(ended) = tasks.join_next() => {
                    // One that was not told to: the service cannot go on without.
                    if ended.is_err_and(|error| error.is_panic()) {
                        return;
                    }
                }
                () = stop.cancelled() => return,
            }
        }
    }
}
