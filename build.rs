//! Compiles `proto/` with protox, so that no protoc is needed, and keeps the
//! descriptors for gRPC reflection.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to a build script by variables")]

use std::{env, error::Error, fs, path::PathBuf};

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
    Ok(())
}
