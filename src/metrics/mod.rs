//! What Prometheus is told. The registry is a value that is passed down; no
//! label ever holds anything that a client chooses.

mod checks;
mod histogram;
mod text;

use std::{sync::Arc, time::Duration};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

pub use self::{
    checks::{Checks, RuleCounters},
    histogram::Histogram,
    text::Format,
};
use crate::api_key::{KeyCounts, KeyState};

/// Upper bounds of what a question to the store takes, in nanoseconds.
const STORE_BOUNDS: [u64; 13] = [
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LoginLabels {
    method: &'static str,
    result: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OperationLabels {
    operation: &'static str,
    result: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ListenerLabel {
    listener: &'static str,
}

/// The name of an issuer, as the configuration has it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabel {
    issuer: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct IssuerLabels {
    issuer: String,
    result: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct StateLabel {
    state: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct VersionLabel {
    version: &'static str,
}

/// The word for what went well, and the one for what did not.
fn outcome(is_ok: bool, otherwise: &'static str) -> &'static str {
    if is_ok { "ok" } else { otherwise }
}

/// What the questions to the store took, and what came of them.
#[derive(Clone, Debug)]
pub struct StoreOperations {
    total: Family<OperationLabels, Counter>,
    duration: Histogram,
}

impl Default for StoreOperations {
    fn default() -> Self {
        Self { total: Family::default(), duration: Histogram::new(&STORE_BOUNDS) }
    }
}

impl StoreOperations {
    /// Counts a question and how long its answer took.
    pub fn count(&self, operation: &'static str, is_ok: bool, took: Duration) {
        let labels = OperationLabels { operation, result: outcome(is_ok, "error") };
        self.total.get_or_create(&labels).inc();
        self.duration.observe(took);
    }
}

/// All that is measured.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// The checks.
    pub checks: Arc<Checks>,
    /// The store.
    pub store: StoreOperations,
    logins: Family<LoginLabels, Counter>,
    reloads: Family<ResultLabel, Counter>,
    last_reload: Gauge,
    revocations_age: Gauge<f64, std::sync::atomic::AtomicU64>,
    revoked_tokens: Gauge,
    certificates: Family<ListenerLabel, Gauge>,
    issuer_keys: Family<IssuerLabel, Gauge>,
    issuer_keys_age: Family<IssuerLabel, Gauge<f64, std::sync::atomic::AtomicU64>>,
    issuer_fetches: Family<IssuerLabels, Counter>,
    api_keys: Family<StateLabel, Gauge>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("portcullis"),
            checks: Arc::default(),
            store: StoreOperations::default(),
            logins: Family::default(),
            reloads: Family::default(),
            last_reload: Gauge::default(),
            revocations_age: Gauge::default(),
            revoked_tokens: Gauge::default(),
            certificates: Family::default(),
            issuer_keys: Family::default(),
            issuer_keys_age: Family::default(),
            issuer_fetches: Family::default(),
            api_keys: Family::default(),
        };
        metrics.register();
        metrics
    }
}

impl Metrics {
    fn register(&mut self) {
        let Self { registry, checks, store, .. } = self;
        checks.register(registry);
        let total = store.total.clone();
        registry.register("store_operations", "Questions to the store", total);
        let took = store.duration.clone();
        registry.register("store_duration_seconds", "How long the store took to answer", took);
        let logins = self.logins.clone();
        registry.register("logins", "Sign-ins, by the way and what came of it", logins);
        let age = self.revocations_age.clone();
        let help = "Since the list of revocations was last whole";
        registry.register("revocations_age_seconds", help, age);
        let revoked = self.revoked_tokens.clone();
        registry.register("revoked_tokens", "Tokens refused before they expire", revoked);
        let reloads = self.reloads.clone();
        registry.register("config_reloads", "Configurations read while running", reloads);
        let last = self.last_reload.clone();
        let help = "Whether the newest configuration is in force";
        registry.register("config_last_reload_successful", help, last);
        let ends = self.certificates.clone();
        let help = "When the certificate of a listener expires";
        registry.register("certificate_expiry_timestamp_seconds", help, ends);
        let keys = self.issuer_keys.clone();
        registry.register("issuer_keys", "The keys of an issuer that verify its tokens", keys);
        let age = self.issuer_keys_age.clone();
        let help = "Since the keys of an issuer were last fetched";
        registry.register("issuer_keys_age_seconds", help, age);
        let fetches = self.issuer_fetches.clone();
        let help = "Times that the keys of an issuer were asked for, and what came of it";
        registry.register("issuer_fetches", help, fetches);
        let keys = self.api_keys.clone();
        registry.register("api_keys", "Keys for machines, by their state", keys);
        let build = Family::<VersionLabel, Gauge>::default();
        build.get_or_create(&VersionLabel { version: env!("CARGO_PKG_VERSION") }).set(1);
        registry.register("build_info", "The version that runs", build);
        self.last_reload.set(1);
        // From the start, so that the first one is a rise.
        for result in ["ok", "failed"] {
            drop(self.reloads.get_or_create(&ResultLabel { result }));
        }
    }

    /// Counts a sign-in: its method (`password`, `code`, `sso`), and what
    /// came of it (`ok`, or the audit log's word).
    pub fn count_login(&self, method: &'static str, result: &'static str) {
        self.logins.get_or_create(&LoginLabels { method, result }).inc();
    }

    /// Counts a configuration that was read while running.
    pub fn count_reload(&self, is_ok: bool) {
        self.reloads.get_or_create(&ResultLabel { result: outcome(is_ok, "failed") }).inc();
        self.last_reload.set(i64::from(is_ok));
    }

    /// Tells how the revocations stand.
    pub fn set_revocations(&self, age: Duration, tokens: usize) {
        self.revocations_age.set(age.as_secs_f64());
        self.revoked_tokens.set(i64::try_from(tokens).unwrap_or(i64::MAX));
    }

    /// Tells when the certificate of a listener expires, in seconds since
    /// 1970; `None` for a listener without one.
    pub fn set_certificate(&self, listener: &'static str, expires: Option<i64>) {
        let label = ListenerLabel { listener };
        match expires {
            Some(at) => drop(self.certificates.get_or_create(&label).set(at)),
            None => drop(self.certificates.remove(&label)),
        }
    }

    /// Tells of the keys of all issuers: how many each has, and how long ago it
    /// was last asked for them, if it ever was.
    pub fn set_issuers<'a>(&self, all: impl Iterator<Item = (&'a str, usize, Option<Duration>)>) {
        self.issuer_keys.clear();
        self.issuer_keys_age.clear();
        for (issuer, keys, age) in all {
            let label = IssuerLabel { issuer: issuer.to_owned() };
            self.issuer_keys.get_or_create(&label).set(i64::try_from(keys).unwrap_or(i64::MAX));
            if let Some(age) = age {
                self.issuer_keys_age.get_or_create(&label).set(age.as_secs_f64());
            }
        }
    }

    /// Tells how many keys for machines there are, by their state.
    pub fn set_api_keys(&self, counts: KeyCounts) {
        let KeyCounts { active, expired, revoked } = counts;
        let all = [
            (KeyState::Active, active),
            (KeyState::Expired, expired),
            (KeyState::Revoked, revoked),
        ];
        for (state, count) in all {
            let gauge = self.api_keys.get_or_create(&StateLabel { state: state.as_str() });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Counts from now on, so that the first time is a rise.
    pub fn expect_issuer(&self, issuer: &str) {
        for result in ["ok", "unchanged", "failed"] {
            let labels = IssuerLabels { issuer: issuer.to_owned(), result };
            drop(self.issuer_fetches.get_or_create(&labels));
        }
    }

    /// Counts a time that the keys of an issuer were asked for: `ok`, `unchanged`
    /// or `failed`.
    pub fn count_issuer_fetch(&self, issuer: &str, result: &'static str) {
        let labels = IssuerLabels { issuer: issuer.to_owned(), result };
        self.issuer_fetches.get_or_create(&labels).inc();
    }

    /// Everything, as Prometheus reads it.
    #[must_use]
    pub fn encode(&self, format: Format) -> String {
        text::encode(&self.registry, format)
    }
}
