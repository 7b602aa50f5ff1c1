//! `check-config`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use super::{ConfigArgs, YES, print};

/// Prints every problem of a configuration, with its key, its source and its
/// mend; else `ok`
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  portcullis check-config --config portcullis.toml")]
pub(super) struct CheckConfig {
    #[command(flatten)]
    config: ConfigArgs,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let config = self.config.load()?;
        for warning in &config.warnings {
            let _ = writeln!(io::stderr(), "warning: {warning}");
        }
        print("ok");
        Ok(ExitCode::from(YES))
    }
}
