//! The README and the pages of the book: what they tell to write and to run works.
//!
//! A fenced block says by its language what holds it: `toml` is a configuration
//! without a problem, `sh` runs (all of a page in one shell), `yaml`, `nginx`, `ts`,
//! `python` and `java` are a piece of a file that other tests run, `json` is printed
//! by the page's commands, `rust` is a doctest of `src/lib.rs`. `text` shows something.
//! A comment before a block says more:
//!
//! - `<!-- printed -->`: the page's commands print each of its lines; `…` is anything.
//! - `<!-- not run: REASON -->`: it is only shown. How many of these there are is known.

use std::{
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    pki::Authority,
    support::{free_port, output, portcullis, read, root},
};

/// A fenced block of a page.
pub(crate) struct Block {
    /// The word behind the fence.
    pub(crate) language: String,
    /// What is between the fences.
    pub(crate) text: String,
    /// What the comment before it says.
    note: Option<String>,
}

impl Block {
    fn is_only_shown(&self) -> bool {
        self.note.as_deref().is_some_and(|note| note.starts_with("not run: "))
    }

    fn is_printed(&self) -> bool {
        self.note.as_deref() == Some("printed")
    }

    /// The name that a configuration's first line gives it.
    fn name(&self) -> Option<&str> {
        self.text.lines().next()?.strip_prefix("# ").filter(|name| !name.contains(' '))
    }
}

/// The README and every page of the book, by their place in the repository.
pub(crate) fn pages() -> Vec<String> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in std::fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path);
            }
        }
    }
    let mut found = vec![root().join("README.md")];
    walk(&root().join("docs/src"), &mut found);
    found.sort();
    let name = |path: PathBuf| path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned();
    let pages: Vec<String> = found.into_iter().map(name).collect();
    assert!(pages.len() > 40, "{pages:?}");
    pages
}

/// The blocks of a page, in their order.
pub(crate) fn all_blocks(page: &str) -> Vec<Block> {
    let (text, mut blocks, mut before) = (read(page), Vec::new(), "");
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            assert!(!language.starts_with('`'), "{page}: a longer fence");
            let inner: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            let note = before.strip_prefix("<!-- ").and_then(|note| note.strip_suffix(" -->"));
            let (language, note) = (language.to_owned(), note.map(str::to_owned));
            blocks.push(Block { language, text: inner.join("\n"), note });
        }
        if !line.is_empty() {
            before = line;
        }
    }
    blocks
}

/// The texts of a page's blocks of this language.
pub(crate) fn blocks(page: &str, language: &str) -> Vec<String> {
    let wanted = all_blocks(page).into_iter().filter(|block| block.language == language);
    wanted.map(|block| block.text).collect()
}

