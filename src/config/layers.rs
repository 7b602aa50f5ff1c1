//! The layers of a configuration: defaults, files, environment.

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
};

use figment::{
    Error, Figment, Metadata, Profile, Provider, Source,
    value::{Dict, Map, Value},
};

use secrecy::ExposeSecret as _;

use super::{
    disk::{Disk, Table},
    engine_part,
    problem::Problem,
    seen::SeenFile,
};
use crate::secret;

/// The name of the layer that is always there.
pub(super) const DEFAULT: &str = "default";
/// What it says.
pub(super) const DEFAULTS: &str = include_str!("default.toml");
/// What configuration is read from the environment: `PORTCULLIS__A__B`.
const PREFIX: &str = "PORTCULLIS__";
/// The configuration file that is read when none is named.
const FILE_VARIABLE: &str = "PORTCULLIS_CONFIG";
/// The key that is used when none is configured.
const SECRET_VARIABLE: &str = "AUTH_JWT_SECRET";

/// For whom a configuration is read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Reading {
    /// The service itself.
    #[default]
    Service,
    /// An upstream that checks once more.
    Upstream,
    /// The engine in another process, which the service feeds.
    Engine,
}

/// Where a configuration comes from.
#[derive(Clone, Default)]
pub struct Sources {
    files: Vec<PathBuf>,
    environment: Vec<(OsString, OsString)>,
    reading: Reading,
    disk: Disk,
    /// What variables of another process say.
    told: Vec<(String, Dict)>,
}

/// Without the environment, which holds secrets.
impl std::fmt::Debug for Sources {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sources").field("files", &self.files).finish_non_exhaustive()
    }
}

impl Sources {
    /// These files, a later one over an earlier one, and these variables over
    /// all of them. Without a file, the one that `PORTCULLIS_CONFIG` names.
    #[must_use]
    pub fn new(
        files: Vec<PathBuf>,
        environment: impl IntoIterator<Item = (OsString, OsString)>,
    ) -> Self {
        let environment = environment.into_iter().collect();
        let mut sources = Self { files, environment, ..Self::default() };
        if sources.files.is_empty()
            && let Some(file) = sources.variable(FILE_VARIABLE)
        {
            sources.files.push(file.into());
        }
        sources
    }

    /// These files and the environment of the process.
    #[must_use]
    pub fn of_process(files: Vec<PathBuf>) -> Self {
        Self::new(files, std::env::vars_os())
    }

    /// The same, for an upstream that checks once more: the files of accounts,
    /// certificates and the provider's secret are those of the service alone,
    /// and need not be there.
    #[must_use]
    pub fn for_upstream(self) -> Self {
        Self { reading: Reading::Upstream, ..self }
    }

    /// What only an engine is made of, from this disk.
    pub(super) fn for_engine(
        files: Vec<PathBuf>,
        secret: Option<String>,
        told: Vec<(String, Dict)>,
        disk: Disk,
    ) -> Self {
        let secret = secret.map(|secret| (SECRET_VARIABLE.into(), secret.into()));
        let environment = secret.into_iter().collect();
        Self { files, environment, reading: Reading::Engine, disk, told }
    }

    pub(super) fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// What variables say of an engine, of those that can be read.
    pub(super) fn told_to_engine(&self) -> Vec<(String, Dict)> {
        let said = self.environment.iter().filter_map(|(name, value)| {
            let (name, dict) = said_by(name.to_str()?, value.to_str()?)?;
            Some((name, engine_part::kept_engine(dict)))
        });
        said.filter(|(_, dict)| !dict.is_empty()).collect()
    }

    pub(super) fn disk(&self) -> Disk {
        self.disk.clone()
    }

    pub(super) fn is_for_service(&self) -> bool {
        self.reading == Reading::Service
    }

    /// The same, with this file over the others.
    pub(super) fn with_file(&self, file: &Path) -> Self {
        let files = self.files.iter().cloned().chain([file.to_owned()]).collect();
        Self { files, ..self.clone() }
    }

    pub(super) fn is_for_upstream(&self) -> bool {
        self.reading == Reading::Upstream
    }

    /// The files as they are now.
    pub(super) fn look(&self) -> Vec<SeenFile> {
        self.files.iter().map(|file| SeenFile::look(file)).collect()
    }

    /// The same, with a random key where the environment has none: for one run.
    /// Without random numbers there is no key, which is a problem of its own.
    #[must_use]
    pub fn with_random_secret(mut self) -> Self {
        if self.secret().is_none()
            && let Ok(secret) = secret::random()
        {
            let secret = secret.expose_secret().into();
            self.environment.push((SECRET_VARIABLE.into(), secret));
        }
        self
    }

    /// The secret of the one key that needs no configuration.
    pub(super) fn secret(&self) -> Option<OsString> {
        self.variable(SECRET_VARIABLE)
    }

