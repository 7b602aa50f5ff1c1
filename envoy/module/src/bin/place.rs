//! Puts the module where Envoy finds it: `place DIRECTORY`.
//!
//! What an init container runs, in an image that has nothing else to copy with.

use std::{
    fs,
    io::{self, Write as _},
    path::Path,
    process::ExitCode,
};

/// As it lies in the image. The version is in the name, since Envoy loads a name once.
const MODULE: &str = concat!("libportcullis_envoy-", env!("CARGO_PKG_VERSION"), ".so");

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let (Some(directory), None) = (arguments.next(), arguments.next()) else {
        return fail("usage: place DIRECTORY");
    };
    match place(Path::new("/"), Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!(
            "{MODULE} was not put into {}: {error}; mount a volume there that user 65532 may \
             write to",
            Path::new(&directory).display()
        )),
    }
}

/// Under another name first: Envoy finds all of it or nothing, and one that has the module
/// loaded keeps the file that it has.
fn place(from: &Path, to: &Path) -> io::Result<()> {
    let unfinished = to.join(format!(".{MODULE}"));
    fs::copy(from.join(MODULE), &unfinished)?;
    fs::rename(&unfinished, to.join(MODULE))
}

fn fail(cause: &str) -> ExitCode {
    // Where nobody reads, the status says it.
    let _ = writeln!(io::stderr(), "{cause}");
    ExitCode::FAILURE
}
