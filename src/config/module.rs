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
                "without a feed from the service, the module has no store, so nothing could be revoked",
                "set feed.listen, and name it in filter_config; or use store.kind = \"memory\"",
            ));
            self.beside.push(problem(
                "store",
                "the list of what is revoked, and the keys that `portcullis key` makes",
                "keep the service running beside Envoy",
            ));
        }
        if config.check.mcp_source == McpSource::Envoy {
            self.never.push(problem(
                "mcp.source",
                "the module cannot read the metadata of other filters",
                "use \"body\": the module does not need with_request_body for it",
            ));
        }
        for issuer in &config.issuers {
            if matches!(issuer.keys, KeysFrom::Network(_)) {
                let name = &issuer.settings.name;
                self.alone.push(problem(
                    "issuers",
                    "the module does not fetch keys",
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
                "the list of workers",
                "route /.well-known/portcullis to the service",
            ));
        }
    }
}

fn problem(key: &str, cause: impl Into<String>, fix: impl Into<String>) -> Problem {
    Problem { key: key.to_owned(), source: None, cause: cause.into(), fix: fix.into() }
}
