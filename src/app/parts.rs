//! From a configuration to the parts of a running service: what is made once,
//! and what each configuration makes anew.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwap;
use axum::Router;
use ipnet::IpNet;

use super::{
    AppError,
    lists::{Lists, tell_of_keys},
};
use crate::{
    api_key::ApiKeys,
    authz::{CookieForm, CredentialSettings, Engine, Origin, Sessions},
    checker::Checker,
    clock::Clock,
    config::{ApiKeysConfig, Bundle, Config, IssuerConfig, KeysFrom, LifecycleConfig, StoreConfig},
    decision_log::DecisionLog,
    feed::Hub,
    issuers::{Followed, KeySource, KeyWatch},
    login::{Accounts, Codes, Hasher, Limits, Login},
    metrics::Metrics,
    sso::{ReturnRules, Sso},
    store::{Store, StoreError},
    tls::{Tls, TlsSwitch},
    token::{Issuer, IssuerKeys, SessionLimits, Verifier, VerifierSettings},
    traces::Traces,
    web::{Hints, Internal, SigningIn, Site, SiteSettings, SiteShared, TrustedProxies, router},
};

/// In seconds.
const DAY: i64 = 24 * 60 * 60;
/// How near the end of a certificate is told of, in seconds.
const SOON: i64 = 7 * DAY;

/// The engine that a configuration describes, over these lists. The
/// keys of issuers that are to be fetched are yet to come.
#[must_use]
pub fn engine(config: Config, lists: impl Into<Lists>) -> Engine {
    engine_with(config, lists, &|_| Arc::new(IssuerKeys::awaited(|| {})))
}

/// The same, with keys that somebody fetches.
#[must_use]
pub fn engine_with(
    config: Config,
    lists: impl Into<Lists>,
    fetched: &dyn Fn(&KeySource) -> Arc<IssuerKeys>,
) -> Engine {
    let Config {
        check,
        http,
        login,
        tokens,
        sessions,
        keys,
        issuers,
        api_keys,
        identity,
        policy,
        ..
    } = config;
    let lists = lists.into();
    let issuers = issuers.into_iter().map(|IssuerConfig { settings, keys }| {
        let keys = match keys {
            KeysFrom::Here(keys) => keys,
            KeysFrom::Network(source) => fetched(&source),
        };
        Issuer { settings, keys }
    });
    let upstream_issuer = http.public_url.as_str().trim_end_matches('/').to_owned();
    let own_pages = Origin::parse(http.public_url.as_str());
    let control_plane = login.control_plane.and_then(|url| Origin::parse(url.as_str()));
    let is_https = http.public_url.scheme() == "https";
    let cookie = &tokens.cookie;
    let cookie_name = if is_https && cookie.domain.is_none() {
        format!("__Host-{}", cookie.name)
    } else {
        cookie.name.clone()
    };
    let cookie_form = CookieForm {
        name: cookie_name.clone(),
        is_secure: is_https,
        domain: cookie.domain.clone(),
    };
    let limits = SessionLimits { lifetime: tokens.lifetime, absolute: sessions.absolute };
    let origins = tokens.cookie.origins.into_iter().chain(own_pages).chain(control_plane);
    Engine {
        verifier: Verifier::new(keys, tokens.settings, identity.roles, lists.revoked)
            .refusing(tokens.revoked)
            .trusting(issuers.collect())
            .keeping_payloads(policy.reads_claims())
            .known_upstream_as(upstream_issuer),
        policy,
        credentials: CredentialSettings {
            query_parameter: tokens.query_parameter,
            query_on: tokens.query_on,
            cookie: cookie_name,
            cookie_accepted: tokens.cookie.accept,
            cookie_origins: origins.collect(),
            forward: tokens.forward,
            keys: api_keys.as_ref().map(|config| config.places.clone()),
        },
        api_keys: api_keys.map(|ApiKeysConfig { file, foreign, .. }| ApiKeys {
            file,
            list: Arc::clone(&lists.keys),
            foreign,
        }),
        identity: identity.settings,
        path_allow: check.path_allow,
        ignore_extension: check.ignore_extension,
        upgrades: check.upgrades,
        sign_in: check.sign_in,
        context: check.context,
        mcp_source: check.mcp_source,
        max_body_bytes: check.max_body_bytes,
        // Whoever else asks an engine is told what it decides, and signs nothing.
        sessions: Sessions { limits, renews: false, cookie: cookie_form },
    }
}

/// For how long a user's cut-off counts: as long as a token of any issuer could be
/// accepted that was issued in its second.
fn cut_offs_count_for(config: &Config) -> Duration {
    let own = &config.tokens.settings;
    let of = |issuer: &IssuerConfig| {
        let max_lifetime = issuer.settings.max_lifetime;
        VerifierSettings { max_lifetime, ..own.clone() }.cut_offs_count_for()
    };
    // A session counts as old as its sign-in, however often it was renewed.
    let sessions = VerifierSettings { max_lifetime: config.sessions.absolute, ..own.clone() };
    let own = own.cut_offs_count_for().max(sessions.cut_offs_count_for());
    config.issuers.iter().map(of).fold(own, Duration::max)
}

