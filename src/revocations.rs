//! Keeps the list in memory as whole as the store is: filled at the start,
//! followed live, caught up after every outage.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use crate::{
    clock::Clock,
    store::{Cursor, Revocation, Store, StoreError},
    token::{MAX_LEEWAY, RevocationList},
};

/// How often the store is asked for what is new: a revocation is known
/// everywhere well within a second.
const POLL: Duration = Duration::from_millis(200);
/// How often what has expired is forgotten.
const SWEEP: Duration = Duration::from_secs(60);

/// How the list stands to the store.
#[derive(Debug)]
pub struct ListHealth {
    whole_at: ArcSwap<Instant>,
    is_failing: AtomicBool,
}

impl Default for ListHealth {
    fn default() -> Self {
        Self { whole_at: ArcSwap::from_pointee(Instant::now()), is_failing: AtomicBool::new(false) }
    }
}

impl ListHealth {
    /// How long ago the list was last known to be whole.
    #[must_use]
    pub fn age(&self) -> Duration {
        self.whole_at.load().elapsed()
    }

    /// Whether the store was away when it was last asked.
    #[must_use]
    pub fn is_degraded(&self) -> bool {
        self.is_failing.load(Ordering::Relaxed)
    }

    fn whole(&self) {
        self.whole_at.store(Arc::new(Instant::now()));
        if self.is_failing.swap(false, Ordering::Relaxed) {
            tracing::info!("the store answers again; the revocations are whole");
        }
    }

    fn failed(&self, error: &StoreError) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(%error, "the store is away; the revocations known so far are enforced");
        }
    }
}

/// Follows the store.
#[derive(Debug)]
pub struct Follower {
    /// Where revocations come from.
    pub store: Arc<Store>,
    /// Where they are enforced.
    pub list: Arc<RevocationList>,
    /// How that goes.
    pub health: Arc<ListHealth>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Follower {
    /// Follows until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut cursor = Cursor::default();
        let (mut swept, mut is_whole) = (Instant::now(), false);
        while !stop.is_cancelled() {
            match self.catch_up(&mut cursor).await {
                Ok(()) => {
                    self.list.set_loaded();
                    self.health.whole();
                    is_whole = true;
                }
                Err(error) => {
                    self.health.failed(&error);
                    // What answers after an outage may be another one, that
                    // lacks the last moment of this one, or whose clock is
                    // behind: what is new there need not be beyond the cursor.
                    if std::mem::take(&mut is_whole) {
                        cursor = Cursor::default();
                    }
                }
            }
            if swept.elapsed() > SWEEP {
                self.list.forget(self.clock.now(), self.store.cut_offs_kept());
                swept = Instant::now();
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    async fn catch_up(&self, cursor: &mut Cursor) -> Result<(), StoreError> {
        loop {
            let (page, next) = self.store.revocations(cursor).await?;
            if *cursor == next {
                return Ok(());
            }
            *cursor = next;
            let now = self.clock.now();
            for revocation in page {
                match revocation {
                    // One that has expired is refused for that, whatever the
                    // leeway: it can be raised while the service runs.
                    Revocation::Token(token, until) if until.plus(MAX_LEEWAY) > now => {
                        self.list.revoke_token(token, until);
                    }
                    Revocation::Token(..) => {}
                    Revocation::User(id, at) => self.list.cut_off_user(&id, at),
                    Revocation::Everybody(at) => self.list.cut_off_everybody(at),
                }
            }
        }
    }
}
