//! How many checks there were, what came of them and what they took.

use std::{sync::OnceLock, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::Histogram;
use crate::{
    authz::{Decision, Reason},
    change::Change,
    transport::Transport,
};

/// Upper bounds of what a check takes, in nanoseconds: a microsecond is usual.
const BOUNDS: [u64; 13] = [
    1_000,
    2_500,
    5_000,
    10_000,
    25_000,
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    5_000_000,
    25_000_000,
    100_000_000,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CheckLabels {
    decision: &'static str,
    reason: &'static str,
    rule: String,
    transport: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabel {
    rule: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ChangeLabels {
    change: &'static str,
    rule: String,
}

/// The checks.
#[derive(Debug)]
pub struct Checks {
    total: Family<CheckLabels, Counter>,
    duration: Histogram,
    shadow: Family<RuleLabel, Counter>,
    changes: Family<ChangeLabels, Counter>,
}

impl Default for Checks {
    fn default() -> Self {
        let duration = Histogram::new(&BOUNDS);
        let (total, shadow, changes) = <(_, _, _)>::default();
        Self { total, duration, shadow, changes }
    }
}

/// The counters of allowances, which most checks are: found by the number of
/// the rule that allowed, without a look at its name.
#[derive(Debug)]
pub struct RuleCounters(Box<[[OnceLock<Counter>; Transport::COUNT]]>);

impl RuleCounters {
    /// Those of so many rules.
    #[must_use]
    pub fn of(rules: usize) -> Self {
        Self((0..rules).map(|_| Default::default()).collect())
    }
}

impl Checks {
    pub(super) fn register(&self, registry: &mut Registry) {
        let total = self.total.clone();
        registry.register("checks", "Checks, by what was decided, why and by which rule", total);
        let took = self.duration.clone();
        registry.register("check_duration_seconds", "How long a decision took", took);
        let help = "Checks that a shadow rule would have denied";
        registry.register("shadow_denials", help, self.shadow.clone());
        let help = "Checks that the configuration in [shadow] would have decided otherwise";
        registry.register("shadow_changes", help, self.changes.clone());
    }

    /// Counts a check that a shadow would have decided otherwise, by its rule.
    pub fn count_change(&self, change: Change, next: &Decision<'_>) {
        let rule = next.rule_name().unwrap_or_default().to_owned();
        self.changes.get_or_create(&ChangeLabels { change: change.as_str(), rule }).inc();
    }

    /// Counts a check. The counters are those of the rules that decided it.
    pub fn count(
        &self,
        counters: &RuleCounters,
        decision: &Decision<'_>,
        transport: Transport,
        took: Duration,
    ) {
        let labelled = || self.total.get_or_create_owned(&labels(decision, transport));
        let by_rule = decision
            .rule
            .filter(|_| decision.is_allowed())
            .and_then(|rule| counters.0.get(rule.number)?.get(transport as usize));
        match by_rule {
            Some(counter) => counter.get_or_init(labelled).inc(),
            None => labelled().inc(),
        };
        self.duration.observe(took);
        for rule in &decision.shadow {
            self.shadow.get_or_create(&RuleLabel { rule: (*rule).to_owned() }).inc();
        }
    }
}

fn labels(decision: &Decision<'_>, transport: Transport) -> CheckLabels {
    CheckLabels {
        decision: decision.name(),
        reason: decision.reason().map_or("", Reason::as_str),
        rule: decision.rule_name().unwrap_or_default().to_owned(),
        transport: transport.as_str(),
    }
}
