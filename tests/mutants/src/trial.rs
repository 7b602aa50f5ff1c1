//! Runs tests: once each to see which mutants they reach, and then, with a mutant on, those
//! that reach it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    fs::{self, File},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use rustix::process::{Pid, Signal, kill_process_group};
use serde::{Deserialize, Serialize};

use crate::{list, tree::Built};

/// More than all tests of a binary together may take up.
const MAX_MEMORY: u64 = 3 << 30;

/// What a batch of tests may take beside what it takes without a mutant, five times.
const PATIENCE: Duration = Duration::from_secs(10);

/// A test that takes longer is for mutants that nothing quicker reaches.
const LONG: u64 = 10_000;

/// What of the integration tests asks the rooms: the decision, signing in, and what of the
/// rest is about them. Not what measures, and not what needs gateways, other languages or
/// pages: there, the same questions come as here.
fn is_asked(name: &str) -> bool {
    const ROOMS: [&str; 9] = [
        "decision::",
        "house::openapi::every_operation",
        "operations::cases::",
        "operations::conditions_tried::",
        "operations::config",
        "operations::replay::",
        "operations::revoked::",
        "operations::verify_only::",
        "sign_in::",
    ];
    const NOT: [&str; 16] = [
        "measured",
        "decision::conditions::a_client_hears",
        "decision::conditions::a_route_of_envoy",
        "decision::conditions::over_http",
        "decision::conditions::whose_it_is",
        "decision::java::",
        "decision::mcp_differential::",
        "decision::minted::a_proxy",
        "decision::minted::an_upstream",
        "decision::minted::every_gateway",
        "decision::minted::the_agents",
        "sign_in::pages",
        "through_a_failover",
        "through_caddy",
        "through_envoy",
        "through_nginx",
    ];
    ROOMS.iter().any(|room| name.starts_with(room)) && !NOT.iter().any(|part| name.contains(part))
}

/// A test, what it takes, and the mutants that it reaches.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Test {
    /// Whether it is one of the whole, rather than of a unit.
    pub(crate) is_whole: bool,
    pub(crate) name: String,
    pub(crate) millis: u64,
    pub(crate) reaches: BTreeSet<u32>,
}

/// What came of a mutant.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize)]
pub(crate) enum Verdict {
    /// A test failed.
    Failed(String),
    /// Tests did not end, or took up all memory.
    Hung(String),
    /// All tests that reach it passed: so many.
    Survived(usize),
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(test) => write!(f, "failed: {test}"),
            Self::Hung(test) => write!(f, "did not end: {test}"),
            Self::Survived(0) => f.write_str("not reached by any test"),
            Self::Survived(tests) => write!(f, "survived {tests} tests"),
        }
    }
}

/// How a run of some tests ended.
enum End {
    Passed,
    /// These failed, or the process did not come to its end.
    Failed(Vec<String>),
    Hung,
}

/// Where tests are run.
pub(crate) struct Trial {
    built: Built,
    /// The directory of the package, in which cargo would run them.
    tree: PathBuf,
    room: PathBuf,
}

impl Trial {
    pub(crate) fn new(built: Built, tree: &Path, room: &Path) -> Result<Self> {
        fs::create_dir_all(room)?;
        Ok(Self { built, tree: tree.to_owned(), room: room.to_owned() })
    }

    fn binary(&self, is_whole: bool) -> &Path {
        if is_whole { &self.built.whole } else { &self.built.unit }
    }

    fn names(&self, is_whole: bool) -> Result<Vec<String>> {
        let mut command = Command::new(self.binary(is_whole));
        command.current_dir(&self.tree).args(["--list", "--format", "terse"]);
        let output = command.output()?;
        ensure!(output.status.success(), "the tests cannot be listed");
        let mut ignored = Command::new(self.binary(is_whole));
        ignored.current_dir(&self.tree).args(["--list", "--format", "terse", "--ignored"]);
        let ignored = String::from_utf8(ignored.output()?.stdout)?;
        let ignored: BTreeSet<&str> = ignored.lines().collect();
        let names = String::from_utf8(output.stdout)?;
        let names = names.lines().filter(|line| !ignored.contains(line));
        let names = names.filter_map(|line| line.strip_suffix(": test"));
        Ok(names.filter(|name| !is_whole || is_asked(name)).map(str::to_owned).collect())
    }

