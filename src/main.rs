//! The command line of portcullis.

mod cli;

use std::process::ExitCode;

/// Checks allocate little and often, on every thread.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    cli::run()
}
