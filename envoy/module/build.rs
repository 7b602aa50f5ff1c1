//! Links the module so that glibc is all that it needs, and that it stays where it is.

#![expect(clippy::disallowed_methods, reason = "cargo speaks to a build script by variables")]

use std::{env, error::Error, fs, path::PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    // Rust asks for libgcc_s.so, which Envoy's image lacks: a script of the same name,
    // found first, puts the unwinder itself in its place.
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("libgcc_s.so"), "INPUT(-l:libgcc_eh.a -lgcc)\n")?;
    println!("cargo:rustc-link-search=native={}", out.display());
    // A thread of ours may be at work when Envoy takes the filter away: the code must
    // not go then, whatever `do_not_close` says.
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,nodelete");
    // What Envoy offers is looked for when it loads the module; all else has to be here.
    println!("cargo:rustc-cdylib-link-arg=-Wl,--no-undefined");
    println!("cargo:rustc-cdylib-link-arg=-Wl,--gc-sections");
    Ok(())
}
