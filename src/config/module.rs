//! What of a configuration the engine in Envoy itself can hold, and what is left to
//! the service beside it.

use super::{Config, KeysFrom, Problem};
use crate::operation::McpSource;

/// What becomes of a configuration in Envoy.
#[derive(Clone, Debug, Default)]
pub struct InModule {
    /// What it cannot hold, whoever stands beside it.
    pub never: Vec<Problem>,
    /// What it cannot hold alone: a service beside it does that, and tells it.
    pub alone: Vec<Problem>,
    /// What the service beside it does by itself.
    pub beside: Vec<Problem>,
}

impl InModule {
    /// Looks at all of a configuration.
    #[must_use]
    pub fn of(config: &Config) -> Self {
        let mut found = Self::default();
        found.look_at_what_decides(config);
        found.look_at_the_service(config);
        found
    }

    /// What a module that nobody feeds cannot hold.
    pub fn refused(&self) -> impl Iterator<Item = &Problem> {
        self.never.iter().chain(&self.alone)
    }

    fn look_at_what_decides(&mut self, config: &Config) {
        if config.store.target.is_some() {
            self.alone.push(problem(
                "store",
                "a module that nobody feeds has none, so that nobody could be shut out",
                "set feed.listen, and name it in filter_config; or take store.kind = \"memory\"",
            ));
            self.beside.push(problem(
                "store",
                "the list of the revoked, and the keys of `portcullis key`",
                "keep the service running beside Envoy",
            ));
        }
        if config.check.mcp_source == McpSource::Envoy {
            self.never.push(problem(
                "mcp.source",
                "the module reads no metadata of other filters",
                "take \"body\", for which it needs no with_request_body",
            ));
        }
        for issuer in &config.issuers {
            if matches!(issuer.keys, KeysFrom::Network(_)) {
                let name = &issuer.settings.name;
                self.alone.push(problem(
                    "issuers",
                    "a module fetches no keys",
                    format!("set feed.listen, and name it in filter_config; or give {name:?} a jwks_file"),
                ));
                self.beside.push(problem(
                    "issuers",
                    format!("the keys of {name:?}, fetched before they are needed"),
                    "keep the service running beside Envoy",
                ));
            }
        }
    }

    fn look_at_the_service(&mut self, config: &Config) {
        let signs_in = config.login.users_file.is_some() || config.sso.is_some();
        if signs_in {
            let key = if config.sso.is_some() { "sso" } else { "login" };
            self.beside.push(problem(
                key,
                "signing in, the sessions and their pages",
                "route /sso, /session, /v2/login, /v3/login and /ui to the service",
            ));
        }
        if !config.workers.is_empty() {
            self.beside.push(problem(
                "workers",
                "the list of the workers",
                "route /.well-known/portcullis to the service",
            ));
        }
    }
}

fn problem(key: &str, cause: impl Into<String>, fix: impl Into<String>) -> Problem {
    Problem { key: key.to_owned(), source: None, cause: cause.into(), fix: fix.into() }
}
