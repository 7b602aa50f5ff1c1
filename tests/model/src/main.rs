//! Checks in every order of events what replicas share: codes that work once, cut-offs,
//! and the list of revocations, on a store that fails.
//!
//! Each run is a model with the faults that may happen in it, and says which of the
//! properties break. A run fails when another one breaks, and also when one of these
//! does not: a mistake that is not found, or a loss that has no consequence, would be a
//! model that sees nothing.

mod codes;
mod cut_offs;
mod list;
mod store;

use std::{fmt::Debug, hash::Hash, process::ExitCode, time::Instant};

use codes::Codes;
use cut_offs::CutOffs;
use list::List;
use stateright::{Checker, Expectation, HasDiscoveries, Model};
use store::Faults;

/// What has come of the runs.
#[derive(Default)]
struct Report {
    states: usize,
    failures: usize,
}

impl Report {
    /// All orders; these properties break, and no other.
    fn all<M>(&mut self, name: &str, model: M, breaks: &[&'static str])
    where
        M: Model + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq,
    {
        self.run(name, model, breaks, HasDiscoveries::All);
    }

    /// A mistake: these properties break.
    fn mistake<M>(&mut self, name: &str, model: M, breaks: &[&'static str])
    where
        M: Model + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq,
    {
        let found = HasDiscoveries::AllOf(breaks.iter().copied().collect());
        self.run(name, model, breaks, found);
    }

    fn run<M>(&mut self, name: &str, model: M, breaks: &[&'static str], until: HasDiscoveries)
    where
        M: Model + Send + Sync + 'static,
        M::State: Clone + Debug + Hash + PartialEq + Send + Sync + 'static,
        M::Action: Clone + Debug + PartialEq,
    {
        let is_whole = matches!(until, HasDiscoveries::All);
        let started = Instant::now();
        let checker = model.checker().threads(2).finish_when(until).spawn_bfs().join();
        let took = started.elapsed();
        self.states += checker.unique_state_count();
        println!("{name}: {} states, {:.1} s", checker.unique_state_count(), took.as_secs_f64());
        for property in checker.model().properties() {
            let found = checker.discovery(property.name);
            let expected = match property.expectation {
                Expectation::Sometimes => true,
                _ => breaks.contains(&property.name),
            };
            if found.is_some() == expected {
                if let (Some(path), Expectation::Always) = (found, property.expectation) {
                    println!(
                        "    breaks: {}, in {} steps",
                        property.name,
                        path.into_actions().len()
                    );
                }
            } else if is_whole || expected && breaks.contains(&property.name) {
                self.failures += 1;
                let how = if expected { "is not seen, and should be" } else { "breaks" };
                println!("    WRONG: {} {how}", property.name);
                for action in found.into_iter().flat_map(stateright::Path::into_actions) {
                    println!("        {action:?}");
                }
            }
        }
    }
}

/// Whatever happens but the loss of writes.
fn without_loss(failovers: u8, outages: u8) -> Faults {
    Faults { failovers, outages, ..Faults::default() }
}

fn codes(report: &mut Report, failovers: u8) {
    use codes::{BY_LOSS_ALONE, Mistake, NONE_WITHOUT_TAKING, ONE_TOKEN, ONE_USE};
    let whole = without_loss(failovers, 1);
    let losing = Faults { loses: true, splits: true, unseen: true, ..whole };
    report.all("codes", Codes { faults: whole, ..Codes::default() }, &[]);
    report.all(
        "codes, with failovers that lose writes",
        Codes { faults: losing, ..Codes::default() },
        &[ONE_TOKEN],
    );
    report.all(
        "states of a single sign-on, with failovers that lose writes",
        Codes { faults: losing, provider: true, ..Codes::default() },
        &[],
    );
    for (name, mistake, breaks) in [
        ("GET and then DEL", Mistake::ReadsThenDeletes, vec![ONE_TOKEN, BY_LOSS_ALONE, ONE_USE]),
        (
            "a lost answer is taken for the code",
            Mistake::TakesSilenceForTheValue,
            vec![ONE_TOKEN, NONE_WITHOUT_TAKING],
        ),
        ("a wrong verifier leaves the code", Mistake::SparesTheValue, vec![ONE_USE]),
        ("a code of a lost answer is put back", Mistake::PutsBack, vec![ONE_USE]),
    ] {
        let model = Codes { faults: without_loss(0, 0), mistake, ..Codes::default() };
        report.mistake(&format!("codes, mistake: {name}"), model, &breaks);
    }
}

fn cut_offs(report: &mut Report, failovers: u8, cuts: usize, seconds: u8) {
    use cut_offs::{GOOD, Mistake, OTHERS, VOID, VOID_WITH_LOSS};
    let whole = Faults { behind: 1, ..without_loss(failovers, 0) };
    let losing = Faults { loses: true, ..whole };
    let model = |faults, mistake| CutOffs { faults, mistake, seconds, cuts };
    report.all("cut-offs", model(whole, Mistake::None), &[]);
    report.all(
        "cut-offs, with failovers that lose writes",
        model(losing, Mistake::None),
        &[VOID_WITH_LOSS],
    );
    for (name, mistake, breaks) in [
        ("a token is of the second in which it is signed", Mistake::IssuesByItsOwnClock, VOID),
        ("a sign-in after it is of its second", Mistake::IssuesInTheSecondOfTheCutOff, GOOD),
        ("a code outlives it", Mistake::KeepsCodes, VOID),
        ("it is of the store's clock alone", Mistake::CutsOffByTheClockAlone, VOID),
        ("it is forgotten too soon", Mistake::ForgetsTooSoon, OTHERS),
    ] {
        report.mistake(&format!("cut-offs, mistake: {name}"), model(whole, mistake), &[breaks]);
    }
}

fn list(report: &mut Report, is_long: bool) {
    use list::{BY_LOSS_ALONE, ENFORCED, Mistake};
    let whole = Faults { behind: 1, ..without_loss(1, 1) };
    let losing = Faults { loses: true, unseen: true, splits: true, outages: 0, ..whole };
    let model = |faults, mistake| List {
        faults,
        mistake,
        revoked: 2,
        seconds: 1,
        restarts: 1,
        retries: is_long,
    };
    report.all("revocations", model(whole, Mistake::None), &[]);
    report.all(
        "revocations, with failovers that lose writes",
        model(losing, Mistake::None),
        &[ENFORCED],
    );
    let seen = Faults { unseen: false, splits: false, outages: 1, ..losing };
    for (name, mistake, faults, breaks) in [
        ("200 before it is written", Mistake::AnswersBeforeItIsWritten, whole, ENFORCED),
        ("on at the end after an error", Mistake::GoesOnAtTheEnd, whole, BY_LOSS_ALONE),
        ("on where it stood after an error", Mistake::GoesOnWhereItStood, seen, BY_LOSS_ALONE),
        ("on midway after an error", Mistake::GoesOnMidway, seen, BY_LOSS_ALONE),
        ("by number alone", Mistake::AsksByNumberAlone, losing, BY_LOSS_ALONE),
        ("a list that is not whole is trusted", Mistake::TrustsAnEmptyList, whole, ENFORCED),
    ] {
        report.mistake(&format!("revocations, mistake: {name}"), model(faults, mistake), &[breaks]);
    }
}

fn main() -> ExitCode {
    let is_long = std::env::args().nth(1).as_deref() == Some("--long");
    let started = Instant::now();
    let mut report = Report::default();
    let failovers = if is_long { 2 } else { 1 };
    codes(&mut report, failovers);
    list(&mut report, is_long);
    cut_offs(&mut report, 1, if is_long { 2 } else { 1 }, 3);
    let took = started.elapsed().as_secs_f64();
    println!("{} states in {took:.1} s, {} of it wrong", report.states, report.failures);
    if report.failures == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
