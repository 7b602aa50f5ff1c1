//! `token mint` and `token inspect`.

use std::{
    io::{self, Read as _},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Subcommand;
use portcullis::{
    clock::{Clock as _, SystemClock},
    config::Config,
    token::{Minter, NewToken, RevocationList, UserId, Verifier, peek},
};
use secrecy::ExposeSecret as _;

use super::{ConfigArgs, NO, WRONG, YES, fail, print};

/// The most that is read from stdin: more than any token that is accepted.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// Makes and reads tokens
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    Mint(Mint),
    Inspect(Inspect),
}

impl Token {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        match self {
            Self::Mint(mint) => mint.run(),
            Self::Inspect(inspect) => inspect.run(),
        }
    }
}

/// Prints a signed token, and nothing else
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  TOKEN=$(portcullis token mint --name ann --user-id 7 --role REGULAR)")]
pub(super) struct Mint {
    #[command(flatten)]
    config: ConfigArgs,
    /// The user's name (the claim `sub`)
    #[arg(long)]
    name: String,
    /// The user's id (the claim `userId`)
    #[arg(long)]
    user_id: String,
    /// One of identity.roles
    #[arg(long)]
    role: String,
    /// The user's email
    #[arg(long)]
    email: Option<String>,
    /// How long the token lives, such as 30m or 1h
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
}

impl Mint {
    fn run(self) -> Result<ExitCode, ExitCode> {
        let verifier = verifier(self.config.load(false)?);
        let role = verifier.roles().get(&self.role).ok_or_else(|| {
            let known = verifier.roles().names().join(", ");
            fail(
                WRONG,
                format!("--role: {:?} is no role", self.role),
                format!("use one of: {known}"),
            )
        })?;
        let user_id = UserId::new(self.user_id)
            .ok_or_else(|| fail(WRONG, "--user-id: it is empty", "give the user's id"))?;
        let token = NewToken {
            name: &self.name,
            user_id: &user_id,
            role,
            email: self.email.as_deref(),
            lifetime: self.ttl,
        };
        let token = Minter::new(&verifier).mint(&token, SystemClock.now()).map_err(|error| {
            fail(WRONG, error, "give a name, and a --ttl of at most tokens.max_lifetime")
        })?;
        print(token.expose_secret());
        Ok(ExitCode::from(YES))
    }
}

/// Prints a token's claims, and whether the service would accept it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis token inspect \"$TOKEN\"
  pbpaste | portcullis token inspect")]
pub(super) struct Inspect {
    #[command(flatten)]
    config: ConfigArgs,
    /// The token; without it, stdin is read
    token: Option<String>,
}

impl Inspect {
    fn run(self) -> Result<ExitCode, ExitCode> {
        let verifier = verifier(self.config.load(false)?);
        let token = self.token.map_or_else(from_stdin, Ok)?;
        let token = token.trim();
        if let Ok((header, claims)) = peek(token) {
            print(format_args!("header  {header}\nclaims  {claims}"));
        }
        match verifier.verify(token, SystemClock.now()) {
            Ok(claims) => {
                let left = claims.expires_at.since(SystemClock.now()).as_secs();
                let left = humantime::format_duration(Duration::from_secs(left));
                print(format_args!("accepted, for another {left}"));
                Ok(ExitCode::from(YES))
            }
            Err(refusal) => {
                print(format_args!("refused: {refusal}"));
                Ok(ExitCode::from(NO))
            }
        }
    }
}

fn from_stdin() -> Result<String, ExitCode> {
    let mut token = String::new();
    io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut token).map_err(|error| {
        fail(WRONG, format!("stdin cannot be read: {error}"), "give the token as an argument")
    })?;
    Ok(token)
}

fn verifier(config: Config) -> Verifier {
    portcullis::app::engine(config, Arc::new(RevocationList::empty())).verifier
}
