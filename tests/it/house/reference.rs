//! The reference of the configuration has every key that there is, its default, and no other. It
//! is written by this: `docs/run --write`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use portcullis::config::{Config, Sources};
use tempfile::TempDir;

use super::book::room;
use crate::support::{read, root};

/// Where there is a version before which a key was not there.
const SINCE: &str = "0.1.0";

/// What `docs/configuration.toml` says of a table.
struct Described {
    name: String,
    about: String,
    probes: Vec<String>,
    /// Type, purpose, and what holds where default.toml says nothing.
    keys: BTreeMap<String, (String, String, Option<String>)>,
}

impl Described {
    /// The heading as an anchor: `rules[].mcp` is `rulesmcp`.
    fn anchor(&self) -> String {
        self.name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
    }

    /// Where its defaults are, if they can be anywhere.
    fn defaults<'a>(&self, defaults: &'a toml::Table) -> Option<&'a toml::Table> {
        let mut table = defaults;
        for step in self.name.split('.') {
            table = table.get(step)?.as_table()?;
        }
        Some(table)
    }
}

fn described() -> Vec<Described> {
    let file: toml::Table = toml::from_str(&read("docs/configuration.toml")).unwrap();
    let text = |value: &toml::Value| value.as_str().unwrap().to_owned();
    let table = |table: &toml::Value| {
        let key = |(name, said): (&String, &toml::Value)| {
            let said: Vec<String> = said.as_array().unwrap().iter().map(text).collect();
            assert!(matches!(said.len(), 2 | 3), "{name}");
            (name.clone(), (said[0].clone(), said[1].clone(), said.get(2).cloned()))
        };
        Described {
            name: text(&table["name"]),
            about: text(&table["about"]),
            probes: table["probe"].as_array().unwrap().iter().map(text).collect(),
            keys: table["keys"].as_table().unwrap().iter().map(key).collect(),
        }
    };
    file["table"].as_array().unwrap().iter().map(table).collect()
}

fn defaults() -> toml::Table {
    toml::from_str(&read("src/config/default.toml")).unwrap()
}

/// A value as a file has it.
fn written(value: &toml::Value) -> String {
    match value {
        toml::Value::String(text) => format!("{text:?}"),
        toml::Value::Float(number) => format!("{number:?}"),
        toml::Value::Integer(number) => number.to_string(),
        toml::Value::Boolean(is) => is.to_string(),
        toml::Value::Array(items) => {
            format!("[{}]", items.iter().map(written).collect::<Vec<_>>().join(", "))
        }
        toml::Value::Table(table) if table.is_empty() => "{}".to_owned(),
        other => panic!("{other:?}"),
    }
}

/// The same as a cell of a table; a table has its own.
fn shown(value: &toml::Value) -> String {
    match value {
        toml::Value::Table(table) if table.values().all(|it| !it.is_table()) && table.len() > 1 => {
            "see there".to_owned()
        }
        toml::Value::Table(table) => {
            let each = table.iter().map(|(key, value)| format!("{key} = {}", written(value)));
            format!("`{{ {} }}`", each.collect::<Vec<_>>().join(", "))
        }
        other => format!("`{}`", written(other)),
    }
}

fn configuration() -> String {
    let (defaults, described) = (defaults(), described());
    let mut page = String::from(
        "# Configuration\n\n\
         Every key, with its type and unit, its default, and the version that introduced it. A \
         configuration consists of one or more TOML files; later files override earlier ones. \
         You can also set a key `a.b` with the environment variable `PORTCULLIS__A__B`, which \
         overrides all files. Write lists and tables in it as in TOML.\n\n\
         <!-- Written by docs/run --write, from docs/configuration.toml and src/config/default.toml. -->\n\n\
         ## The shortest example\n\n\
         ```toml\n\
         # portcullis.toml\n\
         [[rules]]\n\
         name = \"agents\"\n\
         path_prefix = \"/api/agents\"\n\
         roles = [\"REGULAR\", \"ADMIN\"]\n\
         ```\n\n\
         ```sh\n\
         portcullis check-config --config portcullis.toml\n\
         PORTCULLIS__TOKENS__LIFETIME=1h portcullis check-config --config portcullis.toml\n\
         ```\n\n\
         <!-- printed -->\n\
         ```text\n\
         ok\n\
         ```\n\n\
         `check-config` prints all problems at once, each with its key, its source and its fix. \
         An unknown key is also a problem.\n\n\
         ## How values are written\n\n\
         | type | example |\n|---|---|\n\
         | duration | `\"250ms\"`, `\"30s\"`, `\"10m\"`, `\"8h\"`, `\"7d\"` |\n\
         | address | `\"127.0.0.1:9191\"`, `\"[::]:9191\"` |\n\
         | network | `\"10.0.0.0/8\"`, `\"fd00::/8\"` |\n\
         | origin | `\"https://app.example.com\"`: scheme, host and port |\n\
         | path of a file | relative to the directory of the file that names it |\n\n\
         ## Tables\n\n\
         | table | what it is for |\n|---|---|\n",
    );
    for table in &described {
        let Described { name, about, .. } = table;
        writeln!(page, "| [`{name}`](#{}) | {about} |", table.anchor()).unwrap();
    }
    for table in &described {
        let Described { name, about, keys, .. } = table;
        write!(
            page,
            "\n## {name}\n\n{about}\n\n| key | type | default | what it is for | since |\n|---|---|---|---|---|\n"
        )
        .unwrap();
        let own = table.defaults(&defaults);
        for (key, (kind, purpose, otherwise)) in keys {
            let default = own.and_then(|own| own.get(key));
            let default = match (default, otherwise) {
                (Some(value), None) => shown(value),
                (None, Some(otherwise)) => otherwise.clone(),
                (Some(_), Some(_)) => panic!("{name}.{key} has a default in default.toml"),
                (None, None) => panic!("{name}.{key} has no default: say what holds"),
            };
            writeln!(page, "| `{key}` | {kind} | {default} | {purpose} | {SINCE} |").unwrap();
        }
    }
    page
}

