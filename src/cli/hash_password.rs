//! `hash-password`.

use std::{
    io::{self, IsTerminal as _, Read as _, Write as _},
    process::ExitCode,
};

use portcullis::login;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use secrecy::SecretString;

use super::{WRONG, YES, fail, print};

/// The longest password that is read, in bytes.
const MAX_BYTES: u64 = 4096;

/// Reads a password from stdin and prints its argon2id hash, for a users file
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis hash-password
  printf %s \"$PASSWORD\" | portcullis hash-password")]
pub(super) struct HashPassword {}

impl HashPassword {
    #[expect(clippy::unused_self, reason = "a command like the others")]
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let password = read().map_err(|error| {
            fail(
                WRONG,
                format!("stdin cannot be read: {error}"),
                "type or pipe the password in UTF-8",
            )
        })?;
        let hash = login::hash(&password)
            .map_err(|error| fail(WRONG, error, "give a password on stdin"))?;
        print(hash);
        Ok(ExitCode::from(YES))
    }
}

/// One line; without an echo on a terminal.
fn read() -> io::Result<SecretString> {
    let stdin = io::stdin();
    let mut text = String::new();
    if stdin.is_terminal() {
        let shown = tcgetattr(&stdin)?;
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        let _ = write!(io::stderr(), "password: ");
        tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
        let read = stdin.read_line(&mut text);
        tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
        let _ = writeln!(io::stderr());
        read?;
    } else {
        stdin.take(MAX_BYTES).read_to_string(&mut text)?;
    }
    let line = text.strip_suffix('\n').unwrap_or(&text);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned().into())
}
