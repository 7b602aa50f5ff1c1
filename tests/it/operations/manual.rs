//! The pages of the manual and what shells complete by, each by the program that reads it.

use std::{collections::BTreeSet, fs, path::Path, process::Command};

use crate::support::{output, portcullis};

fn out(arguments: &[&str]) -> String {
    let done = output(portcullis().args(arguments), "");
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The commands that help names, with those in them: `token`, `token mint`, …
fn commands(before: &[&str]) -> BTreeSet<String> {
    let help = out(&[before, &["--help"]].concat());
    let Some((_, listed)) = help.split_once("\nCommands:\n") else { return BTreeSet::new() };
    let names = listed.lines().take_while(|line| !line.is_empty()).filter_map(|line| {
        let name = line.strip_prefix("  ")?.split(' ').next()?;
        (!name.is_empty() && name != "help").then_some(name)
    });
    names
        .flat_map(|name| {
            let path = [before, &[name]].concat();
            let mut all = commands(&path);
            all.insert(path.join(" "));
            all
        })
        .collect()
}

/// A page as `man` shows it, and what it warns of.
fn shown(page: &Path) -> (String, String) {
    let mut man = Command::new("man");
    man.args(["--warnings", "--no-justification", "--encoding=UTF-8", "--local-file"]).arg(page);
    let done = output(man.env("MANWIDTH", "100").env("LC_ALL", "C.UTF-8"), "");
    assert!(done.status.success(), "{}: {:?}", page.display(), done.stderr);
    let text = String::from_utf8(done.stdout).unwrap();
    (text, String::from_utf8(done.stderr).unwrap())
}

#[test]
fn every_command_has_a_page_that_man_shows_without_a_warning() {
    let room = tempfile::tempdir().unwrap();
    let directory = room.path().join("share/man/man1");
    out(&["man", directory.to_str().unwrap()]);
    let mut wanted: BTreeSet<String> = commands(&[])
        .iter()
        .map(|each| format!("portcullis-{}.1", each.replace(' ', "-")))
        .collect();
    assert!(wanted.contains("portcullis-token-mint.1"), "{wanted:?}");
    wanted.insert("portcullis.1".into());
    let written: BTreeSet<String> = fs::read_dir(&directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    assert_eq!(written, wanted);
    for name in &written {
        let (text, warnings) = shown(&directory.join(name));
        assert_eq!(warnings, "", "{name}");
        let command = name.trim_end_matches(".1");
        assert!(text.contains(&format!("{command} - ")), "{name}: {text}");
        assert!(text.contains(env!("CARGO_PKG_VERSION")), "{name}: {text}");
    }
    let (text, _) = shown(&directory.join("portcullis-key-pair.1"));
    // An example's lines stay lines.
    let example =
        "\n         (umask 077; portcullis key-pair > es256.pem)\n         # portcullis.toml\n";
    assert!(text.contains(example), "{text}");
}

#[test]
fn pages_are_not_written_where_there_is_no_place() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("file");
    fs::write(&file, "").unwrap();
    let done = output(portcullis().arg("man").arg(&file), "");
    assert_eq!(done.status.code(), Some(2));
    let said = String::from_utf8(done.stderr).unwrap();
    assert!(said.contains("name a directory to write into"), "{said}");
}

#[test]
fn each_shell_reads_its_completion() {
    let room = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = out(&["completions", shell]);
        for command in commands(&[]) {
            let last = command.rsplit(' ').next().unwrap();
            assert!(script.contains(last), "{shell}: {command}");
        }
        let file = room.path().join(shell);
        fs::write(&file, script).unwrap();
        let read = output(Command::new(shell).arg("-n").arg(&file), "");
        assert!(read.status.success(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
        assert!(read.stderr.is_empty(), "{shell}: {}", String::from_utf8_lossy(&read.stderr));
    }
}

#[test]
fn bash_completes_commands_and_options() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("portcullis.bash");
    fs::write(&file, out(&["completions", "bash"])).unwrap();
    for (words, completed) in [
        ("portcullis tok", "token"),
        ("portcullis token mi", "mint"),
        ("portcullis serve --con", "--config"),
    ] {
        let last = words.rsplit(' ').next().unwrap();
        let script = format!(
            "source {}; COMP_WORDS=({words}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); \
             _portcullis portcullis {last} ''; echo \"${{COMPREPLY[*]}}\"",
            file.display()
        );
        let done = output(Command::new("bash").args(["-c", &script]), "");
        let said = String::from_utf8(done.stdout).unwrap();
        assert_eq!(said.trim(), completed, "{words}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn the_version_is_that_of_the_package_and_may_name_a_commit() {
    let said = out(&["--version"]);
    let version = concat!("portcullis ", env!("CARGO_PKG_VERSION"));
    let rest = said.trim_end().strip_prefix(version).unwrap();
    let commit = rest.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')'));
    let commit = commit.map(|commit| commit.trim_end_matches(", changed"));
    let is_commit =
        |text: &str| text.len() >= 7 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    assert!(rest.is_empty() || commit.is_some_and(is_commit), "{said}");
}