/// What the service says of a key in a configuration.
struct Asked {
    /// The keys that it names, where there is no such key.
    known: BTreeSet<String>,
    is_unknown: bool,
    is_toml: bool,
}

fn asked(room: &TempDir, probe: &str, key: &str) -> Asked {
    let file = room.path().join("portcullis.toml");
    std::fs::write(&file, probe.replace("KEY", key)).unwrap();
    let environment = [("AUTH_JWT_SECRET".into(), crate::jwt::SECRET.into())];
    let said = match Config::load(&Sources::new(vec![file], environment)) {
        Ok(_) => String::new(),
        Err(problems) => problems.to_string(),
    };
    let mut lines = said.lines().skip_while(|line| !line.contains("there is no such key"));
    let is_unknown = lines.next().is_some_and(|line| line.contains(&format!("{key} ")));
    let known = lines.next().and_then(|line| line.split_once("use one of: "));
    let known = known.into_iter().flat_map(|(_, known)| known.split(", "));
    let known = known.filter(|key| !key.is_empty()).map(str::to_owned).collect();
    Asked { known, is_unknown, is_toml: !said.contains("is not TOML") }
}

#[test]
fn every_key_that_there_is_is_described() {
    let (room, mut tables) = (room(), BTreeSet::new());
    for table in described() {
        let mut names_all = false;
        for probe in &table.probes {
            let Asked { known, is_unknown, is_toml } = asked(&room, probe, "no_such_key");
            assert!(is_unknown && is_toml, "{}: {probe}", table.name);
            let lacks: Vec<_> = known.iter().filter(|key| !table.keys.contains_key(*key)).collect();
            assert!(!known.is_empty(), "{}", table.name);
            names_all |= known.len() == table.keys.len();
            assert!(lacks.is_empty(), "{} lacks {lacks:?}", table.name);
        }
        assert!(names_all, "who errs in {} is not told of all of its keys", table.name);
        tables.insert(table.name.split(['.', '[']).next().unwrap().to_owned());
    }
    assert_eq!(tables, asked(&room, "KEY = 1", "no_such_key").known, "tables of the configuration");
}

#[test]
fn every_key_that_is_described_is_one() {
    let room = room();
    for table in described() {
        for key in table.keys.keys() {
            let is_one = |probe: &String| {
                let Asked { is_unknown, is_toml, .. } = asked(&room, probe, key);
                // One that stands in the probe already would stand there twice.
                if is_toml {
                    !is_unknown
                } else {
                    asked(&room, probe, "no_such_key").known.contains(key)
                }
            };
            assert!(table.probes.iter().any(is_one), "{}.{key}: there is no such key", table.name);
        }
    }
}

#[test]
fn every_default_is_described() {
    // Also those that are shown as a comment.
    let text = read("src/config/default.toml");
    let mut whole = String::new();
    for line in text.lines() {
        let shown = line.strip_prefix("# ").filter(|rest| {
            let name = rest.split([' ', '=']).next().unwrap_or_default();
            let is_name = |name: &str| {
                !name.is_empty()
                    && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
            };
            rest.starts_with('[') || (is_name(name) && rest.contains(" = "))
        });
        writeln!(whole, "{}", shown.unwrap_or(line)).unwrap();
    }
    let whole: toml::Table = toml::from_str(&whole).unwrap();
    let described: BTreeMap<String, Described> =
        described().into_iter().map(|table| (table.name.clone(), table)).collect();
    let mut count = 0;
    let mut tables: Vec<(String, toml::Value)> = whole.into_iter().collect();
    while let Some((name, value)) = tables.pop() {
        match value {
            toml::Value::Array(each) => {
                tables.extend(each.into_iter().map(|table| (format!("{name}[]"), table)));
            }
            toml::Value::Table(table) => {
                for (key, value) in table {
                    assert!(described[&name].keys.contains_key(&key), "{name}.{key}");
                    count += 1;
                    let inner = format!("{name}.{key}");
                    if described.contains_key(&inner) {
                        tables.push((inner, value));
                    }
                }
            }
            other => panic!("{name}: {other:?}"),
        }
    }
    assert!(count > 80, "{count}");
}

/// Compares a page with what is generated, or writes it.
pub(super) fn hold(page: &str, generated: &str) {
    #[expect(clippy::disallowed_methods, reason = "docs/run --write says so")]
    let writes = std::env::var_os("PORTCULLIS_WRITE_REFERENCE").is_some();
    if writes {
        std::fs::write(root().join(page), generated).unwrap();
    }
    assert!(read(page) == generated, "{page} is old: docs/run --write");
}

#[test]
fn the_page_of_the_configuration_is_what_is_generated() {
    hold("docs/src/reference/configuration.md", &configuration());
}
