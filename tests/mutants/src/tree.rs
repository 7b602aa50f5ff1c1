//! The copy of the repository in which the mutants are, and its build.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    constants,
    list::{Mutant, sources},
    weave::{Arm, weave},
};

/// A copy.
pub(crate) struct Tree {
    root: PathBuf,
    pub(crate) path: PathBuf,
    /// Where what is built of it goes.
    out: PathBuf,
}

/// What was built: the binaries of the tests.
#[derive(Debug)]
pub(crate) struct Built {
    pub(crate) unit: PathBuf,
    pub(crate) whole: PathBuf,
}

/// What a run of cargo has made.
struct Artifacts {
    unit: Option<PathBuf>,
    whole: Option<PathBuf>,
}

impl Artifacts {
    fn tests(self) -> Result<Built> {
        let (Some(unit), Some(whole)) = (self.unit, self.whole) else {
            bail!("cargo names no binaries")
        };
        Ok(Built { unit, whole })
    }
}

/// What is built to see whether it compiles: with the features that all tests have.
const UNIT: [&str; 3] = ["test", "--no-run", "--lib"];

/// What is built of the tests.
const TESTS: [&str; 5] = ["test", "--no-run", "--lib", "--test", "it"];

/// A file that is written only when it says something else: then nothing is built anew.
fn write(path: &Path, content: &[u8]) -> Result<()> {
    if fs::read(path).is_ok_and(|was| was == content) {
        return Ok(());
    }
    fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
    fs::write(path, content).with_context(|| path.display().to_string())
}

/// The package without its lints, which the switches need not keep.
fn without_lints(manifest: &str) -> String {
    let mut is_lint = false;
    let keep = manifest.split_inclusive('\n').filter(|line| {
        if line.starts_with('[') {
            is_lint = line.starts_with("[lints");
        }
        !is_lint
    });
    keep.collect()
}

/// The package under a version of its own: otherwise to cargo, which looks at no more than
/// its place in the workspace, what is built of one copy is what is built of another.
fn own(text: &str, room: &Path) -> String {
    let room = room.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
    let Some((before, behind)) = text.split_once("name = \"portcullis\"\nversion = \"") else {
        return text.to_owned();
    };
    let (version, rest) = behind.split_once('"').unwrap_or((behind, ""));
    format!("{before}name = \"portcullis\"\nversion = \"{version}+{room}\"{rest}")
}

impl Tree {
    /// A copy in this room, of the repository as it is now, but for the mutants.
    pub(crate) fn new(root: &Path, room: &Path) -> Result<Self> {
        let path = room.join("tree");
        let mut git = Command::new("git");
        git.current_dir(root).args([
            "ls-files",
            "-z",
            "--cached",
            "--others",
            "--exclude-standard",
        ]);
        let listed = git.output().context("git does not start")?;
        ensure!(listed.status.success(), "git does not list the files");
        let listed = String::from_utf8(listed.stdout)?;
        let mut files = BTreeSet::new();
        for file in listed.split('\0').filter(|file| !file.is_empty()) {
            let Ok(content) = fs::read(root.join(file)) else { continue };
            files.insert(file);
            let is_source = file.starts_with("src/") || file.starts_with("fuzz/src/");
            if is_source && file.ends_with(".rs") && file != "src/main.rs" {
                // Written with its mutants.
                continue;
            }
            let content = match String::from_utf8(content) {
                Ok(text) if file == "Cargo.toml" => own(&without_lints(&text), room).into_bytes(),
                Ok(text) if file == "Cargo.lock" => own(&text, room).into_bytes(),
                // A service that is started without the environment has the switch all the same.
                Ok(text) if file.starts_with("tests/it/") => {
                    text.replace(".env_clear()", ENV_CLEAR).into_bytes()
                }
                Ok(text) => text.into_bytes(),
                Err(other) => other.into_bytes(),
            };
            write(&path.join(file), &content)?;
        }
        // What is there no more.
        let known = room.join("files");
        for was in fs::read_to_string(&known).unwrap_or_default().lines() {
            if !files.contains(was) {
                let _ = fs::remove_file(path.join(was));
            }
        }
        fs::write(known, files.into_iter().collect::<Vec<_>>().join("\n"))?;
        // What tests need beside the sources lies there.
        let target = path.join("target");
        if !target.exists() {
            std::os::unix::fs::symlink(root.join("target"), target)?;
        }
        Ok(Self { root: root.to_owned(), path, out: room.join("out") })
    }

