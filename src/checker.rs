//! A check as every transport asks for it: the engine of the moment, the
//! clock, and what is told of it, around the pure decision.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use arc_swap::ArcSwap;

use crate::{
    authz::{CheckInput, Decision, Engine, Reason},
    change::Change,
    clock::{Clock, Timestamp},
    decision_log::{self, DecisionLog, Entry},
    hints::Hints,
    metrics::{Checks, RuleCounters},
    traces::Traces,
    transport::Context,
};

/// What one configuration says of checks.
#[derive(Clone)]
struct Snapshot {
    engine: Arc<Engine>,
    /// What would be in its place, and decides nothing.
    shadow: Option<Arc<Engine>>,
    log: Arc<DecisionLog>,
    counters: Arc<RuleCounters>,
}

impl Snapshot {
    fn new(engine: Arc<Engine>, shadow: Option<Arc<Engine>>, log: DecisionLog) -> Self {
        let counters = Arc::new(RuleCounters::of(engine.policy.rules().len()));
        Self { engine, shadow, log: Arc::new(log), counters }
    }
}

/// Answers checks. Cheap to share; the configuration in it can be exchanged
/// while checks run, each of which sees one from its start to its end.
pub struct Checker {
    snapshot: ArcSwap<Snapshot>,
    clock: Arc<dyn Clock>,
    checks: Arc<Checks>,
    traces: Option<Traces>,
    hints: Hints,
}

impl std::fmt::Debug for Checker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checker").field("engine", &self.engine()).finish_non_exhaustive()
    }
}

impl Checker {
    /// A checker that starts with this engine.
    #[must_use]
    pub fn new(engine: Arc<Engine>, clock: Arc<dyn Clock>, log: DecisionLog) -> Self {
        let snapshot = ArcSwap::from_pointee(Snapshot::new(engine, None, log));
        Self { snapshot, clock, checks: Arc::default(), traces: None, hints: Hints::default() }
    }

    /// The same, beside which another engine decides, whose answers are told of
    /// where they differ.
    #[must_use]
    pub fn shadowed(self, shadow: Option<&Arc<Engine>>) -> Self {
        self.snapshot.rcu(|now| Snapshot { shadow: shadow.cloned(), ..(**now).clone() });
        self
    }

    /// The same, counted and traced by these.
    #[must_use]
    pub fn observed(self, checks: Arc<Checks>, traces: Option<Traces>) -> Self {
        Self { checks, traces, ..self }
    }

    /// The engine that decides now.
    #[must_use]
    pub fn engine(&self) -> Arc<Engine> {
        Arc::clone(&self.snapshot.load().engine)
    }

    /// The time by which it decides.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    /// Puts another configuration in the place of the one that decides.
    pub fn replace(&self, engine: Arc<Engine>, shadow: Option<Arc<Engine>>, log: DecisionLog) {
        self.snapshot.store(Arc::new(Snapshot::new(engine, shadow, log)));
    }

    /// Whether requests can be decided: whether it is known who is shut out.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.snapshot.load().engine.verifier.revocations().is_loaded()
    }

    /// Whether a question's own trace is of use.
    #[must_use]
    pub fn traces(&self) -> bool {
        self.traces.is_some()
    }

    /// Decides, tells, and lets the transport make its answer of the decision.
    ///
    /// A panic in the decision is a denial. A question that holds no request,
    /// or none that can be read in one way, comes with the reason to deny it.
    pub fn check<T>(
        &self,
        question: Result<&CheckInput<'_>, Reason>,
        context: Context<'_>,
        answer: impl FnOnce(Decision<'_>) -> T,
    ) -> T {
        let started = Instant::now();
        let snapshot = self.snapshot.load();
        let engine = &*snapshot.engine;
        let now = self.clock.now();
        let decision = match question {
            Err(_) if !engine.verifier.revocations().is_loaded() => {
                Decision::deny(Reason::NotReady)
            }
            Err(reason) => Decision::deny(reason),
            Ok(input) => {
                // The engine holds no lock and nothing that a panic could
                // leave half changed.
                let decide = || engine.decide(input, now);
                catch_unwind(AssertUnwindSafe(decide))
                    .unwrap_or_else(|_| Decision::deny(Reason::Internal))
            }
        };
        let took = started.elapsed();
        self.checks.count(&snapshot.counters, &decision, context.transport, took);
        let entry = Entry { decision: &decision, input: question.ok(), context, took };
        snapshot.log.write(&entry);
        if let (Some(shadow), Ok(input)) = (&snapshot.shadow, question) {
            self.compare(shadow, input, now, &entry);
        }
        if let (Some(reason), Ok(input)) = (decision.reason(), question) {
            self.hints.look(engine, input, reason);
        }
        if let Some(traces) = &self.traces {
            traces.record(&entry);
        }
        answer(decision)
    }

    /// Decides a second time, and tells what would differ.
    fn compare(&self, shadow: &Engine, input: &CheckInput<'_>, now: Timestamp, entry: &Entry<'_>) {
        let decide = || shadow.decide(input, now);
        let next = catch_unwind(AssertUnwindSafe(decide))
            .unwrap_or_else(|_| Decision::deny(Reason::Internal));
        if let Some(change) = Change::between(entry.decision, &next) {
            self.checks.count_change(change, &next);
            decision_log::tell_change(entry, change, &next);
        }
    }
}
