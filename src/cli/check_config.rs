//! `check-config`.

use std::{
    io::{self, Write as _},
    process::ExitCode,
};

use portcullis::{
    config::{Config, InModule, KeysFrom},
    sso::BackchannelLogout,
    token::KeySet,
};

use super::{ConfigArgs, NO, YES, keys, print, shared};

/// Prints every problem in a configuration, with its key, its source and its
/// fix, or `ok` if there is none
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis check-config --config portcullis.toml
  portcullis check-config --config portcullis.toml --online
  portcullis check-config --config portcullis.toml --envoy-module")]
pub(super) struct CheckConfig {
    #[command(flatten)]
    config: ConfigArgs,
    /// Also fetches and lists the keys of each issuer, and asks the single sign-on
    /// provider whether it can sign people out of this service
    #[arg(long)]
    online: bool,
    /// Also reports what the engine inside Envoy cannot do without this service
    /// beside it, and what is left to the service
    #[arg(long)]
    envoy_module: bool,
}

impl CheckConfig {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let config = self.config.load()?;
        for warning in &config.warnings {
            let _ = writeln!(io::stderr(), "warning: {warning}");
        }
        let fits = !self.envoy_module || tell_of_module(&config);
        if !fits | (self.online && (!list_keys(&config) | !tell_of_sso(&config))) {
            return Ok(ExitCode::from(NO));
        }
        print("ok");
        Ok(ExitCode::from(YES))
    }
}

/// Says what becomes of it in Envoy, and whether all of it can be held there.
fn tell_of_module(config: &Config) -> bool {
    let module = InModule::of(config);
    // Where the service feeds it, it holds what it could not alone.
    let is_fed = config.feed.is_some();
    let refused = module.refused().filter(|problem| !is_fed || module.never.contains(problem));
    let refused: Vec<_> = refused.collect();
    for problem in &refused {
        let _ = writeln!(io::stderr(), "error: {problem}");
    }
    for problem in &module.beside {
        print(format_args!("left to the service: {problem}"));
    }
    refused.is_empty()
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
                    let fix = "check the issuer's address, and whether it can be reached from here";
                    let _ = writeln!(
                        io::stderr(),
                        "error: {name}: its keys could not be fetched: {error}\n  fix: {fix}"
                    );
                }
            },
        }
    }
    is_whole
}

/// Says what the provider of the single sign-on does, and whether it could be asked.
fn tell_of_sso(config: &Config) -> bool {
    let Some(settings) = config.sso.clone() else { return true };
    let asked = shared::runtime().map(|runtime| runtime.block_on(BackchannelLogout::of(settings)));
    match asked {
        Ok(Ok(logout)) => print(format_args!("sso: back-channel logout: {}", logout.as_str())),
        Ok(Err(error)) => {
            let fix = "check sso.issuer, and whether it can be reached from here";
            let _ = writeln!(io::stderr(), "error: sso: {error}\n  fix: {fix}");
            return false;
        }
        Err(_) => return false,
    }
    true
}

fn list(name: &str, set: &KeySet) {
    for (kid, algorithms) in set.described() {
        let algorithms: Vec<&str> = algorithms.iter().map(|algorithm| algorithm.name()).collect();
        let kid = kid.unwrap_or("(without a kid)");
        print(format_args!("{name}: {kid} {}", algorithms.join(" ")));
    }
}
