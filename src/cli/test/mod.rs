//! `test`: cases for a configuration, tried before it is put in force.

mod bench;
mod cases;
mod report;

use std::{collections::BTreeSet, path::PathBuf, process::ExitCode};

use clap::ValueEnum;
use portcullis::authz::{Decision, Reason, Verdict};

pub(in crate::cli) use self::bench::Bench;
use self::{
    cases::{Case, Expect},
    report::{Coverage, Outcome},
};
use super::{ConfigArgs, NO, WRONG, YES, fail, print};

/// Runs test cases against a configuration: each has a request, its caller and the expected
/// answer
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  cat > cases.yaml <<END
  defaults:
    as: { role: REGULAR, id: 7 }
  cases:
    - name: a user sees the agents
      request: { path: /api/agents }
      expect: { decision: allow, rule: agents, headers: { x-user-id: \"7\" } }
    - name: nobody else does
      request: { path: /api/agents }
      as: anonymous
      expect: { reason: no_credential, status: 401 }
  END
  portcullis test --config portcullis.toml cases.yaml

The exit code is 0 if all cases pass, 1 if one fails, and 2 if the configuration or
a file of cases is wrong. `as` takes role, id, name, email, scopes, issuer and claims.
The tokens of the cases are signed with a key that only this run uses; nothing is
fetched.")]
pub(super) struct Test {
    #[command(flatten)]
    config: ConfigArgs,
    /// The format of the results
    #[arg(long, value_enum, default_value_t = Format::Tap)]
    format: Format,
    /// Fails if there is a rule that no case reaches
    #[arg(long)]
    require_coverage: bool,
    /// Files of cases: TOML if the name ends in .toml, otherwise YAML
    #[arg(required = true)]
    cases: Vec<PathBuf>,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// The Test Anything Protocol
    Tap,
    /// The XML that CI systems read
    Junit,
}

impl Test {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let mut files = Vec::with_capacity(self.cases.len());
        for file in &self.cases {
            let name = file.display().to_string();
            let cases = cases::read(file).map_err(|cause| {
                let fix = "see the example of `portcullis test --help`";
                fail(WRONG, format!("{name}: {cause}"), fix)
            })?;
            files.push((name, cases));
        }
        let bench =
            Bench::new(self.config.load()?).map_err(|cause| fail(NO, cause, "try again"))?;
        let (mut outcomes, mut rules, mut reasons) = (vec![], BTreeSet::new(), BTreeSet::new());
        for (file, cases) in files {
            for case in cases {
                let tried = bench.decide(&case, |decision| {
                    rules.extend(decision.rule_name().map(str::to_owned));
                    rules.extend(decision.shadow.iter().map(|&name| name.to_owned()));
                    reasons.extend(decision.reason().map(Reason::as_str));
                    faults(&case.expect, decision)
                });
                let faults = tried.map_err(|cause| {
                    let cause = format!("{file}: the case {:?}: {cause}", case.name);
                    fail(WRONG, cause, "see the example of `portcullis test --help`")
                })?;
                let Case { name, .. } = case;
                outcomes.push(Outcome { file: file.clone(), name, faults });
            }
        }
        let all = bench.engine.policy.rules();
        let never: Vec<String> =
            all.iter().map(|rule| rule.name.clone()).filter(|name| !rules.contains(name)).collect();
        let coverage = Coverage { rules: all.len(), never, reasons: reasons.into_iter().collect() };
        print(match self.format {
            Format::Tap => report::tap(&outcomes, &coverage),
            Format::Junit => report::junit(&outcomes, &coverage),
        });
        let is_good = outcomes.iter().all(|outcome| outcome.faults.is_empty())
            && (coverage.never.is_empty() || !self.require_coverage);
        Ok(ExitCode::from(if is_good { YES } else { NO }))
    }
}

/// What is not as expected.
fn faults(expect: &Expect, decision: &Decision<'_>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut hold = |what: &str, expected: Option<&str>, got: &str| {
        if let Some(expected) = expected.filter(|expected| *expected != got) {
            let got = if got.is_empty() { "none" } else { got };
            faults.push(format!("{what}: expected {expected}, and got {got}"));
        }
    };
    let (status, headers, removed) = told(decision);
    let reason = decision.reason().map_or("", Reason::as_str);
    hold("decision", expect.decision.as_deref(), decision.name());
    hold("reason", expect.reason.as_deref(), reason);
    hold("rule", expect.rule.as_deref(), decision.rule_name().unwrap_or_default());
    let expected = expect.status.map(|status| status.to_string());
    hold("status", expected.as_deref(), &status.to_string());
    for (name, value) in &expect.headers {
        let got = headers.iter().find(|(set, _)| set.eq_ignore_ascii_case(name));
        hold(&format!("header {name}"), Some(value), got.map_or("", |(_, value)| value));
    }
    if let Some(shadow) = &expect.shadow {
        let join = |names: Vec<&str>| names.join(", ");
        let expected = join(shadow.iter().map(String::as_str).collect());
        hold("shadow", Some(&expected), &join(decision.shadow.clone()));
    }
    for name in &expect.removed {
        if !removed.iter().any(|removed| removed.eq_ignore_ascii_case(name)) {
            faults.push(format!("header {name}: expected to be removed, and is not"));
        }
    }
    faults
}

/// The status, and the headers that are set and removed.
fn told(decision: &Decision<'_>) -> (u16, Vec<(String, String)>, Vec<String>) {
    match &decision.verdict {
        Verdict::Allow(grant) => {
            let set = grant.set.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
            let removed = grant.remove.iter().map(|name| name.clone().into_owned());
            (200, set.collect(), removed.collect())
        }
        Verdict::Deny(denial) => {
            let headers = denial.headers().into_iter();
            let headers = headers.map(|(name, value)| (name.to_owned(), value.into_owned()));
            (denial.status(), headers.collect(), Vec::new())
        }
        Verdict::Answer(answer) => {
            let headers = answer.headers.iter();
            let headers = headers.map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
            (answer.status, headers.collect(), Vec::new())
        }
    }
}
