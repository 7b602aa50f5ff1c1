//! What the house promises of itself.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use crate::support::{read, root};

pub(crate) fn sources(under: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, files: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, files);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                files.push(path);
            }
        }
    }
    let mut files = Vec::new();
    walk(&root().join(under), &mut files);
    assert!(!files.is_empty());
    files
}

#[test]
fn the_decision_and_the_tokens_know_no_runtime_no_network_and_no_clock() {
    let strangers = [
        "tokio",
        "tonic",
        "axum",
        "redis",
        "hyper",
        "tower",
        "std::fs",
        "std::net::Tcp",
        "std::env",
        "SystemTime",
        "SystemClock",
        "Instant::now",
        "crate::config",
        "crate::grpc",
        "crate::app",
        "crate::guard",
        "crate::checker",
    ];
    for file in sources("src/authz").into_iter().chain(sources("src/token")) {
        let text = fs::read_to_string(&file).unwrap();
        for stranger in strangers {
            assert!(!text.contains(stranger), "{} knows {stranger}", file.display());
        }
    }
}

#[test]
fn only_the_composition_and_the_command_line_read_the_configuration() {
    let may = ["src/config/", "src/cli/", "src/app/", "src/guard/mod.rs", "src/lib.rs"];
    // What these take of it are plain types, not the configuration.
    let plain = BTreeMap::from([
        ("src/grpc/incoming.rs", "config::Listen"),
        ("src/telemetry.rs", "config::LogFormat"),
    ]);
    for file in sources("src") {
        let name = file.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
        if may.iter().any(|place| name.starts_with(place)) {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap();
        // Envoy's package of that name is another.
        let text = text.replace("config::core::v3", "");
        let rest =
            plain.get(name.as_str()).map_or(text.clone(), |allowed| text.replace(allowed, ""));
        assert!(!rest.contains("config::"), "{name} reads the configuration");
    }
}

#[test]
fn rooms_are_small() {
    let mut lengths = Vec::new();
    for file in sources("src").into_iter().chain(sources("envoy/module/src")) {
        let text = fs::read_to_string(&file).unwrap();
        let lines = text.lines().count();
        if !file.ends_with("tests.rs") {
            assert!(lines <= 400, "{} has {lines} lines", file.display());
            lengths.push(lines);
        }
    }
    lengths.sort_unstable();
    assert!(lengths[lengths.len() / 2] <= 150, "half of the files are longer than 150 lines");
}

#[test]
fn every_threat_that_is_listed_is_held_by_tests_that_exist() {
    let threats = read("tests/THREATS.md");
    let rows: Vec<&str> = threats.lines().filter(|line| line.starts_with("| ")).skip(1).collect();
    assert!(rows.len() > 10);
    let tests = sources("tests/it");
    for row in rows {
        let cells: Vec<&str> = row.trim_matches(['|', ' ']).split(" | ").collect();
        let [_, _, held_by] = cells[..] else { panic!("{row}") };
        for test in held_by.split("`, `").map(|test| test.trim_matches('`')) {
            let (file, name) = if let Some((file, name)) = test.split_once(": ") {
                (file.to_owned(), name)
            } else {
                let (file, name) = test.split_once("::").unwrap_or_else(|| panic!("{test}"));
                let is_it = |path: &&PathBuf| path.file_stem().is_some_and(|stem| stem == file);
                let path = tests.iter().find(is_it).unwrap_or_else(|| panic!("no file of {test}"));
                (path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), name)
            };
            assert!(read(&file).contains(&format!("fn {name}(")), "{test} is no test of {file}");
        }
    }
}
