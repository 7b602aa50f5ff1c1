//! Which mutants there are, as cargo-mutants lists them.

use std::{
    collections::BTreeMap,
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// Where a mutant is, in words that stay true when lines move.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize, Serialize)]
pub(crate) struct Name {
    pub(crate) file: String,
    /// The function.
    #[serde(rename = "in")]
    pub(crate) function: String,
    /// What is changed.
    pub(crate) change: String,
    /// The line on which it is; none for a whole body.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(crate) at: String,
    /// Which of those that this is true of, when there are several.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub(crate) nth: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde hands it in so")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} in {}: {}", self.file, self.function, self.change)?;
        if !self.at.is_empty() {
            write!(f, " at `{}`", self.at)?;
        }
        if self.nth > 0 {
            write!(f, " ({})", self.nth + 1)?;
        }
        Ok(())
    }
}

/// The kinds of mutants.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) enum Genre {
    FnValue,
    BinaryOperator,
    UnaryOperator,
    MatchArm,
    MatchArmGuard,
    StructField,
}

/// One change to the sources.
#[derive(Clone, Debug)]
pub(crate) struct Mutant {
    /// By which it is switched on, from 1.
    pub(crate) number: u32,
    pub(crate) name: Name,
    pub(crate) genre: Genre,
    /// What is replaced, in bytes of the file.
    pub(crate) bytes: Range<usize>,
    /// Its function.
    pub(crate) around: Range<usize>,
    /// On which lines that is, from 1.
    pub(crate) lines: Range<usize>,
    pub(crate) replacement: String,
}

#[derive(Deserialize)]
struct Place {
    line: usize,
    column: usize,
}

#[derive(Deserialize)]
struct Span {
    start: Place,
    end: Place,
}

#[derive(Deserialize)]
struct Function {
    function_name: String,
    span: Span,
}

/// An entry, as cargo-mutants writes it.
#[derive(Deserialize)]
struct Listed {
    file: String,
    function: Option<Function>,
    span: Span,
    replacement: String,
    genre: Genre,
}

/// All mutants of the rooms, and the sources that they are in.
pub(crate) fn list(
    root: &Path,
    rooms: &[String],
) -> Result<(Vec<Mutant>, BTreeMap<String, String>)> {
    let mut command = Command::new(root.join("target/tools/bin/cargo-mutants"));
    command.current_dir(root).args(["mutants", "--list", "--json", "--package", "portcullis"]);
    for room in rooms {
        let is_file = Path::new(room).extension().is_some();
        command.arg("--file").arg(if is_file { room.clone() } else { format!("{room}/**/*.rs") });
    }
    // What only fuzzing calls.
    command.args(["--exclude", "src/**/fuzzing.rs"]);
    let output = command.output().context("cargo-mutants does not start")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let listed: Vec<Listed> = serde_json::from_slice(&output.stdout)?;

    let mut sources = BTreeMap::new();
    let mut seen = BTreeMap::new();
    let mut mutants = Vec::new();
    for (one, number) in listed.into_iter().zip(1..) {
        if !sources.contains_key(&one.file) {
            sources.insert(one.file.clone(), std::fs::read_to_string(root.join(&one.file))?);
        }
        let source = &sources[&one.file];
        let place = |span: &Span| -> Result<Range<usize>> {
            Ok(offset(source, &span.start)?..offset(source, &span.end)?)
        };
        let bytes = place(&one.span)?;
        let function = one.function.as_ref().map(|function| place(&function.span));
        let around = function.transpose()?.unwrap_or_else(|| bytes.clone());
        let change = change(&one, &source[bytes.clone()]);
        let at = match one.genre {
            Genre::FnValue => "",
            _ => source.lines().nth(one.span.start.line - 1).unwrap_or("").trim(),
        };
        let function = one.function.map_or(String::new(), |function| function.function_name);
        let mut name = Name { file: one.file, function, change, at: at.into(), nth: 0 };
        let nth = seen.entry(name.clone()).or_insert(0);
        (name.nth, *nth) = (*nth, *nth + 1);
        mutants.push(Mutant {
            number,
            name,
            genre: one.genre,
            bytes,
            around,
            lines: one.span.start.line..one.span.end.line + 1,
            replacement: one.replacement,
        });
    }
    Ok((mutants, sources))
}

/// What a mutant does, in a few words.
fn change(one: &Listed, was: &str) -> String {
    match one.genre {
        Genre::FnValue => format!("return {}", one.replacement),
        Genre::BinaryOperator => format!("{was} to {}", one.replacement),
        Genre::UnaryOperator => format!("without {was}"),
        Genre::MatchArm => "without this arm".into(),
        Genre::MatchArmGuard => format!("guard is {}", one.replacement),
        Genre::StructField => "without this field".into(),
    }
}

/// The byte at a line and column, which both count from 1.
fn offset(source: &str, place: &Place) -> Result<usize> {
    let mut before = 0;
    for (line, text) in source.split_inclusive('\n').enumerate() {
        if line + 1 == place.line {
            let columns = text.chars().take(place.column - 1);
            return Ok(before + columns.map(char::len_utf8).sum::<usize>());
        }
        before += text.len();
    }
    anyhow::bail!("line {} is behind the end", place.line)
}

/// All sources below a directory.
pub(crate) fn sources(room: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(room)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(sources(&path)?);
        } else if path.extension().is_some_and(|kind| kind == "rs") {
            found.push(path);
        }
    }
    Ok(found)
}
