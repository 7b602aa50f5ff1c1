//! The configuration: TOML files, then the environment, over the defaults of
//! `default.toml`; every problem is found in one go.
//!
//! A file of this module is a section. What comes out are the types that the
//! rest of the crate works with; nobody else reads a file's key or a variable.

mod check;
mod identity;
mod layers;
mod problem;
mod reader;
mod rules;
mod service;
mod sign_in;
mod tokens;

use std::fmt;

use self::reader::Reader;
pub use self::{
    check::{CheckConfig, Listen},
    identity::IdentityConfig,
    layers::Sources,
    problem::Problem,
    service::{LifecycleConfig, LogFormat, TelemetryConfig},
    sign_in::SignInConfig,
    tokens::{CookieConfig, TokensConfig},
};
use crate::{authz::Policy, token::KeyRing};

/// A configuration without a problem.
#[derive(Debug)]
pub struct Config {
    /// `[check]`.
    pub check: CheckConfig,
    /// What the checks need to know of the sign-in.
    pub sign_in: SignInConfig,
    /// `[tokens]`, but for the keys.
    pub tokens: TokensConfig,
    /// The keys.
    pub keys: KeyRing,
    /// `[identity]`.
    pub identity: IdentityConfig,
    /// `[[rules]]`, compiled.
    pub policy: Policy,
    /// `[lifecycle]`.
    pub lifecycle: LifecycleConfig,
    /// `[telemetry]`.
    pub telemetry: TelemetryConfig,
    /// What works, but may not be meant.
    pub warnings: Vec<Problem>,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug)]
pub struct Problems {
    /// What is wrong; at least one.
    pub problems: Vec<Problem>,
    /// What may not be meant.
    pub warnings: Vec<Problem>,
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "error: {problem}")?;
        }
        for warning in &self.warnings {
            writeln!(f, "warning: {warning}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// Reads a configuration. With `dev`, a random key takes the place of one
    /// that is not given.
    ///
    /// # Errors
    ///
    /// All [`Problems`] at once.
    pub fn load(sources: &Sources, dev: bool) -> Result<Self, Problems> {
        let (figment, problems) = sources.merge();
        let reader = Reader::new(figment, problems);
        let mut root = reader.root();

        let check = CheckConfig::read(root.table("check"));
        let sign_in = sign_in::read(&mut root);
        let mut tokens = TokensConfig::read(root.table("tokens"), sources, dev);
        let identity = IdentityConfig::read(root.table("identity"), check.remove_headers.clone());
        let policy = rules::read(&mut root, identity.as_ref().map(|identity| &identity.roles));
        let lifecycle = LifecycleConfig::read(root.table("lifecycle"));
        let telemetry = TelemetryConfig::read(root.table("telemetry"));
        root.finish();

        let (mut problems, warnings) = reader.finish();
        problems.dedup();
        match (tokens.keys.take(), identity, policy) {
            (Some(keys), Some(identity), Some(policy)) if problems.is_empty() => Ok(Self {
                check,
                sign_in,
                tokens,
                keys,
                identity,
                policy,
                lifecycle,
                telemetry,
                warnings,
            }),
            _ => Err(Problems { problems, warnings }),
        }
    }
}

#[cfg(test)]
mod tests;
