//! Keeps the list in memory as whole as the store is: filled at the start,
//! followed live, caught up after every outage.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use tokio::{runtime, sync::oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    api_key::{ApiKey, KeyId, KeyList, Told},
    clock::{Clock, Timestamp},
    pace::Pace,
    store::{Cursor, Store, StoreError},
    token::{MAX_LEEWAY, Revocation, RevocationList},
};

/// How often the store is asked for what is new: a revocation is known
/// everywhere well within a second.
const POLL: Duration = Duration::from_millis(200);
/// How often what has expired is forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// How often the store is told which keys were used.
const HAND_ON: Duration = Duration::from_secs(5);

/// So many are taken onto the list at a time: who hears of them has little to do in one go.
const AT_ONCE: usize = 100;

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
            tracing::info!("the store answers again; the revocations are complete");
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
    /// The keys for machines of the store, which are followed in the same way.
    pub keys: Arc<KeyList>,
    /// How that goes.
    pub health: Arc<ListHealth>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Follower {
    /// Follows on a thread of its own until it is told to stop: there it can rest while much
    /// comes, and is in the way of no request.
    ///
    /// # Errors
    ///
    /// Why there is no such thread, or not any more.
    pub async fn run_apart(self, stop: CancellationToken) -> Result<(), String> {
        let (end, ended) = oneshot::channel();
        let runtime = runtime::Builder::new_current_thread().enable_all().build();
        let thread = runtime.and_then(|runtime| {
            thread::Builder::new().name("revocations".into()).spawn(move || {
                runtime.block_on(self.run(stop));
                let _ = end.send(());
            })
        });
        thread.map_err(|error| format!("the store cannot be followed: {error}"))?;
        ended.await.map_err(|_| "a bug: the thread that follows the store has ended".to_owned())
    }

    /// Follows until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        let mut cursors = Cursors::default();
        let (mut swept, mut handed_on, mut is_whole) = (Instant::now(), Instant::now(), false);
        while !stop.is_cancelled() {
            let takes_keys = self.keys.is_wanted();
            let Self { store, list, keys, clock, .. } = &self;
            let caught = cursors.catch_up(store, list, (keys, takes_keys), &|| clock.now()).await;
            match caught {
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
                        // What is new there is told of all the same.
                        cursors = Cursors { tells: cursors.tells, ..Cursors::default() };
                    }
                }
            }
            if swept.elapsed() > SWEEP {
                self.list.forget(self.clock.now(), self.store.cut_offs_kept());
                self.keys.forget(self.clock.now());
                swept = Instant::now();
            }
            if handed_on.elapsed() > HAND_ON {
                if takes_keys {
                    self.keys.count(self.clock.now());
                    self.hand_on_uses().await;
                }
                handed_on = Instant::now();
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Tells the store which keys were used. What it does not take now, it takes later.
    async fn hand_on_uses(&self) {
        let uses = self.keys.uses.take();
        if !uses.is_empty() && self.store.note_key_uses(&uses).await.is_err() {
            self.keys.uses.put_back(uses);
        }
    }
}

/// Where the follower stands.
#[derive(Default)]
struct Cursors {
    revocations: Cursor,
    keys: Cursor,
    /// Whether the keys have been whole: what comes from then on is news.
    tells: bool,
}

impl Cursors {
    async fn catch_up(
        &mut self,
        store: &Store,
        list: &RevocationList,
        (keys, takes_keys): (&Arc<KeyList>, bool),
        clock: &(dyn Fn() -> Timestamp + Sync),
    ) -> Result<(), StoreError> {
        let mut work = Pace::new();
        loop {
            let (page, next) = store.revocations(&self.revocations).await?;
            if self.revocations == next {
                self.revocations.catch_up();
                break;
            }
            let follows = self.revocations.is_caught_up();
            self.revocations = next;
            let now = clock();
            // One that has expired is refused for that, whatever the leeway: it can be
            // raised while the service runs.
            let counts = |one: &Revocation| match one {
                Revocation::Token(_, until) => until.plus(MAX_LEEWAY) > now,
                Revocation::User(..) | Revocation::Everybody(_) => true,
            };
            for one in &page {
                if let Revocation::User(id, at) = one {
                    keys.cut_off(id, *at);
                }
            }
            let mut page = page.into_iter().filter(counts);
            loop {
                let some: Vec<Revocation> = page.by_ref().take(AT_ONCE).collect();
                if some.is_empty() {
                    break;
                }
                list.take(some);
                // Who starts is waited for, and rests later.
                if follows {
                    work.rest();
                }
            }
        }
        if !takes_keys {
            self.keys = Cursor::default();
            self.tells = false;
            return Ok(());
        }
        let mut ahead = store.key_changes(&self.keys).await?;
        loop {
            let (page, next) = ahead;
            if self.keys == next {
                self.tells = true;
                keys.set_loaded();
                return Ok(());
            }
            self.keys = next;
            let tells = self.tells;
            // The next page is on its way while this one is read, of which a
            // million keys make a second's work.
            let keys = Arc::clone(keys);
            let reading = tokio::task::spawn_blocking(move || {
                keys.apply(&page.changes()?, |told, id, key| {
                    // What was there at the start is no news.
                    if tells {
                        audit(told, id, key);
                    }
                });
                Ok(())
            });
            let next = store.key_changes(&self.keys).await;
            // Where a page could not be taken over, nothing is known for certain.
            reading.await.map_err(|_| StoreError::Garbled)??;
            ahead = next?;
        }
    }
}

/// Reads all that there is once: for a command.
///
/// # Errors
///
/// [`StoreError`].
pub async fn load(
    store: &Store,
    list: &RevocationList,
    keys: &Arc<KeyList>,
    now: Timestamp,
) -> Result<(), StoreError> {
    Cursors::default().catch_up(store, list, (keys, true), &|| now).await?;
    list.set_loaded();
    Ok(())
}

/// Tells of a change of a key, under the target `portcullis::audit`.
fn audit(told: Told, id: KeyId, key: Option<&ApiKey>) {
    tracing::info!(
        target: "portcullis::audit",
        event = told.as_str(),
        key_id = %id,
        user_id = key.map(|key| key.says.user_id.as_str()),
        name = key.map(|key| key.says.name.as_str()),
        role = key.map(|key| key.says.role.as_str()),
        expires = key.and_then(|key| key.expires).map(Timestamp::to_rfc3339),
        replaces = key.and_then(|key| key.says.replaces.as_deref()),
    );
}
