//! Changes the rooms that decide, a bit at a time, and sees whether a test notices.
//!
//! cargo-mutants says which changes there are. All of them are put into one copy of the
//! sources, each behind a switch, so that it is built once; each test is run once to see
//! which it reaches; and then each mutant has the tests run that reach it.

mod changed;
mod constants;
mod list;
mod survivors;
mod tree;
mod trial;
mod weave;

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result};
use list::{Mutant, Name};
use serde::{Deserialize, Serialize};
use tree::Tree;
use trial::{Test, Trial, Verdict};

/// So many of a hundred mutants have to be caught.
const LEAST: usize = 95;

/// So many seconds may the tests of one mutant take together, unless it is said otherwise.
const MOST: u64 = 120;

/// What is asked for.
#[derive(Default)]
struct Asked {
    /// The rooms: directories, or files.
    rooms: Vec<String>,
    /// Only what is changed since there.
    since: Option<String>,
    /// How long mutants may take.
    budget: Option<Duration>,
    /// How many seconds the tests of one mutant may take together.
    most: u64,
    /// Only those that were not caught the last time.
    is_again: bool,
    /// Only files that begin so.
    files: Vec<String>,
}

fn asked() -> Result<Asked> {
    let mut asked = Asked { most: MOST, ..Asked::default() };
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--rooms" => {
                let rooms = arguments.next().context("--rooms which?")?;
                asked.rooms = rooms.split(' ').map(str::to_owned).collect();
            }
            "--since" => asked.since = Some(arguments.next().context("--since what?")?),
            "--budget" => {
                let seconds = arguments.next().context("--budget of how many seconds?")?;
                asked.budget = Some(Duration::from_secs(seconds.parse()?));
            }
            "--most" => asked.most = arguments.next().context("--most how many?")?.parse()?,
            "--again" => asked.is_again = true,
            file => asked.files.push(file.to_owned()),
        }
    }
    Ok(asked)
}

