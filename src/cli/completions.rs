//! `completions`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use clap::{CommandFactory as _, ValueEnum};
use clap_complete::aot::{Bash, Fish, Zsh, generate};

use super::{Cli, YES};

/// Prints a completion script for a shell, with this program's commands and options
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis completions bash > /etc/bash_completion.d/portcullis
  portcullis completions zsh > /usr/local/share/zsh/site-functions/_portcullis
  portcullis completions fish > ~/.config/fish/completions/portcullis.fish")]
pub(super) struct Completions {
    /// The shell that the script is for
    shell: Shell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Shell {
    Bash,
    Zsh,
    Fish,
}

impl Completions {
    pub(super) fn run(self) -> ExitCode {
        let mut command = Cli::command();
        let name = command.get_name().to_owned();
        let mut script = Vec::new();
        match self.shell {
            Shell::Bash => generate(Bash, &mut command, name, &mut script),
            Shell::Zsh => generate(Zsh, &mut command, name, &mut script),
            Shell::Fish => generate(Fish, &mut command, name, &mut script),
        }
        // Who closes it early has seen enough.
        let _ = io::stdout().write_all(&script);
        ExitCode::from(YES)
    }
}