    /// Writes all of these mutants, and builds until it builds; tells which could not be
    /// written so, and why.
    pub(crate) fn build(
        &self,
        mutants: &[&Mutant],
        left_out: &mut BTreeMap<u32, String>,
    ) -> Result<Built> {
        loop {
            let arms = self.write(mutants, left_out)?;
            let before = left_out.len();
            if self.cargo(&UNIT, &arms, left_out)?.is_some()
                && let Some(built) = self.cargo(&TESTS, &arms, left_out)?
            {
                return built.tests();
            }
            ensure!(left_out.len() > before, "what does not build is no mutant's");
            println!("{} cannot be written with a switch so far", left_out.len());
        }
    }

    fn write(
        &self,
        mutants: &[&Mutant],
        left_out: &mut BTreeMap<u32, String>,
    ) -> Result<BTreeMap<String, Vec<Arm>>> {
        let mut arms = BTreeMap::new();
        let count = mutants.iter().map(|mutant| mutant.number + 1).max().unwrap_or(1);
        let switch = include_str!("switch.rs");
        let switch = format!("{switch}\nconst COUNT: usize = {count};\n");
        write(&self.path.join("src/mutant.rs"), switch.as_bytes())?;
        let mut texts = BTreeMap::new();
        for file in ["src", "fuzz/src"].map(|room| sources(&self.root.join(room))) {
            for file in file? {
                let name = file.strip_prefix(&self.root)?.to_str().context("a name is text")?;
                texts.insert(name.to_owned(), fs::read_to_string(&file)?);
            }
        }
        let written: Vec<&Mutant> = mutants
            .iter()
            .filter(|mutant| !left_out.contains_key(&mutant.number))
            .copied()
            .collect();
        let constants = constants::of(&texts, &written)?;
        for (name, source) in texts {
            if name == "src/main.rs" {
                continue;
            }
            let own: Vec<&Mutant> =
                written.iter().filter(|mutant| mutant.name.file == name).copied().collect();
            let mut woven =
                weave(&name, &source, &own, &constants).with_context(|| name.clone())?;
            if name == "src/lib.rs" {
                woven.text.push_str("\npub(crate) mod mutant;\n");
            }
            left_out.extend(woven.left_out);
            write(&self.path.join(&name), woven.text.as_bytes())?;
            arms.insert(name, woven.arms);
        }
        Ok(arms)
    }

    /// Which of these compile as cargo-mutants would write them; tells why the others do not.
    /// Many are tried at once, in functions of their own.
    pub(crate) fn viable<'m>(
        &self,
        mutants: &[&'m Mutant],
        left_out: &mut BTreeMap<u32, String>,
    ) -> Result<Vec<&'m Mutant>> {
        let mut open = mutants.to_vec();
        let mut viable = Vec::new();
        while !open.is_empty() {
            let mut functions = BTreeSet::new();
            let (layer, later): (Vec<&Mutant>, Vec<&Mutant>) = open
                .iter()
                .copied()
                .partition(|it| functions.insert((it.name.file.clone(), it.name.function.clone())));
            println!("{} are tried as they are, {} later", layer.len(), later.len());
            let arms = self.write_plain(&layer)?;
            let mut wrong = BTreeMap::new();
            open = later;
            if self.cargo(&UNIT, &arms, &mut wrong)?.is_some() {
                viable.extend(layer);
                continue;
            }
            ensure!(!wrong.is_empty(), "what does not build is no mutant's");
            open.extend(layer.iter().filter(|mutant| !wrong.contains_key(&mutant.number)));
            left_out.extend(wrong);
        }
        Ok(viable)
    }

    /// Builds one mutant as cargo-mutants would.
    pub(crate) fn build_plain(&self, mutant: &Mutant) -> Result<Built> {
        let arms = self.write_plain(&[mutant])?;
        let built = self.cargo(&TESTS, &arms, &mut BTreeMap::new())?;
        built.with_context(|| format!("{} does not build", mutant.name))?.tests()
    }

    /// Writes these mutants without switches. They do not overlap.
    fn write_plain(&self, mutants: &[&Mutant]) -> Result<BTreeMap<String, Vec<Arm>>> {
        let mut arms = BTreeMap::new();
        let rooms = ["src", "fuzz/src"].map(|room| sources(&self.root.join(room)));
        for file in rooms.into_iter().collect::<Result<Vec<_>>>()?.concat() {
            let name =
                file.strip_prefix(&self.root)?.to_str().context("a name is text")?.to_owned();
            let mut text = fs::read_to_string(&file)?;
            let mut own: Vec<&&Mutant> = mutants.iter().filter(|it| it.name.file == name).collect();
            own.sort_by_key(|mutant| std::cmp::Reverse(mutant.bytes.start));
            let mut all: Vec<Arm> = Vec::new();
            for mutant in own {
                let to = &mutant.replacement;
                text.replace_range(mutant.bytes.clone(), to);
                let grown = to.len().wrapping_sub(mutant.bytes.len());
                let moved = |at: usize| at.wrapping_add(grown);
                for arm in &mut all {
                    arm.own = moved(arm.own.start)..moved(arm.own.end);
                    arm.whole = moved(arm.whole.start)..moved(arm.whole.end);
                }
                // No other one is in its function.
                let own = mutant.bytes.start..mutant.bytes.start + to.len();
                let whole = mutant.around.start..moved(mutant.around.end);
                all.push(Arm { number: mutant.number, own, whole });
            }
            write(&self.path.join(&name), text.as_bytes())?;
            arms.insert(name, all);
        }
        Ok(arms)
    }

    /// Builds once. Without a result, the mutants that do not build are left out by now.
    fn cargo(
        &self,
        what: &[&str],
        arms: &BTreeMap<String, Vec<Arm>>,
        left_out: &mut BTreeMap<u32, String>,
    ) -> Result<Option<Artifacts>> {
        let mut cargo = Command::new("cargo");
        cargo.current_dir(&self.path).args(what);
        cargo.args(["--locked", "--quiet", "--message-format", "json"]);
        // What others have built is used; what is made of it here lies apart.
        cargo.env("CARGO_BUILD_BUILD_DIR", self.root.join("target"));
        cargo.env("CARGO_TARGET_DIR", &self.out);
        let output = cargo.stderr(Stdio::inherit()).output().context("cargo does not start")?;
        let (mut unit, mut whole) = (None, None);
        let (before, mut others) = (left_out.len(), Vec::new());
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            let Ok(message) = serde_json::from_str::<Message>(line) else { continue };
            match message {
                Message::CompilerMessage { message } if message.level.starts_with("error") => {
                    let blamed = blamed(&message, arms);
                    if blamed.is_empty() && !message.spans.is_empty() {
                        others.push(message.rendered.unwrap_or(message.message));
                        continue;
                    }
                    for number in blamed {
                        left_out.insert(number, message.message.clone());
                    }
                }
                Message::CompilerArtifact { target, executable: Some(executable), profile } => {
                    match (target["name"].as_str(), profile.test) {
                        (Some("portcullis"), true) => unit = Some(executable),
                        (Some("it"), true) => whole = Some(executable),
                        _ => {}
                    }
                }
                _ => {}
            }
        }
        if output.status.success() {
            return Ok(Some(Artifacts { unit, whole }));
        }
        if left_out.len() == before {
            others.iter().for_each(|other| eprintln!("{other}"));
        }
        Ok(None)
    }
}