    /// Runs each test by itself, without a mutant, and sees what it reaches; tells whether
    /// all had a turn by the end of the time. Those that are known already are not run again;
    /// those whose names begin so come first, then the other ones of units.
    pub(crate) fn reach(
        &self,
        tests: &mut Vec<Test>,
        workers: usize,
        first: &BTreeSet<String>,
        until: Option<Instant>,
    ) -> Result<bool> {
        let mut known: BTreeMap<(bool, String), Test> =
            tests.drain(..).map(|test| ((test.is_whole, test.name.clone()), test)).collect();
        let mut open = Vec::new();
        for is_whole in [true, false] {
            for name in self.names(is_whole)? {
                match known.remove(&(is_whole, name.clone())) {
                    Some(test) => tests.push(test),
                    None => open.push((is_whole, name)),
                }
            }
        }
        println!("{} tests are run once without a mutant", open.len());
        // They are taken from the end.
        open.sort_by_key(|(_, name)| first.iter().any(|begin| name.starts_with(begin)));
        let open = Mutex::new(open);
        let (done, wrong) = (Mutex::new(tests), Mutex::new(Vec::new()));
        thread::scope(|scope| {
            for worker in 0..workers {
                let (open, done, wrong) = (&open, &done, &wrong);
                scope.spawn(move || {
                    while until.is_none_or(|until| Instant::now() < until) {
                        let Some((is_whole, name)) = open.lock().expect("no poison").pop() else {
                            return;
                        };
                        match self.reached(worker, is_whole, &name) {
                            Ok(test) => done.lock().expect("no poison").push(test),
                            Err(error) => {
                                wrong.lock().expect("no poison").push(format!("{error:#}"));
                            }
                        }
                    }
                });
            }
        });
        let tests = done.into_inner().expect("no poison");
        tests.sort_by_key(|test| (test.millis > LONG, test.is_whole, test.millis));
        let wrong = wrong.into_inner().expect("no poison");
        ensure!(wrong.is_empty(), "without any mutant:\n{}", wrong.join("\n"));
        Ok(open.into_inner().expect("no poison").is_empty())
    }

    fn reached(&self, worker: usize, is_whole: bool, name: &str) -> Result<Test> {
        let notes = self.room.join(format!("notes.{worker}"));
        let mut tries = 0;
        loop {
            let _ = fs::remove_file(&notes);
            let started = Instant::now();
            let one = [name];
            let (end, said) = self.run(
                worker,
                is_whole,
                &one,
                &[("MUTANT_NOTES", notes.to_str().context("a path is text")?)],
                Duration::from_secs(120),
            )?;
            tries += 1;
            if !matches!(end, End::Passed) {
                ensure!(tries < 3, "{name} fails\n{said}");
                continue;
            }
            let millis = u64::try_from(started.elapsed().as_millis())?;
            let noted = fs::read_to_string(&notes).unwrap_or_default();
            let reaches = noted.lines().filter_map(|line| line.parse().ok()).collect();
            return Ok(Test { is_whole, name: name.to_owned(), millis, reaches });
        }
    }

    /// Runs the tests that reach a mutant, with that on, quickest first.
    pub(crate) fn verdict(&self, worker: usize, number: u32, tests: &[&Test]) -> Result<Verdict> {
        for is_whole in [false, true] {
            let mut rest: &[&Test] =
                &tests.iter().filter(|test| test.is_whole == is_whole).copied().collect::<Vec<_>>();
            let mut size = if is_whole { 2 } else { 4 };
            while !rest.is_empty() {
                let (batch, behind) = rest.split_at(size.min(rest.len()));
                let names: Vec<&str> = batch.iter().map(|test| test.name.as_str()).collect();
                match self.trial(worker, number, is_whole, &names, batch)? {
                    End::Passed => {}
                    End::Hung => return Ok(Verdict::Hung(names.join(", "))),
                    End::Failed(failed) => {
                        // Once more, so that chance has no say.
                        let names: Vec<&str> = failed.iter().map(String::as_str).collect();
                        match self.trial(worker, number, is_whole, &names, batch)? {
                            End::Passed => {}
                            End::Hung => return Ok(Verdict::Hung(names.join(", "))),
                            End::Failed(_) => return Ok(Verdict::Failed(names.join(", "))),
                        }
                    }
                }
                rest = behind;
                size *= 2;
            }
        }
        Ok(Verdict::Survived(tests.len()))
    }

    fn trial(
        &self,
        worker: usize,
        number: u32,
        is_whole: bool,
        names: &[&str],
        batch: &[&Test],
    ) -> Result<End> {
        let usual = Duration::from_millis(batch.iter().map(|test| test.millis).sum());
        let number = number.to_string();
        let on = [("MUTANT_ON", number.as_str())];
        Ok(self.run(worker, is_whole, names, &on, PATIENCE + 5 * usual)?.0)
    }

