//! The reference pages tell what the code has, no less and no more. Those of configuration
//! and commands are written by this: `docs/run --write`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use portcullis::config::{Config, Sources};
use serde_json::Value;
use tempfile::TempDir;

use super::book::room;
use crate::support::{output, portcullis, read, root};

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
         Every key, with its type and unit, its default, and the version since which it is there. \
         A configuration is one or more TOML files; a later one wins. A key `a.b` is also the \
         variable `PORTCULLIS__A__B`, which wins over all files; a list or a table is written \
         there as in TOML.\n\n\
         <!-- Written by docs/run --write, of docs/configuration.toml and src/config/default.toml. -->\n\n\
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
         `check-config` prints every problem at once, each with its key, where it comes from, and \
         how to fix it. A key that there is not is a problem, too.\n\n\
         ## How values are written\n\n\
         | type | as in |\n|---|---|\n\
         | duration | `\"250ms\"`, `\"30s\"`, `\"10m\"`, `\"8h\"`, `\"7d\"` |\n\
         | address | `\"127.0.0.1:9191\"`, `\"[::]:9191\"` |\n\
         | network | `\"10.0.0.0/8\"`, `\"fd00::/8\"` |\n\
         | origin | `\"https://app.example.com\"`: scheme, host and port |\n\
         | path of a file | from the directory of the file that names it |\n\n\
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
        for probe in &table.probes {
            let Asked { known, is_unknown, is_toml } = asked(&room, probe, "no_such_key");
            assert!(is_unknown && is_toml, "{}: {probe}", table.name);
            let lacks: Vec<_> = known.iter().filter(|key| !table.keys.contains_key(*key)).collect();
            // These are asked for where they are there, and so they are named by none.
            assert!(!known.is_empty() || table.name == "issuers[].claims", "{}", table.name);
            assert!(lacks.is_empty(), "{} lacks {lacks:?}", table.name);
        }
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
fn hold(page: &str, generated: &str) {
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

/// What `--help` of a command says, and those of its subcommands.
fn helps(command: &[String], page: &mut String) {
    let help = output(portcullis().args(command).arg("--help"), "");
    let help = String::from_utf8(help.stdout).unwrap();
    let level = if command.len() > 1 { "###" } else { "##" };
    let (about, rest) = help.split_once("\n\nUsage: ").unwrap();
    let subcommands: Vec<&str> = rest
        .split_once("\nCommands:\n")
        .map(|(_, rest)| rest.lines().take_while(|line| !line.is_empty()))
        .into_iter()
        .flatten()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|name| !name.is_empty() && *name != "help")
        .collect();
    if !command.is_empty() {
        let (name, about) = (command.join(" "), about.replace('\n', " "));
        write!(page, "\n{level} {name}\n\n{about}\n\n```text\nUsage: {}\n```\n", rest.trim_end())
            .unwrap();
    }
    for name in subcommands {
        let command: Vec<String> = command.iter().cloned().chain([name.to_owned()]).collect();
        helps(&command, page);
    }
}

#[test]
fn the_page_of_the_commands_is_what_they_say_of_themselves() {
    let mut page = String::from(
        "# Commands\n\n\
         `portcullis` is one program with several commands. Each explains itself with `--help`; \
         this page is what they say.\n\n\
         <!-- Written by docs/run --write, of the commands' own --help. -->\n\n\
         ## The shortest example\n\n\
         ```sh\n\
         portcullis --version\n\
         portcullis explain /api/healthcheck\n\
         ```\n\n\
         <!-- printed -->\n\
         ```text\n\
         portcullis …\n\
         decision allow\n\
         ```\n\n\
         The exit code is 0 for a yes, 1 for a no, and 2 where the usage or the configuration is \
         wrong.\n",
    );
    helps(&[], &mut page);
    assert!(page.matches("\n### ").count() > 10, "{page}");
    hold("docs/src/reference/commands.md", &page);
}

