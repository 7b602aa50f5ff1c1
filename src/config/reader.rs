//! Reads values key by key, so that every problem is found in one go and
//! each can say where it is.

use std::{
    cell::RefCell,
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use figment::{
    Figment, Metadata, Source,
    value::{Dict, Value},
};
use secrecy::SecretSlice;
use serde::de::DeserializeOwned;

use super::{
    disk::Disk,
    layers::{DEFAULT, parse_value},
    problem::Problem,
    seen::SeenFile,
    words::{nearest, quoted, what_is_wrong},
};

/// Everything that was read, and what was found wrong with it.
pub(super) struct Reader {
    figment: Figment,
    problems: RefCell<Vec<Problem>>,
    warnings: RefCell<Vec<Problem>>,
    files: RefCell<Vec<SeenFile>>,
    disk: Disk,
}

impl Reader {
    pub(super) fn new(figment: Figment, problems: Vec<Problem>, disk: Disk) -> Self {
        Self {
            figment,
            disk,
            problems: RefCell::new(problems),
            warnings: RefCell::default(),
            files: RefCell::default(),
        }
    }

    /// The whole configuration.
    pub(super) fn root(&self) -> Section<'_> {
        let dict = self.figment.extract().unwrap_or_default();
        Section::new(self, String::new(), dict)
    }

    /// The whole configuration, without these keys of tables.
    pub(super) fn root_without(&self, keys: &[(&str, &str)]) -> Section<'_> {
        let mut root = self.root();
        for (table, key) in keys {
            if let Some(Value::Dict(_, dict)) = root.dict.get_mut(*table) {
                dict.remove(*key);
            }
        }
        root
    }

    /// Problems, warnings, and the files that values were read from.
    pub(super) fn finish(self) -> (Vec<Problem>, Vec<Problem>, Vec<SeenFile>) {
        (self.problems.into_inner(), self.warnings.into_inner(), self.files.into_inner())
    }

    fn metadata(&self, value: &Value) -> Option<&Metadata> {
        self.figment.get_metadata(value.tag())
    }

    /// The file or variable that a value came from; none for a default.
    fn source(&self, value: &Value) -> Option<String> {
        let metadata = self.metadata(value)?;
        match &metadata.source {
            Some(Source::File(file)) => Some(file.display().to_string()),
            _ => Some(metadata.name.to_string()).filter(|name| name != DEFAULT),
        }
    }
}

/// A table of the configuration.
pub(super) struct Section<'r> {
    reader: &'r Reader,
    path: String,
    dict: Dict,
    asked: Vec<&'static str>,
    /// Those that it was looked for, but not asked for.
    looked_for: RefCell<Vec<&'static str>>,
    /// Those whose value could not be read, of which nothing more can be said.
    unread: RefCell<Vec<&'static str>>,
}

impl<'r> Section<'r> {
    fn new(reader: &'r Reader, path: String, dict: Dict) -> Self {
        let (looked_for, unread) = <(RefCell<_>, RefCell<_>)>::default();
        Self { reader, path, dict, asked: Vec::new(), looked_for, unread }
    }

    fn child(&self, path: String, dict: Dict) -> Self {
        Self::new(self.reader, path, dict)
    }

    fn key(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    fn ask(&mut self, key: &'static str) -> Option<Value> {
        self.asked.push(key);
        self.dict.get(key).cloned()
    }

    /// Whether the key is there.
    pub(super) fn has(&self, key: &'static str) -> bool {
        self.looked_for.borrow_mut().push(key);
        self.dict.contains_key(key)
    }

    /// Whether a file or the environment sets the key.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.dict.get(key).is_some_and(|value| self.reader.source(value).is_some())
    }

    /// Whether a file or the environment sets any key of this table.
    pub(super) fn is_any_set(&self) -> bool {
        self.dict.keys().any(|key| self.is_set(key))
    }

    /// Reports a problem of a key of this table, where its value could be read at all.
    pub(super) fn problem(&self, key: &str, cause: impl Into<String>, fix: impl Into<String>) {
        if !self.unread.borrow().contains(&key) {
            self.reader.problems.borrow_mut().push(self.describe(key, cause.into(), fix.into()));
        }
    }