const ENV_CLEAR: &str = ".env_clear().envs(std::env::vars_os()\
    .filter(|(name, _)| name.to_string_lossy().starts_with(\"MUTANT_\")))";

/// The mutants that an error is about: those in whose text it is, or else those of the
/// smallest text with a switch around it. Where it points at first counts before the rest.
fn blamed(message: &Rustc, arms: &BTreeMap<String, Vec<Arm>>) -> BTreeSet<u32> {
    for is_primary in [true, false] {
        let spans = || message.spans.iter().filter(|span| span.is_primary == is_primary);
        let own: BTreeSet<u32> = spans().flat_map(|span| within(span, arms)).collect();
        if !own.is_empty() {
            return own;
        }
        let around: BTreeSet<u32> = spans().flat_map(|span| around(span, arms)).collect();
        if !around.is_empty() {
            return around;
        }
    }
    BTreeSet::new()
}

/// The mutants whose own text has this in it.
fn within(span: &RustcSpan, arms: &BTreeMap<String, Vec<Arm>>) -> BTreeSet<u32> {
    let own = arms.get(&span.file_name).into_iter().flatten();
    let own = own.filter(|arm| arm.own.start <= span.byte_start && span.byte_end <= arm.own.end);
    own.map(|arm| arm.number).collect()
}

/// The mutants of the smallest text with a switch that has this in it.
fn around(span: &RustcSpan, arms: &BTreeMap<String, Vec<Arm>>) -> BTreeSet<u32> {
    let all = || {
        let all = arms.get(&span.file_name).into_iter().flatten();
        all.filter(|arm| arm.whole.start <= span.byte_start && span.byte_end <= arm.whole.end)
    };
    let least = all().map(|arm| arm.whole.len()).min();
    all().filter(|arm| Some(arm.whole.len()) == least).map(|arm| arm.number).collect()
}

/// What cargo tells.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerMessage {
        message: Rustc,
    },
    CompilerArtifact {
        target: Value,
        executable: Option<PathBuf>,
        profile: Profile,
    },
    #[serde(other)]
    Other,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Rustc {
    message: String,
    level: String,
    spans: Vec<RustcSpan>,
    rendered: Option<String>,
}

#[derive(Deserialize)]
struct RustcSpan {
    file_name: String,
    byte_start: usize,
    byte_end: usize,
    is_primary: bool,
}
