//! The mutants that no test catches, with the reason why each changes nothing.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::list::Name;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    survivor: Vec<Entry>,
}

#[derive(Deserialize)]
struct Entry {
    #[serde(flatten)]
    name: Name,
    /// Why it changes nothing.
    why: String,
}

/// Reads the list.
pub(crate) fn read(path: &Path) -> Result<BTreeMap<Name, String>> {
    let text = fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let file: File = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let mut all = BTreeMap::new();
    for Entry { name, why } in file.survivor {
        ensure!(!why.trim().is_empty(), "{name}: say why it changes nothing");
        let twice = format!("{name}: is there twice");
        ensure!(all.insert(name, why).is_none(), "{twice}");
    }
    Ok(all)
}

/// An entry as it would stand in the list.
pub(crate) fn entry(name: &Name) -> String {
    let toml = toml::to_string(name).unwrap_or_default();
    format!("[[survivor]]\n{toml}why = \"\"\n")
}
