//! Compiles `proto/` with protox, so that no protoc is needed, and keeps the
//! descriptors for gRPC reflection. Tells `--version` which commit this is.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to a build script by variables")]

use std::{env, error::Error, fs, path::PathBuf, process::Command};

/// What the program is built of.
const BUILT: [&str; 5] = ["src", "proto", "build.rs", "Cargo.toml", "Cargo.lock"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["envoy/service/auth/v3/external_auth.proto"], ["proto"])?;

    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), prost::Message::encode_to_vec(&descriptors))?;
    prost_build::Config::new()
        .enable_type_names()
        .include_file("proto.rs")
        .compile_fds(descriptors)?;

    // The places to be filled in when the program is loaded, written in bits (glibc
    // from 2.36 on): a fifteenth of it less.
    let target = |part| env::var(format!("CARGO_CFG_TARGET_{part}"));
    if target("OS")? == "linux" && target("ENV")? == "gnu" {
        println!("cargo:rustc-link-arg-bins=-Wl,-z,pack-relative-relocs");
    }

    let package = env::var("CARGO_PKG_VERSION")?;
    let version = commit()?.map_or(package.clone(), |commit| format!("{package} ({commit})"));
    println!("cargo:rustc-env=PORTCULLIS_VERSION={version}");
    Ok(())
}

/// The commit that is built: that of `PORTCULLIS_COMMIT`, or, in a release build, what git
/// says where this is a clone. None is no fault: sources come without git as well.
fn commit() -> Result<Option<String>, Box<dyn Error>> {
    println!("cargo:rerun-if-env-changed=PORTCULLIS_COMMIT");
    let given = env::var("PORTCULLIS_COMMIT").unwrap_or_default();
    if !given.is_empty() {
        if !(7..=64).contains(&given.len()) || !given.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            let fix = "give what `git rev-parse HEAD` prints, or nothing";
            return Err(format!("PORTCULLIS_COMMIT is {given:?}, and no commit: {fix}").into());
        }
        return Ok(given.get(..12).or(Some(&given)).map(str::to_owned));
    }
    if env::var("PROFILE")? != "release" || !PathBuf::from(".git").exists() {
        return Ok(None);
    }
    // Asked when one of these has changed, and not at each commit, at which all would be
    // built anew: what is built of these is of the commit at which they last changed.
    for each in BUILT {
        println!("cargo:rerun-if-changed={each}");
    }
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return Ok(None) };
    let status = [&["status", "--porcelain", "--untracked-files=no", "--"][..], &BUILT].concat();
    let changed = git(&status).is_none_or(|status| !status.is_empty());
    Ok(Some(if changed { format!("{commit}, changed") } else { commit }))
}

/// What git answers, if there is one and it does.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let answer = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| answer.trim().to_owned())
}