    /// Runs these tests of a binary; tells how it ended, and what was said.
    fn run(
        &self,
        worker: usize,
        is_whole: bool,
        names: &[&str],
        environment: &[(&str, &str)],
        patience: Duration,
    ) -> Result<(End, String)> {
        let said = self.room.join(format!("said.{worker}"));
        let file = File::create(&said)?;
        let mut command = Command::new(self.binary(is_whole));
        // As cargo runs them.
        command.current_dir(&self.tree).env("CARGO_MANIFEST_DIR", &self.tree);
        command.args(names).args(["--exact", "--test-threads", "2"]);
        command.envs(environment.iter().copied());
        // The same made-up input each time, so that the outcome is the same, too; and a
        // failure is wanted here: it is not for any file, nor for a person.
        command.env("PROPTEST_RNG_SEED", "7").env("PROPTEST_MAX_SHRINK_ITERS", "0");
        command.env("PROPTEST_DISABLE_FAILURE_PERSISTENCE", "1").env("INSTA_UPDATE", "no");
        command.env_remove("RUST_BACKTRACE");
        command.stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).process_group(0);
        let mut child = command.spawn()?;
        let ended = wait(&mut child, patience)?;
        // What a test that did not come to its end has left.
        if let Some(group) = Pid::from_raw(i32::try_from(child.id())?) {
            let _ = kill_process_group(group, Signal::KILL);
        }
        child.wait()?;
        let said = String::from_utf8_lossy(&fs::read(&said)?).into_owned();
        let end = match ended {
            None => End::Hung,
            Some(true) => End::Passed,
            Some(false) => {
                let failed = said.lines().filter_map(|line| {
                    let name = line.strip_prefix("test ")?.strip_suffix(" ... FAILED")?;
                    names.contains(&name).then(|| name.to_owned())
                });
                let failed: Vec<String> = failed.collect();
                let all = || names.iter().map(|&name| name.to_owned()).collect();
                End::Failed(if failed.is_empty() { all() } else { failed })
            }
        };
        Ok((end, said))
    }
}

/// Waits for the end of a process, and tells whether it was a good one; none for one that
/// did not end in time, or took up all memory.
fn wait(child: &mut Child, patience: Duration) -> Result<Option<bool>> {
    let started = Instant::now();
    let mut looked = started;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.success()));
        }
        if started.elapsed() > patience {
            return Ok(None);
        }
        if looked.elapsed() > Duration::from_millis(100) {
            looked = Instant::now();
            if memory(child.id()) > MAX_MEMORY {
                return Ok(None);
            }
        }
        thread::sleep(Duration::from_millis(if started.elapsed().as_millis() < 200 {
            2
        } else {
            10
        }));
    }
}

/// What the processes of a group have of memory, in bytes.
fn memory(group: u32) -> u64 {
    let mut pages = 0;
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name may hold anything, and ends with the last parenthesis.
        let Some((_, rest)) = stat.rsplit_once(')') else { continue };
        let fields: Vec<&str> = rest.split_whitespace().collect();
        if fields.get(2).is_some_and(|it| *it == group.to_string()) {
            pages += fields.get(21).and_then(|it| it.parse::<u64>().ok()).unwrap_or(0);
        }
    }
    pages * 4096
}

/// By which builds are told apart.
pub(crate) fn build_of(built: &Built) -> Result<String> {
    let mut build = String::new();
    for binary in [&built.unit, &built.whole] {
        let metadata = fs::metadata(binary)?;
        let since = metadata.modified()?.duration_since(std::time::UNIX_EPOCH)?;
        build.push_str(&format!("{} {} {}\n", binary.display(), metadata.len(), since.as_nanos()));
    }
    Ok(build)
}

/// How the tests beside a file are named.
pub(crate) fn beside(file: &str) -> String {
    let file = file.trim_start_matches("src/").trim_end_matches(".rs");
    format!("{}::", file.trim_end_matches("/mod").replace('/', "::"))
}

/// The tests that a mutant has to pass: those beside its code first, then those that are
/// quick and reach little else; and as many as take no more than so many seconds together.
/// Long ones are for what nothing else reaches.
pub(crate) fn reaching<'t>(tests: &'t [Test], mutant: &list::Mutant, most: u64) -> Vec<&'t Test> {
    let all = || tests.iter().filter(|test| test.reaches.contains(&mutant.number));
    let beside = beside(&mutant.name.file);
    let mut quick: Vec<&Test> = all().filter(|test| test.millis < LONG).collect();
    quick.sort_by_key(|test| {
        let is_beside = !test.is_whole && test.name.starts_with(&beside);
        (!is_beside, (test.millis + 20) * test.reaches.len() as u64)
    });
    let mut millis = 0;
    let own = quick.into_iter().take_while(|test| {
        millis += test.millis;
        millis <= most * 1000
    });
    let own: Vec<&Test> = own.collect();
    if own.is_empty() { all().collect() } else { own }
}
