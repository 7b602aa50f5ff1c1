//! The configuration: TOML files, then the environment, over the defaults of
//! `default.toml`; every problem is found in one go.
//!
//! A file of this module is a section. What comes out are the types that the
//! rest of the crate works with; nobody else reads a file's key or a variable.

mod api_keys;
mod bundle;
mod check;
mod conditions;
mod disk;
mod engine_part;
mod feed;
mod forward;
mod http;
mod identity;
mod issuers;
mod key_uses;
mod keys;
mod layers;
mod login;
mod module;
mod problem;
mod reader;
mod rules;
mod seen;
mod service;
mod sessions;
mod shadow;
mod shape;
mod sso;
mod store;
mod surprises;
mod tls;
mod tokens;
mod ui;
mod words;

use std::fmt;

pub use self::{
    api_keys::ApiKeysConfig,
    bundle::Bundle,
    check::{CheckConfig, Listen},
    feed::FeedConfig,
    http::{HttpConfig, InternalConfig},
    identity::IdentityConfig,
    issuers::{IssuerConfig, KeysFrom},
    layers::Sources,
    login::LoginConfig,
    module::InModule,
    problem::Problem,
    seen::SeenFile,
    service::{LifecycleConfig, LogFormat, TelemetryConfig},
    sessions::SessionsConfig,
    store::StoreConfig,
    tokens::{CookieConfig, TokensConfig},
    ui::UiConfig,
};
use self::{key_uses::Uses, reader::Reader};
use crate::{authz::Policy, sso::SsoSettings, token::KeyRing, workers::Worker};

/// A configuration without a problem.
#[derive(Debug)]
pub struct Config {
    /// `[check]`.
    pub check: CheckConfig,
    /// `[http]`.
    pub http: HttpConfig,
    /// `[internal]`.
    pub internal: InternalConfig,
    /// `[store]`.
    pub store: StoreConfig,
    /// `[login]`.
    pub login: LoginConfig,
    /// `[sso]`.
    pub sso: Option<SsoSettings>,
    /// `[ui]`.
    pub ui: UiConfig,
    /// `[[workers]]`.
    pub workers: Vec<Worker>,
    /// `[tokens]`, but for the keys.
    pub tokens: TokensConfig,
    /// `[sessions]`.
    pub sessions: SessionsConfig,
    /// The service's own keys; none where it has no tokens of its own.
    pub keys: KeyRing,
    /// `[[issuers]]`.
    pub issuers: Vec<IssuerConfig>,
    /// `[api_keys]`.
    pub api_keys: Option<ApiKeysConfig>,
    /// `[identity]`.
    pub identity: IdentityConfig,
    /// `[[rules]]`, compiled.
    pub policy: Policy,
    /// Whether the rules are others than the built-in ones.
    pub has_own_rules: bool,
    /// `[lifecycle]`.
    pub lifecycle: LifecycleConfig,
    /// `[telemetry]`.
    pub telemetry: TelemetryConfig,
    /// `[shadow]`: what would be in its place.
    pub shadow: Option<Box<Config>>,
    /// `[feed]`.
    pub feed: Option<FeedConfig>,
    /// What engines in other processes are made of, where there is `[feed]`.
    pub bundle: Option<Bundle>,
    /// What works, but may not be meant.
    pub warnings: Vec<Problem>,
    /// All files that it was read from.
    pub files: Vec<SeenFile>,
}

/// Everything that is wrong with a configuration.
#[derive(Clone, Debug)]
pub struct Problems {
    /// What is wrong; at least one.
    pub problems: Vec<Problem>,
    /// What may not be meant.
    pub warnings: Vec<Problem>,
    /// All files that were read, or should have been.
    pub files: Vec<SeenFile>,
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

/// What names files that an upstream does not have, nor needs.
const OF_THE_SERVICE: [(&str, &str); 7] = [
    ("api_keys", "file"),
    ("api_keys", "foreign"),
    ("check", "tls"),
    ("http", "tls"),
    ("login", "users_file"),
    ("sso", "client_secret"),
    ("sso", "client_secret_file"),
];

impl Config {
    /// Where the internal listener of a running service is. Whatever else may
    /// be wrong with a configuration is not asked: the service may run by an
    /// earlier one.
    #[must_use]
    pub fn internal_listen(sources: &Sources) -> Option<std::net::SocketAddr> {
        let (figment, problems) = sources.merge();
        let reader = Reader::new(figment, problems, sources.disk());
        let internal = InternalConfig::read(reader.root().table("internal"));
        internal.map(|internal| internal.listen)
    }

