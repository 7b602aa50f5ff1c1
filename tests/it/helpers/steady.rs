//! Load at a steady rate, with one token after the other.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use tokio::{
    task::{JoinHandle, JoinSet},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;

use crate::{issuer::Asker, support::PATIENCE};

/// Questions a second of each who asks.
const RATE: u32 = 500;

/// Who asks about tokens, of a replica or through a gateway.
pub(crate) trait Asks: Clone + Send + Sync + 'static {
    /// The reason of a denial; of an allowance nothing.
    fn ask_about(&self, token: &str) -> impl Future<Output = String> + Send;
}

impl Asks for Asker {
    async fn ask_about(&self, token: &str) -> String {
        self.reason(token).await
    }
}

/// What came of the questions: how long each took, and why it was denied.
#[derive(Default)]
pub(crate) struct Seen(pub(crate) Vec<(Duration, String)>);

impl Seen {
    pub(crate) fn denials(&self) -> Vec<&str> {
        self.0.iter().map(|(_, reason)| reason.as_str()).filter(|one| !one.is_empty()).collect()
    }

    /// The median and the 99th percentile.
    pub(crate) fn latencies(&self) -> [Duration; 2] {
        let mut times: Vec<Duration> = self.0.iter().map(|(took, _)| *took).collect();
        times.sort();
        [50, 99].map(|percent| times[times.len() * percent / 100])
    }
}

/// Load until it is stopped.
pub(crate) struct Load {
    stop: CancellationToken,
    tasks: Vec<JoinHandle<()>>,
    tokens: Arc<Mutex<Vec<String>>>,
    seen: Arc<Mutex<Seen>>,
    answered: Arc<AtomicUsize>,
    begun: Instant,
}

impl Load {
    /// Has each of them ask at that rate, with one token after the other, whether
    /// or not what was asked before has been answered.
    pub(crate) fn of(askers: &[impl Asks], tokens: &[String]) -> Self {
        let mut load = Self {
            stop: CancellationToken::new(),
            tasks: Vec::new(),
            tokens: Arc::new(Mutex::new(tokens.to_vec())),
            seen: Arc::default(),
            answered: Arc::default(),
            begun: Instant::now(),
        };
        for asker in askers {
            load.tasks.push(load.run(asker.clone()));
        }
        load
    }

    fn run(&self, asker: impl Asks) -> JoinHandle<()> {
        let (stop, tokens) = (self.stop.clone(), Arc::clone(&self.tokens));
        let (seen, answered) = (Arc::clone(&self.seen), Arc::clone(&self.answered));
        tokio::spawn(async move {
            let mut asked = JoinSet::new();
            let mut tick = tokio::time::interval(Duration::from_secs(1) / RATE);
            tick.set_missed_tick_behavior(MissedTickBehavior::Burst);
            for nth in 0.. {
                tokio::select! {
                    biased;
                    () = stop.cancelled() => break,
                    _ = tick.tick() => {}
                }
                let token = {
                    let tokens = tokens.lock().unwrap();
                    tokens[nth % tokens.len()].clone()
                };
                let (asker, seen) = (asker.clone(), Arc::clone(&seen));
                let answered = Arc::clone(&answered);
                asked.spawn(async move {
                    let begun = Instant::now();
                    let reason = asker.ask_about(&token).await;
                    seen.lock().unwrap().0.push((begun.elapsed(), reason));
                    answered.fetch_add(1, Ordering::Relaxed);
                });
            }
            asked.join_all().await;
        })
    }

    /// Asks with these from now on.
    pub(crate) fn with(&self, tokens: &[String]) {
        *self.tokens.lock().unwrap() = tokens.to_vec();
    }

    /// What has come since this was asked last.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// What comes of the next ones, of so many at least.
    pub(crate) async fn next(&self, many: usize) -> (Seen, Seen) {
        let before = self.take();
        let (begun, first) = (Instant::now(), self.answered.load(Ordering::Relaxed));
        while self.answered.load(Ordering::Relaxed) < first + many {
            assert!(begun.elapsed() < PATIENCE, "less than {many} in {PATIENCE:?}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        (before, self.take())
    }

    /// Stops it. The rate was as it should have been, or half of that on a machine
    /// that has other things to do.
    pub(crate) async fn end(self) -> Seen {
        self.stop.cancel();
        let took = self.begun.elapsed();
        for task in self.tasks {
            task.await.unwrap();
        }
        let answered = self.answered.load(Ordering::Relaxed);
        let rate = answered * 1000 / usize::try_from(took.as_millis()).unwrap();
        println!("{rate} questions a second");
        assert!(rate > RATE as usize, "{rate} questions a second");
        std::mem::take(&mut self.seen.lock().unwrap())
    }

    /// Load for so long.
    pub(crate) async fn during(askers: &[impl Asks], tokens: &[String], span: Duration) -> Seen {
        let load = Self::of(askers, tokens);
        tokio::time::sleep(span).await;
        load.end().await
    }
}