#[test]
fn the_page_of_reasons_has_each_and_its_advice_and_no_other() {
    let page = read("docs/src/reference/reasons.md");
    let rows: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once(" | ")?.1.split_once(" | "))
        .zip(page.lines().filter(|line| line.starts_with("| `")))
        .map(|((status, advice), line)| {
            assert!(advice.len() > 10, "{line}");
            format!("{} {status}", line.split('`').nth(1).unwrap())
        })
        .collect();
    let reasons: BTreeSet<String> = portcullis::authz::Reason::ALL
        .iter()
        .map(|reason| format!("{} {}", reason.as_str(), reason.status()))
        .collect();
    assert_eq!(rows, reasons);
}

#[test]
fn the_page_of_metrics_has_each_and_no_other() {
    let page = read("docs/src/reference/metrics.md");
    let rows = page.lines().filter(|line| line.starts_with("| `portcullis_"));
    let first_cells = rows.filter_map(|line| line.split(" | ").next());
    let told: BTreeSet<String> = first_cells
        .flat_map(|cell| cell.split('`').skip(1).step_by(2))
        .map(|name| name.split('{').next().unwrap().trim_end_matches("_total").to_owned())
        .collect();
    let code = read("src/metrics/mod.rs") + &read("src/metrics/checks.rs");
    let there: BTreeSet<String> = code
        .split("registry.register(")
        .skip(1)
        .filter_map(|rest| rest.trim_start().strip_prefix('"')?.split('"').next())
        .map(|name| format!("portcullis_{name}"))
        .collect();
    assert!(there.len() > 15, "{there:?}");
    assert_eq!(told, there);
}

#[test]
fn the_page_of_the_endpoints_is_what_their_document_says() {
    let document: Value = serde_json::from_str(&read("docs/src/reference/openapi.json")).unwrap();
    let mut page = String::from(
        "# HTTP endpoints\n\n\
         What `http.listen` answers to browsers and pages, and `internal.listen` to probes, \
         Prometheus and gateways. [`openapi.json`](openapi.json) is the same for programs, as \
         OpenAPI 3.1: every operation of it is asked of the running service by a test. The \
         gateways' gRPC is that of `envoy.service.auth.v3`: \
         [ask it by hand](../how-to/grpcurl.md).\n\n\
         <!-- Written by docs/run --write, of openapi.json. -->\n\n\
         ## The shortest example\n\n\
         ```sh\n\
         portcullis serve --dev &\n\
         curl -s localhost:8080/session -H 'content-type: application/json' \\\n  \
           -d '{\"username\":\"demo\",\"password\":\"demo\"}'\n\
         ```\n\n\
         <!-- printed -->\n\
         ```text\n\
         {\"expires_in\":28800,…,\"token\":\"…\"}\n\
         ```\n\n\
         Every error has one form:\n\n\
         ```text\n\
         {\"error\":{\"message\":\"…\",\"type\":\"auth_error\",\"param\":null,\"code\":\"401\"}}\n\
         ```\n",
    );
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    for tag in document["tags"].as_array().unwrap() {
        write!(page, "\n## {}\n\n{}\n\n", text(&tag["name"]), text(&tag["description"])).unwrap();
        page.push_str("| request | what it is for | body | answers |\n|---|---|---|---|\n");
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                if operation["tags"][0] != tag["name"] {
                    continue;
                }
                let answers = operation["responses"].as_object().unwrap().iter();
                let answers = answers
                    .map(|(status, answer)| format!("{status} {}", text(&answer["description"])));
                let content = operation["requestBody"]["content"].as_object();
                let body = content.into_iter().flatten().map(|(kind, body)| {
                    let schema = match body["schema"]["$ref"].as_str() {
                        Some(name) => document.pointer(name.strip_prefix('#').unwrap()).unwrap(),
                        None => &body["schema"],
                    };
                    let fields = schema["properties"].as_object().unwrap().keys();
                    let fields: Vec<_> = fields.map(|name| format!("`{name}`")).collect();
                    format!("{}: {}", kind.rsplit('/').next().unwrap(), fields.join(", "))
                });
                writeln!(
                    page,
                    "| `{} {path}` | {} | {} | {} |",
                    method.to_uppercase(),
                    text(&operation["summary"]),
                    body.collect::<Vec<_>>().join("; "),
                    answers.collect::<Vec<_>>().join("; "),
                )
                .unwrap();
            }
        }
    }
    hold("docs/src/reference/http.md", &page);
}
