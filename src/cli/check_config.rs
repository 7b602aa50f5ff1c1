//! `check-config`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use portcullis::{
    config::{Config, KeysFrom},
    token::KeySet,
};

use super::{ConfigArgs, NO, YES, keys, print};

/// Prints every problem of a configuration, with its key, its source and its
/// mend; else `ok`
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis check-config --config portcullis.toml
  portcullis check-config --config portcullis.toml --online")]
pub(super) struct CheckConfig {
    #[command(flatten)]
    config: ConfigArgs,
    /// Fetches the keys of each issuer, and lists them
    #[arg(long)]
    online: bool,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let config = self.config.load()?;
        for warning in &config.warnings {
            let _ = writeln!(io::stderr(), "warning: {warning}");
        }
        if self.online && !list_keys(&config) {
            return Ok(ExitCode::from(NO));
        }
        print("ok");
        Ok(ExitCode::from(YES))
    }
}

/// Lists the keys of each issuer, and says whether all could be had.
fn list_keys(config: &Config) -> bool {
    let mut is_whole = true;
    for issuer in &config.issuers {
        let name = &issuer.settings.name;
        match &issuer.keys {
            KeysFrom::Here(keys) => list(name, &keys.set()),
            KeysFrom::Network(source) => match keys::fetch(source) {
                Ok(fetched) => {
                    list(name, &fetched.set);
                    for left_out in &fetched.left_out {
                        let (key, cause) = (&left_out.key, left_out.cause);
                        print(format_args!("{name}: the key {key:?} is not used: {cause}"));
                    }
                }
                Err(error) => {
                    is_whole = false;
                    let mend = "see the issuer's address, and whether it can be reached from here";
                    let _ = writeln!(
                        io::stderr(),
                        "error: {name}: its keys could not be fetched: {error}\n  mend: {mend}"
                    );
                }
            },
        }
    }
    is_whole
}

fn list(name: &str, set: &KeySet) {
    for (kid, algorithms) in set.described() {
        let algorithms: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let kid = kid.unwrap_or("(without a kid)");
        print(format_args!("{name}: {kid} {}", algorithms.join(" ")));
    }
}
