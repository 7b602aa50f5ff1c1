//! What was found, in the order of its places.

use std::{collections::HashSet, fmt};

use portcullis::config::Problem;
use serde_json::{Value, json};

use super::tree::Node;

/// What it comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Severity {
    /// It is open.
    Error,
    /// It may not be meant.
    Warning,
}

impl Severity {
    fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
        }
    }
}

/// One of them. The problem's source is the listener.
#[derive(Debug)]
struct Finding {
    severity: Severity,
    problem: Problem,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Report {
    findings: Vec<Finding>,
    /// The places and causes of all: two listeners may have the same routes.
    told: HashSet<(String, String)>,
    listener: Option<String>,
}

impl Report {
    /// What is found from here on is of this listener, or of none.
    pub(super) fn look_at(&mut self, listener: Option<&str>) {
        self.listener = listener.map(str::to_owned);
    }

    /// It is open.
    pub(super) fn error(
        &mut self,
        at: &Node<'_>,
        cause: impl Into<String>,
        fix: impl Into<String>,
    ) {
        self.add(Severity::Error, at, cause.into(), fix.into());
    }

    /// It may not be meant.
    pub(super) fn warn(&mut self, at: &Node<'_>, cause: impl Into<String>, fix: impl Into<String>) {
        self.add(Severity::Warning, at, cause.into(), fix.into());
    }

    /// An error where it opens, and else a warning.
    pub(super) fn grave(&mut self, opens: bool, at: &Node<'_>, cause: String, fix: &str) {
        let severity = if opens { Severity::Error } else { Severity::Warning };
        self.add(severity, at, cause, fix.to_owned());
    }

    fn add(&mut self, severity: Severity, at: &Node<'_>, cause: String, fix: String) {
        if !self.told.insert((at.at().to_owned(), cause.clone())) {
            return;
        }
        let source = self.listener.as_ref().map(|name| format!("listener {name:?}"));
        let problem = Problem { key: at.at().to_owned(), source, cause, fix };
        self.findings.push(Finding { severity, problem });
    }

    pub(super) fn has_errors(&self) -> bool {
        self.findings.iter().any(|finding| finding.severity == Severity::Error)
    }

    pub(super) fn in_json(&self) -> Value {
        let finding = |Finding { severity, problem }: &Finding| {
            let Problem { key, source, cause, fix } = problem;
            let listener = source.as_deref().and_then(|source| source.strip_prefix("listener "));
            json!({
                "severity": severity.as_str(), "at": key, "cause": cause, "fix": fix,
                "listener": listener.map(|name| name.trim_matches('"')),
            })
        };
        self.findings.iter().map(finding).collect()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for Finding { severity, problem } in &self.findings {
            writeln!(f, "{}: {problem}", severity.as_str())?;
        }
        Ok(())
    }
}
