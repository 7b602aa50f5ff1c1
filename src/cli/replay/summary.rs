//! What would change, counted, with examples.

use std::{borrow::Cow, collections::BTreeMap, fmt::Write as _};

use serde_json::{Value, json};

use super::line::Outcome;

/// How many examples are kept of each change.
const EXAMPLES: usize = 10;
/// How many are shown on a screen.
const SHOWN: usize = 3;
/// How many kinds of change are told of at most.
const MAX_KINDS: usize = 10_000;

/// One kind of change: from this outcome to that one.
#[derive(Default)]
struct Change {
    count: u64,
    examples: Vec<String>,
}

/// All of them.
#[derive(Default)]
pub(super) struct Summary {
    pub(super) decisions: u64,
    pub(super) other_lines: u64,
    pub(super) unchanged: u64,
    /// By what it would take to know.
    unknown: BTreeMap<Cow<'static, str>, u64>,
    changes: BTreeMap<(Outcome, Outcome), Change>,
}

impl Summary {
    pub(super) fn unknown(&mut self, what: impl Into<Cow<'static, str>>) {
        *self.unknown.entry(what.into()).or_default() += 1;
    }

    /// Counts the change of a request from one outcome to another.
    pub(super) fn change(
        &mut self,
        before: Outcome,
        after: Outcome,
        shown: impl FnOnce() -> String,
    ) {
        if before == after {
            self.unchanged += 1;
            return;
        }
        let kinds = self.changes.len();
        let key = (before, after);
        if kinds >= MAX_KINDS && !self.changes.contains_key(&key) {
            return self.unknown("more kinds of change than are told of");
        }
        let change = self.changes.entry(key).or_default();
        change.count += 1;
        if change.examples.len() < EXAMPLES {
            change.examples.push(shown());
        }
    }

    /// How many requests would be denied that were allowed, or the other way round.
    pub(super) fn turned(&self, to_allow: bool) -> u64 {
        let turns = |(before, after): &&(Outcome, Outcome)| {
            before.is_allowed != after.is_allowed && after.is_allowed == to_allow
        };
        self.changes.iter().filter(|(key, _)| turns(key)).map(|(_, change)| change.count).sum()
    }

    pub(super) fn has_changes(&self) -> bool {
        !self.changes.is_empty()
    }

    /// From the most frequent to the least.
    fn sorted(&self) -> Vec<(&(Outcome, Outcome), &Change)> {
        let mut all: Vec<_> = self.changes.iter().collect();
        all.sort_by_key(|(_, change)| std::cmp::Reverse(change.count));
        all
    }

    pub(super) fn in_words(&self) -> String {
        let unknown: u64 = self.unknown.values().sum();
        let mut text = format!(
            "decisions  {}\nunchanged  {}\nallow -> deny  {}\ndeny -> allow  {}\nunknown    {unknown}\n",
            self.decisions,
            self.unchanged,
            self.turned(false),
            self.turned(true),
        );
        for (what, count) in &self.unknown {
            let _ = writeln!(text, "  {count}  depend on {what}, which the log does not hold");
        }
        if self.other_lines > 0 {
            let _ = writeln!(text, "other lines  {}", self.other_lines);
        }
        for ((before, after), change) in self.sorted() {
            let _ = writeln!(text, "\n{}  {} -> {}", change.count, told(before), told(after));
            for example in change.examples.iter().take(SHOWN) {
                let _ = writeln!(text, "    {example}");
            }
        }
        text
    }

    pub(super) fn in_json(&self) -> Value {
        let outcome = |outcome: &Outcome| {
            json!({
                "decision": if outcome.is_allowed { "allow" } else { "deny" },
                "reason": outcome.reason,
                "rule": outcome.rule,
            })
        };
        let changes = self.sorted().into_iter().map(|((before, after), change)| {
            json!({
                "count": change.count,
                "before": outcome(before),
                "after": outcome(after),
                "examples": change.examples,
            })
        });
        json!({
            "decisions": self.decisions,
            "other_lines": self.other_lines,
            "unchanged": self.unchanged,
            "allow_to_deny": self.turned(false),
            "deny_to_allow": self.turned(true),
            "unknown": self.unknown,
            "changes": changes.collect::<Vec<_>>(),
        })
    }
}

fn told(outcome: &Outcome) -> String {
    let Outcome { is_allowed, reason, rule } = outcome;
    let decision = if *is_allowed { "allow" } else { "deny" };
    let rule = if rule.is_empty() { String::new() } else { format!(" by {rule}") };
    let reason = if reason.is_empty() { String::new() } else { format!(" ({reason})") };
    format!("{decision}{rule}{reason}")
}