fn main() -> ExitCode {
    match asked().and_then(|asked| run(&asked)) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("mutants: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// What tests were seen to reach, in which build.
#[derive(Default, Deserialize, Serialize)]
struct Reached {
    build: String,
    /// Which mutants there were, by their numbers.
    mutants: Vec<String>,
    tests: Vec<Test>,
}

/// What came of mutants the last time.
type Outcomes = BTreeMap<String, Verdict>;

fn load<T: Default + for<'de> Deserialize<'de>>(path: &Path) -> T {
    let read = fs::read(path).ok();
    read.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

fn run(asked: &Asked) -> Result<bool> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let room = root.join("target/mutants");
    fs::create_dir_all(&room)?;
    let (mutants, _) = list::list(&root, &asked.rooms)?;
    let listed = survivors::read(&root.join("tests/mutants/survivors.toml"))?;
    let mut wrong = Vec::new();
    let names: BTreeSet<&Name> = mutants.iter().map(|mutant| &mutant.name).collect();
    for name in listed.keys().filter(|name| !names.contains(name)) {
        wrong.push(format!("survivors.toml names what is there no more: {name}"));
    }
    let mut outcomes: Outcomes = load(&room.join("outcomes.json"));
    let chosen = chosen(&root, asked, &mutants, &outcomes)?;
    println!("{} mutants in all, {} of them are looked at", mutants.len(), chosen.len());

    if chosen.is_empty() {
        wrong.iter().for_each(|one| eprintln!("{one}"));
        return Ok(wrong.is_empty());
    }

    // All are built in, unless it is about a few: then the build is the same for any choice.
    let built_in: Vec<&Mutant> =
        if asked.since.is_some() { chosen.clone() } else { mutants.iter().collect() };
    // A few have a place of their own, so that what is built of all stays.
    let place = if asked.since.is_some() { room.join("changed") } else { room.clone() };
    fs::create_dir_all(&place)?;
    let tree = Tree::new(&root, &place)?;
    // What did not compile the last time does not now.
    let (unviable_path, odd_path) = (room.join("unviable.json"), room.join("odd.json"));
    let mut unviable: BTreeMap<String, String> = load(&unviable_path);
    let mut known: BTreeMap<String, String> = load(&odd_path);
    let mut left_out: BTreeMap<u32, String> = BTreeMap::new();
    for mutant in &built_in {
        if let Some(why) = known.get(&mutant.name.to_string()) {
            left_out.insert(mutant.number, why.clone());
        }
    }
    let started = Instant::now();
    let built = tree.build(&built_in, &mut left_out)?;
    for mutant in built_in.iter().filter(|mutant| left_out.contains_key(&mutant.number)) {
        known.insert(mutant.name.to_string(), left_out[&mutant.number].clone());
    }
    fs::write(&odd_path, serde_json::to_vec_pretty(&known)?)?;
    println!("built in {} s", started.elapsed().as_secs());

    let build = trial::build_of(&built)?;
    let workers = thread::available_parallelism()?.get();
    let trial = Trial::new(built, &tree.path, &place)?;
    let reached = place.join("reached.json");
    let mut seen: Reached = load(&reached);
    if seen.build != build {
        // With new tests for the same mutants, what the others reach is the same.
        let numbered: Vec<String> = mutants.iter().map(|it| it.name.to_string()).collect();
        let is_same = asked.is_again && seen.mutants == numbered;
        let tests = if is_same { seen.tests } else { Vec::new() };
        seen = Reached { build, mutants: numbered, tests };
    }
    let started = Instant::now();
    let deadline = asked.budget.map(|budget| started + budget);
    // With little time, half of it is for the mutants.
    let half = asked.budget.map(|budget| started + budget / 2);
    let files: Vec<&str> = chosen.iter().map(|mutant| mutant.name.file.as_str()).collect();
    let passed = trial.reach(&mut seen.tests, workers, &files, half);
    fs::write(&reached, serde_json::to_vec(&seen)?)?;
    if let Err(error) = passed {
        wrong.push(format!("{error:#}"));
    }
    println!("{} tests pass, in {} s", seen.tests.len(), started.elapsed().as_secs());

    let (odd, open): (Vec<&Mutant>, Vec<&Mutant>) =
        chosen.iter().copied().partition(|mutant: &&Mutant| left_out.contains_key(&mutant.number));
    let mut verdicts = verdicts(&trial, &open, &seen.tests, workers, (asked.most, deadline))?;
    let mut keep = |verdicts: &[(&Name, Verdict)]| -> Result<()> {
        outcomes.extend(verdicts.iter().map(|(name, verdict)| (name.to_string(), verdict.clone())));
        Ok(fs::write(room.join("outcomes.json"), serde_json::to_vec_pretty(&outcomes)?)?)
    };
    keep(&verdicts)?;
    let mut left = open.len() - verdicts.len();

    // What no switch can be written for is built by itself, where it compiles at all.
    let odd: Vec<&Mutant> =
        odd.into_iter().filter(|it| !unviable.contains_key(&it.name.to_string())).collect();
    if deadline.is_some() {
        // Each takes as long to build as all that have a switch.
        left += odd.len();
    } else if !odd.is_empty() {
        let mut why: BTreeMap<u32, String> = BTreeMap::new();
        let (never, odd): (Vec<&Mutant>, Vec<&Mutant>) =
            odd.into_iter().partition(|it| left_out[&it.number] == weave::LET);
        why.extend(never.iter().map(|it| (it.number, weave::LET.to_owned())));
        // Beside the other one, which stays built.
        let tree = Tree::new(&root, &room.join("plain"))?;
        let viable = tree.viable(&odd, &mut why)?;
        for mutant in chosen.iter().filter(|it| why.contains_key(&it.number)) {
            unviable.insert(mutant.name.to_string(), why[&mutant.number].clone());
        }
        fs::write(&unviable_path, serde_json::to_vec_pretty(&unviable)?)?;
        verdicts
            .extend(by_themselves(&tree, &room, &viable, |it| near(&mutants, &seen.tests, it))?);
    }
    keep(&verdicts)?;

    let is_good = report(&verdicts, &listed, &mut wrong);
    let never = chosen.iter().filter(|it| unviable.contains_key(&it.name.to_string())).count();
    println!("{never} do not compile");
    if left > 0 {
        println!("{left} more were left out, since the time was over; for all: tests/mutants/run");
    }
    for one in &wrong {
        eprintln!("{one}");
    }
    Ok(is_good && wrong.is_empty())
}

/// Builds each of these mutants by itself, and runs its tests.
fn by_themselves<'m, 't>(
    tree: &Tree,
    room: &Path,
    mutants: &[&'m Mutant],
    tests: impl Fn(&Mutant) -> Vec<&'t Test>,
) -> Result<Vec<(&'m Name, Verdict)>> {
    println!("{} are built by themselves", mutants.len());
    let mut verdicts = Vec::new();
    for mutant in mutants {
        let trial = Trial::new(tree.build_plain(mutant)?, &tree.path, room)?;
        let verdict = trial.verdict(0, 0, &tests(mutant))?;
        println!("{verdict}: {}", mutant.name);
        verdicts.push((&mutant.name, verdict));
    }
    Ok(verdicts)
}

/// Those that are looked at.
fn chosen<'m>(
    root: &Path,
    asked: &Asked,
    mutants: &'m [Mutant],
    outcomes: &Outcomes,
) -> Result<Vec<&'m Mutant>> {
    let lines = asked.since.as_ref().map(|since| changed::lines(root, since)).transpose()?;
    let is_chosen = |mutant: &&Mutant| {
        let Mutant { name, lines: own, .. } = mutant;
        let is_open =
            || outcomes.get(&name.to_string()).is_none_or(|it| matches!(it, Verdict::Survived(_)));
        (asked.files.is_empty() || asked.files.iter().any(|file| name.file.starts_with(file)))
            && (!asked.is_again || is_open())
            && lines.as_ref().is_none_or(|lines| changed::touches(lines, &name.file, own))
    };
    Ok(mutants.iter().filter(is_chosen).collect())
}

/// The tests that reach anything in the function of a mutant, or else in its file.
fn near<'t>(mutants: &[Mutant], tests: &'t [Test], mutant: &Mutant) -> Vec<&'t Test> {
    let of = |is_near: &dyn Fn(&Mutant) -> bool| -> Vec<&'t Test> {
        let numbers: BTreeSet<u32> =
            mutants.iter().filter(|it| is_near(it)).map(|it| it.number).collect();
        tests.iter().filter(|test| !test.reaches.is_disjoint(&numbers)).collect()
    };
    let Name { file, function, .. } = &mutant.name;
    let own = of(&|it| it.name.file == *file && it.name.function == *function);
    if own.is_empty() { of(&|it| it.name.file == *file) } else { own }
}