/// A room with what configurations of the pages name.
pub(crate) fn room() -> tempfile::TempDir {
    let room = tempfile::tempdir().unwrap();
    let ca = Authority::new("an operator's");
    let own = ca.issue(1, 2099);
    for (name, text) in [
        ("users.toml", ""),
        ("next.toml", ""),
        ("api-keys.toml", ""),
        ("litellm-keys.txt", ""),
        ("acme.jwks.json", r#"{"keys":[]}"#),
        ("2026-10.key", "a key of at least 32 bytes, the oldest one"),
        ("2026-11.key", "a key of at least 32 bytes, the old one"),
        ("2027-02.key", "a key of at least 32 bytes, the new one"),
        ("server.crt", &own.certificate),
        ("server.key", &own.key),
        ("gateways.crt", &ca.pem()),
    ] {
        std::fs::write(room.path().join(name), text).unwrap();
    }
    let pair = output(portcullis().arg("key-pair"), "");
    std::fs::write(room.path().join("es256.pem"), pair.stdout).unwrap();
    room
}

#[test]
fn every_configuration_is_one() {
    let (room, mut count) = (room(), 0);
    for page in pages() {
        for block in all_blocks(&page) {
            if block.language != "toml" || block.is_only_shown() {
                continue;
            }
            let file = room.path().join("portcullis.toml");
            std::fs::write(&file, &block.text).unwrap();
            let checked =
                output(portcullis().args(["check-config", "--config", file.to_str().unwrap()]), "");
            let said = String::from_utf8_lossy(&checked.stderr);
            assert!(checked.status.success(), "{page}\n{}\n{said}", block.text);
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}

/// Files that other tests run, of which pages show a piece.
const WHOLE: [(&str, &[&str]); 4] = [
    (
        "yaml",
        &[
            "envoy/envoy.yaml",
            "envoy/plans.yaml",
            "envoy/body.yaml",
            "envoy/mcp.yaml",
            "envoy/module.yaml",
            "envoy/http_service.yaml",
            "examples/policy-tests.yaml",
            "examples/traefik.yaml",
        ],
    ),
    ("ts", &["examples/upstreams/verify.ts"]),
    ("python", &["examples/upstreams/verify.py"]),
    ("java", &["examples/upstreams/Verify.java"]),
];

/// What a page shows and a test of its own runs.
const RUN_BY_ITS_OWN_TEST: [(&str, &str); 4] = [
    ("docs/src/how-to/come-from-texera.md", "sh"), // docs::the_commands_for_who_comes_from_texera_run
    ("docs/src/how-to/come-from-texera.md", "yaml"), // docs::the_compose_service_for_texera_…
    ("docs/src/how-to/come-from-litellm.md", "yaml"), // litellm_behind::…
    ("docs/src/how-to/guard.md", "rust"),          // a doctest
];

#[test]
fn every_block_is_held_by_something() {
    let mut only_shown = Vec::new();
    for page in pages() {
        for block in all_blocks(&page) {
            let language = block.language.as_str();
            let is_run = RUN_BY_ITS_OWN_TEST.contains(&(page.as_str(), language));
            if block.is_only_shown() {
                only_shown.push(format!("{page}: {}", block.note.unwrap()));
            } else if let Some((_, files)) = WHOLE.iter().find(|(of, _)| *of == language) {
                let whole = files.iter().any(|file| read(file).contains(block.text.trim_end()));
                assert!(is_run || whole, "{page}: no file has\n{}", block.text);
            } else {
                // Those of `text` show something; the others are held by tests below.
                let held = ["toml", "sh", "json", "text", "nginx"].contains(&language);
                assert!(held || is_run, "{page}: {language:?} is held by nothing\n{}", block.text);
            }
        }
    }
    assert_eq!(only_shown.len(), ONLY_SHOWN, "{only_shown:#?}");
}

/// Lines of nginx are those of the configurations that tests run, elsewhere and for another
/// address; what encloses them is the reader's own.
#[test]
fn every_line_for_nginx_is_one_that_is_run() {
    let files = ["nginx/nginx.conf", "nginx/portcullis.conf", "nginx/portcullis_location.conf"];
    let whole: Vec<String> = files
        .iter()
        .flat_map(|file| read(file).lines().map(str::to_owned).collect::<Vec<_>>())
        .map(|line| line.trim_start_matches([' ', '#']).to_owned())
        .collect();
    let mut count = 0;
    for page in pages() {
        for line in blocks(&page, "nginx").iter().flat_map(|block| block.lines()) {
            let line = line.split('#').next().unwrap().trim();
            if line.is_empty() || line == "}" || line.ends_with(" {") {
                continue;
            }
            let line = line.replace("server portcullis:9192", "server 127.0.0.1:9192");
            assert!(whole.contains(&line), "{page}: {line}");
            count += 1;
        }
    }
    assert!(count >= 10, "{count}");
}

/// How many blocks are shown, and run by nobody: each says why.
const ONLY_SHOWN: usize = 10;

/// Commands that `tests/run` runs, with `--check` where they stay otherwise.
fn is_run_by_the_runner(page: &str, block: &str) -> bool {
    let runs = |program: &&str| block.starts_with(*program);
    if !["envoy/run", "nginx/run", "k8s/check", "tests/run", "docs/run"].iter().any(runs) {
        return false;
    }
    let runner = read("tests/run");
    for line in block.lines().map(|line| line.split(" #").next().unwrap().trim_end()) {
        let checked =
            if line.ends_with(" --check") { line.into() } else { format!("{line} --check") };
        let by_hand = line.starts_with("tests/run") || line.starts_with("docs/run");
        let has = |said: &str| runner.lines().any(|ran| ran == said);
        assert!(by_hand || has(&checked) || has(line), "{page}: tests/run does not run {line}");
    }
    true
}

/// All commands of a page for one shell, with free ports in the place of the usual.
fn script(page: &str) -> Option<String> {
    let [check, http, internal] = [free_port(), free_port(), free_port()];
    let mut script = format!(
        "set -euo pipefail\nexport PORTCULLIS__CHECK__LISTEN=127.0.0.1:{check}\n\
         export PORTCULLIS__HTTP__LISTEN=127.0.0.1:{http}\n\
         export PORTCULLIS__INTERNAL__LISTEN=127.0.0.1:{internal}\n\
         export PORTCULLIS__LIFECYCLE__DRAIN=0s\n"
    );
    let is_run = |block: &Block| {
        let of_shell = block.language == "sh" && !block.is_only_shown();
        of_shell && !is_run_by_the_runner(page, &block.text)
    };
    let blocks: Vec<Block> = all_blocks(page).into_iter().filter(is_run).collect();
    for line in blocks.iter().flat_map(|block| block.text.lines()) {
        // A command that says no says so by its code.
        let code = if line.contains("  # exit code 1") { " && exit 9 || [ $? = 1 ]" } else { "" };
        let line = line.split("  # exit code 1").next().unwrap();
        let line = line
            .replace("localhost:9191", &format!("localhost:{check}"))
            .replace("localhost:8080", &format!("localhost:{http}"))
            .replace("localhost:9192", &format!("localhost:{internal}"))
            .replace("$PWD", root().to_str().unwrap());
        let line = match line.strip_prefix("cargo ") {
            Some(rest) => format!("(cd {} && cargo {rest})", root().display()),
            None => line,
        };
        writeln!(script, "{line}{code}").unwrap();
        if line.ends_with('&') {
            write!(
                script,
                "SERVER=$!; trap 'kill $SERVER' EXIT\n\
                 until (exec 3<>/dev/tcp/127.0.0.1/{check}) 2>/dev/null; do\n\
                 kill -0 $SERVER; sleep 0.05; done\n"
            )
            .unwrap();
        }
    }
    (!blocks.is_empty()).then_some(script)
}

/// Runs a page's commands where its configurations are, and tells what they print.
fn run(page: &str, script: &str) -> String {
    let room = tempfile::tempdir().unwrap();
    // What is named by its place in the repository.
    for there in ["envoy", "k8s", "examples"] {
        std::os::unix::fs::symlink(root().join(there), room.path().join(there)).unwrap();
    }
    for block in all_blocks(page) {
        if let Some(name) = block.name().filter(|_| block.language == "toml") {
            std::fs::write(room.path().join(name), &block.text).unwrap();
        }
    }
    let tools = root().join("target/tools");
    assert!(tools.join("grpcurl").exists(), "no grpcurl: run tests/run");
    let binary = Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the page is read by a person with a shell")]
    let path = std::env::var("PATH").unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-c", script]).current_dir(room.path());
    bash.env("PATH", format!("{}:{}:{path}", binary.display(), tools.display()));
    bash.env("AUTH_JWT_SECRET", crate::jwt::SECRET);
    let done = output(&mut bash, "");
    let said = String::from_utf8_lossy(&done.stdout).into_owned();
    let wrong = String::from_utf8_lossy(&done.stderr);
    assert!(done.status.success(), "{page}\n{script}\n{said}\n{wrong}");
    // The service's log is in between; what commands say against something is theirs, too.
    said + &wrong
}

/// Whether the pieces of a line, between which there may be anything, are in this order.
fn has(said: &str, line: &str) -> bool {
    let is_it = |said: &str| {
        let mut rest = said;
        line.trim().split('…').all(|piece| match rest.split_once(piece) {
            Some((_, behind)) => {
                rest = behind;
                true
            }
            None => false,
        })
    };
    said.lines().any(is_it)
}

#[test]
fn every_command_runs_and_prints_what_is_written() {
    let (mut ran, mut printed) = (0, 0);
    for page in pages() {
        if RUN_BY_ITS_OWN_TEST.contains(&(page.as_str(), "sh")) {
            continue;
        }
        let Some(script) = script(&page) else { continue };
        let said = run(&page, &script);
        ran += 1;
        for block in all_blocks(&page) {
            if block.language == "json" && !block.is_only_shown() {
                assert!(said.contains(&block.text), "{page} lacks {}:\n{said}", block.text);
            }
            for line in block.text.lines().filter(|_| block.is_printed()) {
                assert!(line.is_empty() || has(&said, line), "{page} lacks {line:?}:\n{said}");
                printed += 1;
            }
        }
    }
    assert!(ran >= 8 && printed >= 40, "{ran} pages, {printed} lines");
}

#[test]
fn the_readme_is_for_a_person_in_a_hurry() {
    assert!(read("README.md").lines().count() <= 250);
}

/// One pattern: a title, what the page is for, an example.
#[test]
fn every_page_says_what_it_is_for_and_shows_an_example() {
    for page in pages().iter().filter(|page| !page.ends_with("SUMMARY.md")) {
        let text = read(page);
        let lines: Vec<&str> = text.lines().collect();
        let begins = |line: &str, with: &[&str]| with.iter().any(|begin| line.starts_with(begin));
        assert!(begins(lines[0], &["# "]) && lines[1].is_empty(), "{page} has no title");
        assert!(
            !begins(lines[2], &["#", "|", "```", "<", "-"]),
            "{page} does not say what it is for"
        );
        assert!(!all_blocks(page).is_empty(), "{page} shows no example");
    }
}

/// A page that nothing leads to is none.
#[test]
fn every_page_is_found_from_the_table_of_contents() {
    let summary = read("docs/src/SUMMARY.md");
    for page in pages() {
        let Some(name) = page.strip_prefix("docs/src/") else { continue };
        assert!(name == "SUMMARY.md" || summary.contains(&format!("]({name})")), "{name}");
    }
}