/// The same, with keys that this watch fetches as soon as it follows these
/// issuers.
#[must_use]
pub fn engine_watched(
    config: Config,
    lists: impl Into<Lists>,
    watch: &KeyWatch,
) -> (Engine, Vec<Arc<Followed>>) {
    let followed = Mutex::new(Vec::new());
    let engine = engine_with(config, lists, &|source| {
        let one = watch.of(source);
        let keys = Arc::clone(&one.keys);
        followed.lock().unwrap_or_else(PoisonError::into_inner).push(one);
        keys
    });
    (engine, followed.into_inner().unwrap_or_else(PoisonError::into_inner))
}

/// The engine of a shadow, with the keys that are followed already where it trusts
/// the same issuers.
fn shadow_engine(
    config: Config,
    lists: Lists,
    followed: &Mutex<Vec<Arc<Followed>>>,
    watch: &KeyWatch,
) -> Arc<Engine> {
    Arc::new(engine_with(config, lists, &|source| {
        let mut followed = followed.lock().unwrap_or_else(PoisonError::into_inner);
        let known = followed.iter().find(|one| one.is_of(source)).cloned();
        let one = known.unwrap_or_else(|| {
            let one = watch.of(source);
            followed.push(Arc::clone(&one));
            one
        });
        Arc::clone(&one.keys)
    }))
}

/// The store that a configuration names.
///
/// # Errors
///
/// [`StoreError::Failed`] for an address that is none.
pub fn store(config: &Config, clock: Arc<dyn Clock>) -> Result<Store, StoreError> {
    let StoreConfig { target, prefix, timeout, .. } = &config.store;
    let kept = cut_offs_count_for(config);
    match target {
        None => Ok(Store::memory(clock, kept)),
        Some(target) => Store::redis(target, prefix, *timeout, kept),
    }
}

/// What outlives a configuration, and needs none.
#[derive(Debug)]
pub(super) struct Lasting {
    pub(super) clock: Arc<dyn Clock>,
    pub(super) store: Arc<Store>,
    pub(super) lists: Lists,
    pub(super) metrics: Arc<Metrics>,
    pub(super) accounts: Arc<ArcSwap<Accounts>>,
    pub(super) hasher: Hasher,
    pub(super) watch: Arc<KeyWatch>,
    /// Tells engines in other processes.
    pub(super) hub: Option<Arc<Hub>>,
}

/// All that one configuration makes: ready to be put in force at once.
pub(super) struct Generation {
    engine: Arc<Engine>,
    /// What would be in its place.
    shadow: Option<Arc<Engine>>,
    /// The issuers whose keys both need.
    followed: Vec<Arc<Followed>>,
    log: DecisionLog,
    router: Router,
    accounts: Arc<Accounts>,
    peers: Vec<IpNet>,
    proxies: Vec<IpNet>,
    lifecycle: LifecycleConfig,
    cut_offs_count_for: Duration,
    check_tls: Option<Tls>,
    http_tls: Option<Tls>,
    /// As it is told to engines elsewhere.
    bundle: Option<Vec<u8>>,
}

impl Generation {
    /// Makes it; nothing is in force yet.
    pub(super) fn new(mut config: Config, lasting: &Lasting) -> Result<Self, AppError> {
        let Lasting { clock, store, lists, metrics, .. } = lasting;
        let settings = SiteSettings {
            public_url: config.http.public_url.clone(),
            control_plane: config.login.control_plane.clone(),
            trusted_proxies: TrustedProxies {
                networks: config.http.trusted_proxies.clone(),
                hops: config.http.trusted_hops,
            },
            token_lifetime: config.tokens.lifetime,
            workers: config.workers.clone(),
            auto_redirect_to_sso: config.ui.auto_redirect_to_sso,
            has_pages: !config.ui.admin_ui_disabled,
        };
        let returns = ReturnRules {
            public_url: config.http.public_url.clone(),
            control_plane: config.login.control_plane.clone(),
            paths: config.login.return_to_paths.clone(),
            origins: config.login.return_to_origins.clone(),
        };
        let sso = match config.sso.clone() {
            Some(settings) => Some(Sso::new(settings, Arc::clone(store), Arc::clone(clock))?),
            None => None,
        };
        let accounts = Arc::new(config.login.accounts.clone());
        let login = Login::new(
            Arc::clone(&accounts),
            Arc::clone(&lasting.accounts),
            lasting.hasher.clone(),
            Limits::new(Arc::clone(store), config.login.limits),
            config.login.roles,
        );
        let codes = Codes::new(Arc::clone(store), config.login.code_ttl);
        let shared = SiteShared {
            store: Arc::clone(store),
            list: Arc::clone(&lists.revoked),
            clock: Arc::clone(clock),
            metrics: Arc::clone(metrics),
        };
        let log = DecisionLog::new(config.telemetry.allowed_decisions);
        let cut_offs_count_for = cut_offs_count_for(&config);
        let (peers, lifecycle) = (config.internal.peers.clone(), config.lifecycle);
        let proxies = config.http.trusted_proxies.clone();
        let (check_tls, http_tls) = (config.check.tls.clone(), config.http.tls.clone());
        let shadow = config.shadow.take();
        let bundle = config.bundle.take().as_ref().map(Bundle::encode);
        let renews = config.sessions.renew;
        let (mut engine, followed) = engine_watched(config, lists.clone(), &lasting.watch);
        engine.sessions.renews = renews;
        let engine = Arc::new(engine);
        let followed = Mutex::new(followed);
        let shadow =
            shadow.map(|config| shadow_engine(*config, lists.clone(), &followed, &lasting.watch));
        let followed = followed.into_inner().unwrap_or_else(PoisonError::into_inner);
        let signing_in = SigningIn { login, codes, sso, returns };
        let site = Site::new(settings, Arc::clone(&engine), &shared, signing_in);
        Ok(Self {
            engine,
            shadow,
            followed,
            log,
            router: router(Arc::new(site)),
            accounts,
            peers,
            proxies,
            lifecycle,
            cut_offs_count_for,
            check_tls,
            http_tls,
            bundle,
        })
    }
}

