//! The corpus, replayed without libFuzzer.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    thread,
};

use super::TARGETS;

/// As many bytes may be committed.
const MAX_BYTES: u64 = 2 * 1024 * 1024;

/// The stack that a target has in libFuzzer's own thread.
const STACK: usize = 8 * 1024 * 1024;

fn fuzz() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz")
}

fn files(of: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(of).unwrap_or_else(|error| panic!("{}: {error}", of.display()));
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.sort_unstable();
    files
}

fn replay(name: &str) {
    let (_, target) = TARGETS.iter().find(|(it, _)| *it == name).unwrap();
    let all = files(&fuzz().join("corpus").join(name));
    assert!(!all.is_empty(), "{name} has no corpus");
    let replay = move || {
        for file in all {
            let data = fs::read(&file).unwrap();
            let held = std::panic::catch_unwind(|| target(&data));
            assert!(held.is_ok(), "{} is a finding", file.display());
        }
    };
    // A debug build takes some ten times the stack to read lists within lists.
    let replayed = thread::Builder::new().stack_size(STACK).spawn(replay).unwrap().join();
    replayed.unwrap_or_else(|finding| std::panic::resume_unwind(finding));
}

mod the_corpus_still_holds {
    macro_rules! of {
        ($($name:ident)*) => {
            $(#[test]
            fn $name() {
                super::replay(stringify!($name));
            })*

            pub(super) const REPLAYED: &[&str] = &[$(stringify!($name)),*];
        };
    }

    of!(api_key body claims condition config cookies decide discovery form forwarded_for host
        id_token jwks operation path redis return_to token wire);
}

#[test]
fn every_target_is_built_told_of_and_has_a_corpus_of_its_own() {
    let known: BTreeSet<&str> = TARGETS.iter().map(|(name, _)| *name).collect();
    assert_eq!(known, the_corpus_still_holds::REPLAYED.iter().copied().collect());
    let listed = files(&fuzz().join("corpus"));
    let listed = listed.iter().map(|it| it.file_name().unwrap().to_str().unwrap());
    assert_eq!(known, listed.collect());
    let read = |name: &str| fs::read_to_string(fuzz().join(name)).unwrap();
    let (manifest, readme) = (read("Cargo.toml"), read("README.md"));
    for name in known {
        assert!(manifest.contains(&format!("path = \"targets/{name}.rs\"")), "{name} is not built");
        assert_eq!(readme.matches(&format!("\n| `{name}` |")).count(), 2, "{name} is not told of");
    }
}

#[test]
fn the_corpus_is_no_larger_than_is_kind_to_those_who_clone_it() {
    let targets = files(&fuzz().join("corpus"));
    let all = targets.iter().flat_map(|target| files(target));
    let bytes: u64 = all.map(|file| fs::metadata(file).unwrap().len()).sum();
    assert!(bytes <= MAX_BYTES, "{bytes} bytes: minimise it by fuzz/run --merge");
}
