//! An engine that is told by a service in another process what it decides by.

use std::{
    collections::HashSet,
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use super::{Lists, engine_with};
use crate::{
    api_key::{KeyChange, KeyId},
    authz::Engine,
    checker::Checker,
    clock::{Clock, Timestamp},
    config::{Bundle, Config, InModule},
    decision_log::DecisionLog,
    feed::{Asks, Client, Lost, Receiver},
    issuers::KeySource,
    token::{IssuerKeys, KeySet, Revocation},
};

/// How long it is waited before a service that is lost is looked for again.
const PAUSE: Duration = Duration::from_millis(200);
/// How often what has expired is forgotten.
const SWEEP: Duration = Duration::from_secs(60);
/// How often the service is told which keys and sessions were used.
const HAND_ON: Duration = Duration::from_secs(5);

/// An engine, and how old is what it knows.
#[derive(Debug)]
pub struct Fed {
    socket: PathBuf,
    /// Whose the service may be, beside this process' user and root.
    uid: Option<u32>,
    clock: Arc<dyn Clock>,
    lists: Lists,
    checker: OnceLock<Checker>,
    issuers: Mutex<Vec<FedIssuer>>,
    started: Instant,
    /// When something was heard last, in milliseconds since the start.
    heard: AtomicU64,
    /// Whether what the service decides by could be taken over.
    is_able: AtomicBool,
}

/// An issuer whose keys the service fetches.
#[derive(Debug)]
struct FedIssuer {
    source: KeySource,
    keys: Arc<IssuerKeys>,
    is_missed: Arc<AtomicBool>,
}

impl Fed {
    /// Follows the service behind this socket, for as long as the value lives. It has to be
    /// of this process' user, of root, or of the one that is named.
    ///
    /// # Errors
    ///
    /// When no thread can be started.
    pub fn follow(
        socket: PathBuf,
        uid: Option<u32>,
        clock: Arc<dyn Clock>,
    ) -> std::io::Result<Arc<Self>> {
        let fed = Arc::new(Self {
            socket,
            uid,
            clock,
            lists: Lists::default(),
            checker: OnceLock::new(),
            issuers: Mutex::default(),
            started: Instant::now(),
            heard: AtomicU64::new(0),
            is_able: AtomicBool::new(true),
        });
        let following = Following::new(&fed);
        thread::Builder::new().name("portcullis".to_owned()).spawn(move || following.run())?;
        Ok(fed)
    }

    /// Where the service is asked.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Whose it may be, beside the usual ones.
    #[must_use]
    pub fn uid(&self) -> Option<u32> {
        self.uid
    }

    /// What decides; none before it is known who is shut out, where what is known is
    /// older than this, and where the service decides by what cannot be done here.
    #[must_use]
    pub fn checker(&self, max_age: Duration) -> Option<&Checker> {
        let checker = self.checker.get()?;
        (self.is_able.load(Ordering::Relaxed) && self.age() <= max_age).then_some(checker)
    }

    /// How long ago the service has said something.
    #[must_use]
    pub fn age(&self) -> Duration {
        let heard = Duration::from_millis(self.heard.load(Ordering::Relaxed));
        self.started.elapsed().saturating_sub(heard)
    }

    fn hear(&self) {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        self.heard.store(now, Ordering::Relaxed);
    }

    fn issuers(&self) -> std::sync::MutexGuard<'_, Vec<FedIssuer>> {
        self.issuers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The keys of an issuer: those that are known, where it is the same as before.
    fn keys_of(&self, source: &KeySource) -> Arc<IssuerKeys> {
        let mut issuers = self.issuers();
        if let Some(known) = issuers.iter().find(|issuer| issuer.source == *source) {
            return Arc::clone(&known.keys);
        }
        let is_missed = Arc::<AtomicBool>::default();
        let missed = Arc::clone(&is_missed);
        let keys = Arc::new(IssuerKeys::awaited(move || missed.store(true, Ordering::Relaxed)));
        issuers.push(FedIssuer { source: source.clone(), keys: Arc::clone(&keys), is_missed });
        keys
    }
}

/// What a configuration makes, which is not in force yet.
struct Next {
    engine: Arc<Engine>,
    shadow: Option<Arc<Engine>>,
    log: DecisionLog,
    has_keys: bool,
}

/// The thread of one that is fed.
struct Following {
    fed: Weak<Fed>,
    socket: PathBuf,
    uid: Option<u32>,
    next: Option<Next>,
    /// The keys for machines that were told since the configuration was.
    told: HashSet<KeyId>,
    /// Whether all that there is has been told by whom it listens to now.
    is_whole: bool,
    swept: Instant,
    handed_on: Instant,
    cut_offs_kept: Duration,
}

impl Following {
    fn new(fed: &Arc<Fed>) -> Self {
        let (swept, handed_on) = (Instant::now(), Instant::now());
        let (fed, socket, uid) = (Arc::downgrade(fed), fed.socket.clone(), fed.uid);
        Self {
            fed,
            socket,
            uid,
            next: None,
            told: HashSet::new(),
            is_whole: false,
            swept,
            handed_on,
            cut_offs_kept: Duration::MAX,
        }
    }

    fn run(mut self) {
        let mut is_told = false;
        while self.is_wanted() {
            let socket = self.socket.clone();
            // A bug in taking something over must not end the watch.
            let lost = catch_unwind(AssertUnwindSafe(|| {
                let client = Client::connect(&socket, self.uid)?;
                if std::mem::take(&mut is_told) {
                    tracing::info!(socket = %socket.display(), "the service is back");
                }
                client.follow(&mut self)
            }))
            .unwrap_or_else(|_| Err(Lost::Garbled("a bug: it could not be taken over".into())));
            let Err(lost) = lost else { return };
            self.is_whole = false;
            if !std::mem::replace(&mut is_told, true) {
                tracing::error!(
                    cause = %lost,
                    socket = %socket.display(),
                    fix = "start portcullis with feed.listen there, in the same version; what is \
                            known so far is enforced for max_stale",
                    "the connection to the service that feeds this engine is lost"
                );
            }
            self.sweep();
            thread::sleep(PAUSE);
        }
    }

    fn sweep(&mut self) {
        let Some(fed) = self.fed.upgrade().filter(|_| self.swept.elapsed() > SWEEP) else { return };
        fed.lists.revoked.forget(fed.clock.now(), self.cut_offs_kept);
        fed.lists.keys.forget(fed.clock.now());
        self.swept = Instant::now();
    }
}

impl Receiver for Following {
    fn is_wanted(&self) -> bool {
        self.fed.strong_count() > 0
    }

    fn settings(&mut self, bundle: &[u8]) {
        self.is_whole = false;
        self.told.clear();
        let Some(fed) = self.fed.upgrade() else { return };
        self.next = match prepare(&fed, bundle) {
            Ok(next) => Some(next),
            Err(cause) => {
                // Nothing else is known to be what the service decides by.
                fed.is_able.store(false, Ordering::Relaxed);
                let fix = "correct it, or use the module of the service's version; until then \
                            nothing is decided here";
                tracing::error!(cause, fix, "the configuration from the service cannot be used");
                None
            }
        };
    }

    fn issuer(&mut self, place: [u8; 32], text: &str, heard: Timestamp) {
        let Some(fed) = self.fed.upgrade() else { return };
        for FedIssuer { source, keys, .. } in
            fed.issuers().iter().filter(|issuer| issuer.source.place() == place)
        {
            match KeySet::read(text.as_bytes(), &source.algorithms) {
                Ok((set, _)) => keys.put(set, heard, source.stale_for),
                Err(error) => {
                    tracing::error!(issuer = source.name, %error, "the issuer's keys are invalid");
                }
            }
        }
    }

    fn revoked(&mut self, revoked: Vec<Revocation>) {
        if let Some(fed) = self.fed.upgrade() {
            fed.lists.revoked.take(revoked);
        }
    }

    fn keys(&mut self, changes: &[KeyChange]) {
        if !self.is_whole {
            let ids = changes.iter().filter_map(|change| match change {
                KeyChange::Key(key) => Some(key.id),
                _ => None,
            });
            self.told.extend(ids);
        }
        if let Some(fed) = self.fed.upgrade() {
            fed.lists.keys.apply(changes, |_, _, _| {});
        }
    }

    fn whole(&mut self, cut_offs_kept: Duration, has_keys: bool) {
        let told = std::mem::take(&mut self.told);
        let (Some(fed), Some(next)) = (self.fed.upgrade(), self.next.take()) else { return };
        self.cut_offs_kept = cut_offs_kept;
        fed.lists.keys.want(next.has_keys);
        if has_keys {
            // A key that the store has no more is none; who is shut out stays so.
            fed.lists.keys.keep(&told);
            fed.lists.keys.set_loaded();
        }
        fed.lists.revoked.set_loaded();
        let Next { engine, shadow, log, .. } = next;
        fed.issuers().retain(|issuer| Arc::strong_count(&issuer.keys) > 1);
        if let Some(checker) = fed.checker.get() {
            checker.replace(engine, shadow, log);
        } else {
            let checker = Checker::new(engine, Arc::clone(&fed.clock), log);
            let _ = fed.checker.set(checker.shadowed(shadow.as_ref()));
        }
        fed.is_able.store(true, Ordering::Relaxed);
        self.is_whole = true;
        tracing::info!("the configuration from the service is in force");
    }

    fn heard(&mut self) {
        // What somebody was shut out by meanwhile may be yet to come.
        if let Some(fed) = self.fed.upgrade().filter(|_| self.is_whole) {
            fed.hear();
        }
    }

    fn asks(&mut self) -> Asks {
        self.sweep();
        let Some(fed) = self.fed.upgrade() else { return Asks::default() };
        let issuers = fed.issuers();
        let missed = issuers.iter().filter(|one| one.is_missed.swap(false, Ordering::Relaxed));
        let missed = missed.map(|issuer| issuer.source.place()).collect();
        drop(issuers);
        if self.handed_on.elapsed() < HAND_ON {
            return Asks { missed, ..Asks::default() };
        }
        self.handed_on = Instant::now();
        let renewed = |checker: &Checker| checker.engine().verifier.renewed_sessions();
        let seen = fed.checker.get().map(renewed).unwrap_or_default();
        Asks { missed, uses: fed.lists.keys.uses.take(), seen }
    }

    fn unasked(&mut self, asks: Asks) {
        if let Some(fed) = self.fed.upgrade() {
            fed.lists.keys.uses.put_back(asks.uses);
        }
    }
}

/// Makes what a configuration describes.
fn prepare(fed: &Fed, bundle: &[u8]) -> Result<Next, String> {
    let bundle = Bundle::decode(bundle)?;
    if bundle.is_of_other_build() {
        let fix = "use the module of the service's version";
        tracing::warn!(fix, "the service is a different build: it may decide differently");
    }
    let mut config = bundle.load().map_err(|problems| problems.to_string())?;
    if let Some(problem) = InModule::of(&config).never.first() {
        return Err(problem.to_string());
    }
    let log = DecisionLog::new(config.telemetry.allowed_decisions);
    let has_keys = config.api_keys.is_some();
    let renews = config.sessions.renew;
    let of = |config: Config| engine_with(config, fed.lists.clone(), &|source| fed.keys_of(source));
    let shadow = config.shadow.take().map(|config| Arc::new(of(*config)));
    let mut engine = of(config);
    engine.sessions.renews = renews;
    Ok(Next { engine: Arc::new(engine), shadow, log, has_keys })
}