    /// Reports that the value of a key could not be read.
    fn unread(&self, key: &'static str, cause: impl Into<String>, fix: impl Into<String>) {
        self.problem(key, cause, fix);
        self.unread.borrow_mut().push(key);
    }

    /// Reports something that works, but may not be meant.
    pub(super) fn warn(&self, key: &str, cause: impl Into<String>, fix: impl Into<String>) {
        self.reader.warnings.borrow_mut().push(self.describe(key, cause.into(), fix.into()));
    }

    fn describe(&self, key: &str, cause: String, fix: String) -> Problem {
        let value = self.dict.get(key).or_else(|| self.dict.values().next());
        let source = value.and_then(|value| self.reader.source(value));
        Problem { key: self.key(key), source, cause, fix }
    }

    /// A value of this type; `None` when there is none or it is of another
    /// type, which is a problem. `expected` completes "write …".
    pub(super) fn get<T: DeserializeOwned>(
        &mut self,
        key: &'static str,
        expected: &str,
    ) -> Option<T> {
        let value = self.ask(key)?;
        let mut parsed = value.deserialize::<T>();
        // A number or a yes from the environment is text until it is asked for.
        if parsed.is_err()
            && self.is_from_environment(&value)
            && let Some(typed) = value.as_str().and_then(parse_value)
            && let Ok(typed) = typed.deserialize::<T>()
        {
            parsed = Ok(typed);
        }
        match parsed {
            Ok(parsed) => Some(parsed),
            Err(error) => {
                self.unread(key, what_is_wrong(&error.kind), format!("write {expected}"));
                None
            }
        }
    }

    fn is_from_environment(&self, value: &Value) -> bool {
        let metadata = self.reader.metadata(value);
        metadata.is_some_and(|metadata| metadata.name.starts_with("environment"))
    }

    /// Text. A number from the environment is text, too.
    pub(super) fn text(&mut self, key: &'static str, expected: &str) -> Option<String> {
        self.get(key, expected)
    }