/// What is in force: each place holds what the newest configuration put there.
#[derive(Debug)]
pub(super) struct InForce {
    pub(super) lasting: Lasting,
    pub(super) checker: Arc<Checker>,
    pub(super) internal: Arc<Internal>,
    pub(super) router: Arc<ArcSwap<Router>>,
    pub(super) proxies: Arc<ArcSwap<Vec<IpNet>>>,
    pub(super) lifecycle: ArcSwap<LifecycleConfig>,
    pub(super) check_tls: Arc<TlsSwitch>,
    pub(super) http_tls: Arc<TlsSwitch>,
}

impl InForce {
    /// The first configuration.
    pub(super) fn new(first: Generation, lasting: Lasting, traces: Option<Traces>) -> Self {
        let metrics = &lasting.metrics;
        let checker = Checker::new(first.engine, Arc::clone(&lasting.clock), first.log)
            .shadowed(first.shadow.as_ref())
            .observed(Arc::clone(&metrics.checks), traces);
        let checker = Arc::new(checker);
        let internal = Internal {
            peers: ArcSwap::from_pointee(first.peers),
            checker: Arc::clone(&checker),
            health: Arc::default(),
            keys: Arc::clone(&lasting.watch),
            metrics: Arc::clone(metrics),
            hints: Hints::default(),
            is_draining: Arc::default(),
        };
        let in_force = Self {
            checker,
            internal: Arc::new(internal),
            router: Arc::new(ArcSwap::from_pointee(first.router)),
            proxies: Arc::new(ArcSwap::from_pointee(first.proxies)),
            lifecycle: ArcSwap::from_pointee(first.lifecycle),
            check_tls: Arc::default(),
            http_tls: Arc::default(),
            lasting,
        };
        let has_keys = in_force.checker.engine().api_keys.is_some();
        in_force.lasting.lists.keys.want(has_keys);
        in_force.lasting.accounts.store(first.accounts);
        in_force.lasting.watch.follow(first.followed);
        in_force.tell(first.bundle, first.cut_offs_count_for);
        in_force.set_tls(first.check_tls.as_ref(), first.http_tls.as_ref());
        in_force
    }

    /// A later one. Whatever is in flight ends by the one that it began with;
    /// nothing that begins sees a mixture within an answer.
    pub(super) fn put(&self, next: Generation) {
        let Lasting { store, lists, accounts, watch, .. } = &self.lasting;
        // Before a token that lives longer is let in.
        store.keep_cut_offs(next.cut_offs_count_for);
        lists.keys.want(next.engine.api_keys.is_some());
        tell_of_keys(&self.checker.engine(), &next.engine);
        self.internal.peers.store(Arc::new(next.peers));
        self.proxies.store(Arc::new(next.proxies));
        accounts.store(next.accounts);
        watch.follow(next.followed);
        self.checker.replace(next.engine, next.shadow, next.log);
        self.router.store(Arc::new(next.router));
        self.lifecycle.store(Arc::new(next.lifecycle));
        self.set_tls(next.check_tls.as_ref(), next.http_tls.as_ref());
        self.tell(next.bundle, next.cut_offs_count_for);
    }

    fn tell(&self, bundle: Option<Vec<u8>>, cut_offs_count_for: Duration) {
        if let Some(hub) = &self.lasting.hub {
            hub.put(bundle, cut_offs_count_for);
        }
    }

    fn set_tls(&self, check: Option<&Tls>, http: Option<&Tls>) {
        let listeners = [("check", &self.check_tls, check), ("http", &self.http_tls, http)];
        for (listener, switch, tls) in listeners {
            switch.set(tls);
            let expires = tls.map(Tls::expires);
            self.lasting.metrics.set_certificate(listener, expires);
            let left = expires.map(|at| at - self.lasting.clock.now().as_secs());
            if let Some(left) = left.filter(|left| *left < SOON) {
                tracing::warn!(
                    listener,
                    days = left / DAY,
                    fix = "renew it; the new file is used without a restart",
                    "the certificate expires soon, or has expired"
                );
            }
        }
    }
}
