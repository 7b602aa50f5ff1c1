//! `man`.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Command, CommandFactory as _};
use clap_mangen::{
    Man as Page,
    roff::{Roff, roman},
};

use super::{Cli, WRONG, YES, fail};

/// Writes the manual pages, one for each command, into a directory
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  portcullis man /usr/local/share/man/man1
  man portcullis-token-mint")]
pub(super) struct Man {
    /// The directory for portcullis.1, portcullis-serve.1 and the other pages. It is
    /// created if it does not exist
    directory: PathBuf,
}

impl Man {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let mut command = Cli::command().disable_help_subcommand(true);
        command.build();
        fs::create_dir_all(&self.directory)
            .and_then(|()| write(command, &self.directory))
            .map_err(|error| {
                let directory = self.directory.display();
                fail(WRONG, format!("{directory}: {error}"), "name a directory to write into")
            })?;
        Ok(ExitCode::from(YES))
    }
}

/// A command's page, and those of the commands in it.
fn write(command: Command, directory: &Path) -> io::Result<()> {
    for inner in command.get_subcommands() {
        write(inner.clone(), directory)?;
    }
    let after = command.get_after_help().map(ToString::to_string);
    // Lines are to stay lines in the examples, so that they are written below.
    let page = Page::new(command.after_help(None::<&str>))
        .source("portcullis")
        // In the place of a date, by which nobody would know which pages these are.
        .date(env!("PORTCULLIS_VERSION"))
        .manual("portcullis");
    let mut file = fs::File::create(directory.join(page.get_filename()))?;
    page.render(&mut file)?;
    if let Some(after) = after {
        let mut examples = Roff::new();
        examples.control("SH", ["EXAMPLES"]).control("nf", []);
        for line in after.lines() {
            examples.text([roman(line)]);
        }
        examples.control("fi", []).to_writer(&mut file)?;
    }
    file.flush()
}