    /// Text that `parse` makes something of; what it cannot is a problem.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let text = self.text(key, expected)?;
        let parsed = parse(&text);
        if parsed.is_none() {
            let cause = format!("{} is not accepted here", quoted(&text));
            self.unread(key, cause, format!("write {expected}"));
        }
        parsed
    }

    /// A list of texts, of which `parse` makes something.
    pub(super) fn parsed_list<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Vec<T> {
        let texts: Vec<String> =
            self.get(key, &format!("a list, each {expected}")).unwrap_or_default();
        let (mut list, mut all) = (Vec::with_capacity(texts.len()), true);
        for text in texts {
            let parsed = parse(&text);
            if parsed.is_none() {
                let cause = format!("{} is not accepted here", quoted(&text));
                self.problem(key, cause, format!("write a list, each {expected}"));
                all = false;
            }
            list.extend(parsed);
        }
        if !all {
            self.unread.borrow_mut().push(key);
        }
        list
    }

    /// A duration; zero stands for one that is a problem.
    pub(super) fn duration(&mut self, key: &'static str) -> Duration {
        self.parsed(key, "a duration such as \"30s\" or \"10m\"", |text| {
            humantime::parse_duration(text).ok()
        })
        .unwrap_or_default()
    }

    /// A path; a relative one starts at the directory of its file.
    pub(super) fn path(&mut self, key: &'static str) -> Option<PathBuf> {
        let path = PathBuf::from(self.text(key, "a path")?);
        let value = self.dict.get(key)?;
        let base = match self.reader.metadata(value).and_then(|metadata| metadata.source.as_ref()) {
            Some(Source::File(file)) => file.parent().unwrap_or(Path::new("")),
            _ => Path::new(""),
        };
        Some(base.join(path))
    }

    /// A secret, given as it is (`key`) or as a file that holds it
    /// (`file_key`). Nothing of it is ever shown.
    pub(super) fn secret(
        &mut self,
        key: &'static str,
        file_key: &'static str,
    ) -> Option<SecretSlice<u8>> {
        let inline = self.ask(key);
        let file = self.path(file_key);
        match (inline, file) {
            (Some(_), Some(_)) => {
                let cause = format!("{key} and {file_key} are both given");
                self.problem(key, cause, "leave one of them out");
                None
            }
            (Some(value), None) => {
                let text = value.as_str().map(|text| SecretSlice::from(text.as_bytes().to_vec()));
                if text.is_none() {
                    self.problem(key, "it is not a string", "write the secret in quotes");
                }
                text
            }
            (None, Some(file)) => self.secret_file(file_key, &file),
            (None, None) => None,
        }
    }

    fn secret_file(&self, key: &str, file: &Path) -> Option<SecretSlice<u8>> {
        let shown = file.display();
        let mut secret = self.read_file(key, file)?;
        if secret.ends_with(b"\n") {
            secret.pop();
            self.warn(
                key,
                format!("the newline at the end of {shown} is not part of the secret"),
                format!("write the file without one: printf %s \"$SECRET\" > {shown}"),
            );
        }
        Some(SecretSlice::from(secret))
    }

    /// The content of the file that this key names; `None` without the key,
    /// and when it cannot be read, which is a problem.
    pub(super) fn file(&mut self, key: &'static str) -> Option<Vec<u8>> {
        let file = self.path(key)?;
        self.read_file(key, &file)
    }

    /// Notes a file that something is about to be read from.
    pub(super) fn reads(&self, file: &Path) {
        self.reader.files.borrow_mut().push(SeenFile::look(file));
    }

    /// The text of a file that is not longer than this, in bytes.
    pub(super) fn text_of_file(&self, key: &str, file: &Path, most: u64) -> Option<String> {
        self.reads(file);
        let shown = file.display();
        let text = self.reader.disk.text(file, most);
        text.map_err(|error| {
            let cause = format!("{shown} cannot be read: {error}");
            self.problem(key, cause, "name a text file that this user may read");
        })
        .ok()
    }

    fn read_file(&self, key: &str, file: &Path) -> Option<Vec<u8>> {
        self.reads(file);
        self.reader
            .disk
            .bytes(file)
            .map_err(|error| {
                self.problem(
                    key,
                    format!("{} cannot be read: {error}", file.display()),
                    "name a file that exists and that this user may read",
                );
            })
            .ok()
    }

    /// The table of this key; an empty one when there is none.
    pub(super) fn table(&mut self, key: &'static str) -> Section<'r> {
        let dict = match self.ask(key) {
            Some(Value::Dict(_, dict)) => dict,
            None => Dict::new(),
            Some(_) => {
                self.unread(key, "it is not a table", format!("write [{}]", self.key(key)));
                Dict::new()
            }
        };
        self.child(self.key(key), dict)
    }

    /// The list of tables of this key.
    pub(super) fn tables(&mut self, key: &'static str) -> Vec<Section<'r>> {
        let fix = format!("write [[{}]] for each", self.key(key));
        let Some(value) = self.ask(key) else { return Vec::new() };
        let Value::Array(_, items) = value else {
            self.unread(key, "it is not a list of tables", fix);
            return Vec::new();
        };
        let mut tables = Vec::with_capacity(items.len());
        for (at, item) in items.into_iter().enumerate() {
            match item {
                Value::Dict(_, dict) => {
                    tables.push(self.child(format!("{}[{at}]", self.key(key)), dict));
                }
                _ => self.problem(key, format!("entry {at} is not a table"), fix.clone()),
            }
        }
        tables
    }

    /// Reports the keys that nobody asked for.
    pub(super) fn finish(self) {
        let known: BTreeSet<&str> =
            self.asked.iter().chain(self.looked_for.borrow().iter()).copied().collect();
        let all = known.iter().copied().collect::<Vec<_>>().join(", ");
        for key in self.dict.keys().filter(|key| !self.asked.contains(&key.as_str())) {
            let meant = nearest(key, known.iter().copied());
            let meant = meant.map(|near| format!("write {near}, if that is meant; else "));
            let fix = format!("{}remove it, or use one of: {all}", meant.unwrap_or_default());
            self.problem(key, "there is no such key", fix);
        }
    }
}