    /// Reads a configuration.
    ///
    /// # Errors
    ///
    /// All [`Problems`] at once.
    pub fn load(sources: &Sources) -> Result<Self, Problems> {
        Self::load_with(sources, true)
    }

    /// One that is a shadow, and has none.
    fn load_shadow(sources: &Sources) -> Result<Self, Problems> {
        Self::load_with(sources, false)
    }

    fn load_with(sources: &Sources, has_shadow: bool) -> Result<Self, Problems> {
        let files = sources.look();
        let (figment, problems) = sources.merge();
        let reader = Reader::new(figment, problems, sources.disk());
        let mut root = if sources.is_for_upstream() {
            reader.root_without(&OF_THE_SERVICE)
        } else {
            reader.root()
        };

        let check = CheckConfig::read(root.table("check"), root.table("mcp"));
        let http = HttpConfig::read(root.table("http"));
        let internal = InternalConfig::read(root.table("internal"));
        let store = StoreConfig::read(root.table("store"));
        let identity = IdentityConfig::read(root.table("identity"), check.remove_headers.clone());
        let roles = identity.as_ref().map(|identity| &identity.roles);
        let public_url = http.as_ref().map(|http| &http.public_url);
        let has_issuers = root.has("issuers");
        let mut tokens =
            TokensConfig::read(root.table("tokens"), sources, roles, public_url, !has_issuers);
        let sessions = SessionsConfig::read(root.table("sessions"), tokens.lifetime);
        let own_issuer = tokens.settings.issuer.as_deref();
        let issuers = issuers::read(&mut root, roles, own_issuer);
        let api_keys = api_keys::read(&mut root, roles);
        let login = LoginConfig::read(root.table("login"), roles);
        let workers = login::workers(&mut root);
        let ui = UiConfig::read(root.table("ui"));
        if let Some(http) = http.as_ref().filter(|_| !workers.is_empty()) {
            http::check_pages(&root.table("http"), http);
        }
        let sso =
            sso::read(root.table("sso"), public_url, login.as_ref(), roles, tokens.settings.leeway);
        ui.check(&mut root, sso.is_some());
        let is_in_steps = |login: &LoginConfig| login.control_plane.is_some();
        if store.target.is_none() && (sso.is_some() || login.as_ref().is_some_and(is_in_steps)) {
            root.warn(
                "store",
                "sign-in is on, but the store is the memory of this process: a second replica \
                 could not complete a sign-in that this one began",
                "run one replica, or write kind = \"redis\" with its url",
            );
        }
        if let (Some(http), Some(login)) = (&http, &login) {
            login::check_origins(&root.table("login"), login, &http.public_url, &tokens.cookie);
        }
        let has_own_rules = root.is_set("rules");
        let may_read = conditions::MayRead::new(&check, identity.as_ref());
        let folds_case = check.case_insensitive;
        let policy = rules::read(&mut root, roles, public_url, &issuers, &may_read, folds_case);
        if let (Some(login), Some(keys), Some(http)) = (&login, &tokens.keys, &http) {
            let signs_in = sso.is_some() || login.users_file.is_some();
            let (tokens, policy, issuers) = (&tokens, policy.as_ref(), &*issuers);
            let (public_url, is_for_upstream) = (&http.public_url, sources.is_for_upstream());
            let uses =
                Uses { keys, signs_in, tokens, policy, issuers, public_url, is_for_upstream };
            uses.check(&mut root);
        }
        let feed = FeedConfig::read(root.table("feed"));
        let shadow = shadow::read(root.table("shadow"), sources, has_shadow);
        let lifecycle = LifecycleConfig::read(root.table("lifecycle"));
        let telemetry = TelemetryConfig::read(root.table("telemetry"), sources);
        root.finish();

        let (mut problems, warnings, read) = reader.finish();
        let files = files.into_iter().chain(read).collect();
        problems.dedup();
        let feeds = feed.is_some() && has_shadow && problems.is_empty();
        let bundle = if feeds { Bundle::of_service(sources)? } else { None };
        match (tokens.keys.take(), identity, policy, http, internal, login) {
            (Some(keys), Some(identity), Some(policy), Some(http), Some(internal), Some(login))
                if problems.is_empty() =>
            {
                Ok(Self {
                    check,
                    http,
                    internal,
                    store,
                    login,
                    sso,
                    ui,
                    workers,
                    tokens,
                    sessions,
                    keys,
                    issuers,
                    api_keys,
                    identity,
                    policy,
                    has_own_rules,
                    lifecycle,
                    telemetry,
                    shadow,
                    feed,
                    bundle,
                    warnings,
                    files,
                })
            }
            _ => Err(Problems { problems, warnings, files }),
        }
    }
}

#[cfg(test)]
mod tests;