/// Runs the tests of each mutant.
fn verdicts<'m>(
    trial: &Trial,
    mutants: &[&'m Mutant],
    tests: &[Test],
    workers: usize,
    (most, deadline): (u64, Option<Instant>),
) -> Result<Vec<(&'m Name, Verdict)>> {
    let started = Instant::now();
    // In an order that is no file's, so that what has no turn in time is of all of them.
    let mut mixed = mutants.to_vec();
    mixed.sort_by_key(|mutant| mutant.number.wrapping_mul(0x9e37_79b1));
    let open = Mutex::new(mixed);
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for worker in 0..workers {
            let (open, done) = (&open, &done);
            scope.spawn(move || {
                while deadline.is_none_or(|deadline| Instant::now() < deadline) {
                    let Some(mutant) = open.lock().expect("no poison").pop() else { return };
                    let own = trial::reaching(tests, mutant, most);
                    let verdict = trial.verdict(worker, mutant.number, &own);
                    if let Ok(verdict @ Verdict::Survived(_)) = &verdict {
                        println!("{verdict}: {}", mutant.name);
                    }
                    let mut done = done.lock().expect("no poison");
                    done.push((&mutant.name, verdict));
                    if done.len() % 50 == 0 {
                        println!("{} in {} s", done.len(), started.elapsed().as_secs());
                    }
                }
            });
        }
    });
    let done = done.into_inner().expect("no poison");
    println!("{} mutants in {} s", done.len(), started.elapsed().as_secs());
    let mut all = Vec::new();
    for (name, verdict) in done {
        all.push((name, verdict.with_context(|| name.to_string())?));
    }
    Ok(all)
}

/// Tells what came of them, by room; and whether that is as it should be.
fn report(
    verdicts: &[(&Name, Verdict)],
    listed: &BTreeMap<Name, String>,
    wrong: &mut Vec<String>,
) -> bool {
    let mut rooms: BTreeMap<String, [usize; 4]> = BTreeMap::new();
    for (name, verdict) in verdicts {
        let parts: Vec<&str> = name.file.split('/').take(2).collect();
        let is_listed = listed.contains_key(name);
        let column = match (verdict, is_listed) {
            (Verdict::Failed(_), _) => 0,
            (Verdict::Hung(_), _) => 1,
            (Verdict::Survived(_), true) => 2,
            (Verdict::Survived(_), false) => 3,
        };
        for room in [parts.join("/"), "in all".into()] {
            rooms.entry(room).or_default()[column] += 1;
        }
        match (verdict, is_listed) {
            (Verdict::Survived(_), false) => {
                wrong.push(format!("# {verdict}\n{}", survivors::entry(name)));
            }
            (Verdict::Failed(_) | Verdict::Hung(_), true) => {
                wrong.push(format!("survivors.toml names what is caught now: {name}\n  {verdict}"));
            }
            _ => {}
        }
    }
    println!("{:24} {:>7} {:>7} {:>8} {:>9}", "", "failed", "hung", "listed", "survived");
    for (room, [failed, hung, known, survived]) in &rooms {
        println!("{room:24} {failed:7} {hung:7} {known:8} {survived:9}");
    }
    let Some([failed, hung, ..]) = rooms.get("in all") else { return true };
    let (caught, all) = (failed + hung, verdicts.len());
    println!("caught: {caught} of {all}, {}.{} %", caught * 100 / all, caught * 1000 / all % 10);
    // Of a few, one may be many in a hundred.
    caught * 100 >= LEAST * all || all < 200
}