    pub(super) fn variable(&self, name: &str) -> Option<OsString> {
        let found = self.environment.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.clone()).filter(|value| !value.is_empty())
    }

    /// All layers, merged; what could not be read is a problem.
    pub(super) fn merge(&self) -> (Figment, Vec<Problem>) {
        let mut problems = Vec::new();
        let defaults = parse(DEFAULTS).unwrap_or_default();
        let mut figment =
            Figment::from(Layer { metadata: Metadata::named(DEFAULT), dict: defaults });
        for file in &self.files {
            match self.read(file) {
                Ok(dict) => {
                    let metadata = Metadata::from("file", Source::File(file.clone()));
                    figment = figment.merge(Layer { metadata, dict });
                }
                Err(problem) => problems.push(problem),
            }
        }
        for (name, value) in &self.environment {
            let Some(path) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
                continue;
            };
            let name = shown(path);
            let path: Vec<String> = keys(path).collect();
            match value.to_str() {
                Some(value) if path.iter().all(|key| !key.is_empty()) => {
                    figment = figment.merge(variable(name, nested(&path, from_variable(value))));
                }
                Some(_) => problems.push(Problem {
                    key: String::new(),
                    source: Some(name),
                    cause: "its name has an empty part".into(),
                    fix: "write the key a.b as PORTCULLIS__A__B".into(),
                }),
                None => problems.push(Problem {
                    key: path.join("."),
                    source: Some(name),
                    cause: "its value is not UTF-8".into(),
                    fix: "set it to a UTF-8 string".into(),
                }),
            }
        }
        for (name, dict) in &self.told {
            figment = figment.merge(variable(name.clone(), dict.clone()));
        }
        (figment, problems)
    }

    fn read(&self, file: &Path) -> Result<Dict, Problem> {
        let problem = |cause: String, fix: &str| Problem {
            key: String::new(),
            source: Some(file.display().to_string()),
            cause,
            fix: fix.to_owned(),
        };
        let text = match self.disk.table(file) {
            Ok(Table::Known(dict)) => return Ok(dict),
            Ok(Table::Text(text)) => text,
            Err(error) => {
                let cause = format!("it cannot be read: {error}");
                return Err(problem(cause, "name a file that exists and may be read"));
            }
        };
        let mut dict = parse(&text).map_err(|error| {
            // The message alone: the whole error shows the line, which may hold
            // a secret.
            let line = error.span().map_or(1, |span| {
                1 + text.bytes().take(span.start).filter(|&byte| byte == b'\n').count()
            });
            problem(format!("line {line} is not TOML: {}", error.message()), "correct that line")
        })?;
        if self.reading == Reading::Engine {
            engine_part::keep_engine(&mut dict);
            self.disk.note_table(file, &dict);
        }
        Ok(dict)
    }
}

/// A variable as it is told of, by its name behind the prefix.
fn shown(name: &str) -> String {
    format!("environment variable {PREFIX}{name}")
}

fn keys(name: &str) -> impl Iterator<Item = String> {
    name.split("__").map(str::to_ascii_lowercase)
}

/// What a variable says, where it says something of a configuration.
fn said_by(name: &str, value: &str) -> Option<(String, Dict)> {
    let name = name.strip_prefix(PREFIX)?;
    let path: Vec<String> = keys(name).collect();
    Some((shown(name), nested(&path, from_variable(value))))
}

fn variable(name: String, dict: Dict) -> Layer {
    Layer { metadata: Metadata::named(name), dict }
}

/// One source of values, told apart by its metadata.
struct Layer {
    metadata: Metadata,
    dict: Dict,
}

impl Provider for Layer {
    fn metadata(&self) -> Metadata {
        self.metadata.clone()
    }

    fn data(&self) -> Result<Map<Profile, Dict>, Error> {
        Ok(Profile::Default.collect(self.dict.clone()))
    }
}

/// A list or a table is written as in TOML; everything else stays text until
/// it is known what is expected.
fn from_variable(value: &str) -> Value {
    if value.trim_start().starts_with(['[', '{'])
        && let Some(parsed) = parse_value(value)
    {
        return parsed;
    }
    Value::from(value)
}

/// A value as it is written in TOML.
pub(super) fn parse_value(text: &str) -> Option<Value> {
    parse(&format!("value = {text}")).ok()?.remove("value")
}

fn nested(path: &[String], value: Value) -> Dict {
    match path {
        [] => Dict::new(),
        [key] => Dict::from([(key.clone(), value)]),
        [key, rest @ ..] => Dict::from([(key.clone(), Value::from(nested(rest, value)))]),
    }
}

fn parse(text: &str) -> Result<Dict, toml::de::Error> {
    let table: toml::Table = toml::from_str(text)?;
    match Value::serialize(table) {
        Ok(Value::Dict(_, dict)) => Ok(dict),
        _ => Ok(Dict::new()),
    }
}
