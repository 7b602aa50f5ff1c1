//! A check as every transport asks for it: the engine of the moment, the
//! clock and the decision log around the pure decision.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use arc_swap::ArcSwap;

use crate::{
    authz::{CheckInput, Decision, Engine, Reason},
    clock::{Clock, Timestamp},
    decision_log::{DecisionLog, Entry},
};

/// What is told of a request in the log, beside the request itself.
#[derive(Clone, Copy, Debug, Default)]
pub struct Context<'a> {
    /// The gateway's id of the request.
    pub request_id: &'a str,
    /// The client's address as the gateway saw it.
    pub client: &'a str,
    /// The transport that asked, such as `grpc`.
    pub transport: &'static str,
}

/// Answers checks. Cheap to share; the engine in it can be exchanged while
/// checks run, each of which sees one engine from its start to its end.
pub struct Checker {
    engine: ArcSwap<Engine>,
    clock: Arc<dyn Clock>,
    log: DecisionLog,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").field("engine", &self.engine).finish_non_exhaustive()
    }
}

impl Checker {
    /// A checker that starts with this engine.
    #[must_use]
    pub fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>, log: DecisionLog) -> Self {
        Self { engine: ArcSwap::new(engine), clock, log }
    }

    /// The engine that decides now.
    #[must_use]
    pub fn engine(&self) -> Arc<Engine> {
        self.engine.load_full()
    }

    /// The time by the clock of the checks.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Puts another engine in the place of the one that decides.
    pub fn replace(&self, engine: Arc<Engine>) {
        self.engine.store(engine);
    }

    /// Whether requests can be decided: whether it is known who is shut out.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.engine.load().verifier.revocations().is_loaded()
    }

    /// Decides, logs, and lets the transport make its answer of the decision.
    ///
    /// A panic in the decision is a denial. A question that holds no request,
    /// or none that can be read in one way, comes with the reason to deny it.
    pub fn check<T>(
        &self,
        question: Result<&CheckInput<'_>, Reason>,
        context: Context<'_>,
        answer: impl FnOnce(&Decision<'_>) -> T,
    ) -> T {
        let started = Instant::now();
        let engine = self.engine.load();
        let decision = match question {
            Err(_) if !engine.verifier.revocations().is_loaded() => {
                Decision::deny(Reason::NotReady)
            }
            Err(reason) => Decision::deny(reason),
            Ok(input) => {
                // The engine holds no lock and nothing that a panic could
                // leave half changed.
                let decide = || engine.decide(input, self.clock.now());
                catch_unwind(AssertUnwindSafe(decide))
                    .unwrap_or_else(|_| Decision::deny(Reason::Internal))
            }
        };
        let took = started.elapsed();
        self.log.write(&Entry { decision: &decision, input: question.ok(), context, took });
        answer(&decision)
    }
}
