//! The composition root: a configuration goes in, a running service comes out.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use arc_swap::ArcSwap;
use thiserror::Error;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::{
    authz::{CredentialSettings, Engine, Origin},
    checker::Checker,
    clock::Clock,
    config::{Config, LifecycleConfig},
    decision_log::DecisionLog,
    grpc::{Limits as GrpcLimits, Listener, Server},
    login::{AccountsWatch, Codes, Limits, Login},
    revocations::{Follower, ListHealth},
    sso::{ProviderError, ReturnRules, Sso},
    store::{Store, StoreError},
    token::{RevocationList, Verifier},
    web::{HttpServer, Internal, InternalAnswers, SigningIn, Site, SiteSettings, router},
};

/// The engine that a configuration describes, over this list of revocations.
#[must_use]
pub fn engine(config: Config, revoked: Arc<RevocationList>) -> Engine {
    let Config { check, http, login, tokens, keys, identity, policy, .. } = config;
    let own_pages = Origin::parse(http.public_url.as_str());
    let control_plane = login.control_plane.and_then(|url| Origin::parse(url.as_str()));
    let is_https = http.public_url.scheme() == "https";
    let cookie = &tokens.cookie;
    let cookie_name = if is_https && cookie.domain.is_none() {
        format!("__Host-{}", cookie.name)
    } else {
        cookie.name.clone()
    };
    let origins = tokens.cookie.origins.into_iter().chain(own_pages).chain(control_plane);
    Engine {
        policy,
        verifier: Verifier::new(keys, tokens.settings, identity.roles, revoked),
        credentials: CredentialSettings {
            query_parameter: tokens.query_parameter,
            query_on: tokens.query_on,
            cookie: cookie_name,
            cookie_accepted: tokens.cookie.accept,
            cookie_origins: origins.collect(),
            forward: tokens.forward,
        },
        identity: identity.settings,
        path_allow: check.path_allow,
        sign_in: check.sign_in,
    }
}

/// The store that a configuration names.
///
/// # Errors
///
/// [`StoreError::Failed`] for an address that is none.
pub fn store(config: &Config, clock: Arc<dyn Clock>) -> Result<Store, StoreError> {
    match &config.store.target {
        None => Ok(Store::memory(clock)),
        Some(target) => Store::redis(
            target,
            &config.store.prefix,
            config.store.timeout,
            config.tokens.settings.max_lifetime,
        ),
    }
}

/// Why the service did not start, or why it stopped before it was told to.
#[derive(Debug, Error)]
pub enum AppError {
    /// A listener could not be bound.
    #[error("{key}: cannot listen on {address}: {cause}")]
    Bind {
        /// The key of the configuration.
        key: &'static str,
        /// The address.
        address: String,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The store's address is none.
    #[error("store: {0}")]
    Store(#[from] StoreError),
    /// There is no client for the provider of single sign-on.
    #[error("sso: {0}")]
    Sso(#[from] ProviderError),
    /// A part of the service failed.
    #[error("a part of the service failed: {0}")]
    Failed(String),
}

/// A service with its listeners bound.
#[derive(Debug)]
pub struct App {
    server: Arc<Server>,
    check: Listener,
    http: (HttpServer, Arc<Site>),
    internal: (HttpServer, Arc<Internal>),
    follower: Follower,
    watch: Option<AccountsWatch>,
    checker: Arc<Checker>,
    lifecycle: LifecycleConfig,
}

impl App {
    /// Builds the service and binds its listeners.
    ///
    /// # Errors
    ///
    /// [`AppError::Bind`], [`AppError::Store`] and [`AppError::Sso`].
    pub async fn bind(config: Config, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let listen = config.check.listen.clone();
        let check = Listener::bind(&listen).await.map_err(|cause| AppError::Bind {
            key: "check.listen",
            address: listen.to_string(),
            cause,
        })?;
        let http = bind("http", "http.listen", config.http.listen).await?;
        let internal = bind("internal", "internal.listen", config.internal.listen).await?;

        let store = Arc::new(store(&config, Arc::clone(&clock))?);
        let list = Arc::new(RevocationList::default());
        if !store.is_shared() {
            list.set_loaded();
        } else if !config.store.require_at_start {
            list.set_loaded();
            tracing::warn!(
                "store.require_at_start is false: until the store answers, tokens that were \
                 revoked are let through"
            );
        }
        let accounts = Arc::new(ArcSwap::from_pointee(config.login.accounts.clone()));
        let watch = config.login.users_file.clone().map(|file| AccountsWatch {
            file,
            roles: config.identity.roles.clone(),
            accounts: Arc::clone(&accounts),
            store: Arc::clone(&store),
            list: Arc::clone(&list),
            clock: Arc::clone(&clock),
        });
        let health = Arc::new(ListHealth::default());
        let follower = Follower {
            store: Arc::clone(&store),
            list: Arc::clone(&list),
            health: Arc::clone(&health),
            clock: Arc::clone(&clock),
            leeway: config.tokens.settings.leeway,
        };
        let settings = SiteSettings {
            public_url: config.http.public_url.clone(),
            control_plane: config.login.control_plane.clone(),
            trusted_proxies: config.http.trusted_proxies.clone(),
            token_lifetime: config.tokens.lifetime,
            cookie_domain: config.tokens.cookie.domain.clone(),
            workers: config.workers.clone(),
        };
        let returns = ReturnRules {
            public_url: config.http.public_url.clone(),
            control_plane: config.login.control_plane.clone(),
            paths: config.login.return_to_paths.clone(),
            origins: config.login.return_to_origins.clone(),
        };
        let sso = match config.sso.clone() {
            Some(settings) => Some(Sso::new(settings, Arc::clone(&store), Arc::clone(&clock))?),
            None => None,
        };
        let limits = Limits::new(Arc::clone(&store), config.login.limits);
        let login = Login::new(accounts, limits, config.login.roles);
        let codes = Codes::new(Arc::clone(&store), config.login.code_ttl);
        let grpc_limits = GrpcLimits::new(config.check.max_message_bytes);
        let log = DecisionLog::new(config.telemetry.allowed_decisions);
        let (lifecycle, peers) = (config.lifecycle, config.internal.peers.clone());

        let engine = Arc::new(engine(config, list));
        let checker = Arc::new(Checker::new(engine, clock, log));
        let signing_in = SigningIn { login, codes, sso, returns };
        let site = Site::new(settings, Arc::clone(&checker), store, signing_in);
        let is_draining = Arc::new(AtomicBool::new(false));
        let probes = Internal { peers, checker: Arc::clone(&checker), health, is_draining };
        Ok(Self {
            server: Arc::new(Server::new(Arc::clone(&checker), grpc_limits)),
            check,
            http: (http, Arc::new(site)),
            internal: (internal, Arc::new(probes)),
            follower,
            watch,
            checker,
            lifecycle,
        })
    }

    /// Where checks are answered: an address, or `unix:` and a path.
    #[must_use]
    pub fn check_address(&self) -> String {
        self.check.to_string()
    }

    /// Where the `http` listener is.
    ///
    /// # Errors
    ///
    /// Those of the operating system.
    pub fn http_address(&self) -> io::Result<SocketAddr> {
        self.http.0.address()
    }

    /// Serves until `stop`; then says that it is not ready, serves on for
    /// `lifecycle.drain`, and finishes what is in flight, for at most
    /// `lifecycle.stop_within`. `stop_now` cuts the draining short.
    ///
    /// # Errors
    ///
    /// [`AppError::Failed`] when a part of the service ended by itself: it
    /// takes the others with it.
    pub async fn run(
        self,
        stop: CancellationToken,
        stop_now: CancellationToken,
    ) -> Result<(), AppError> {
        let Self { server, check, http, internal, follower, watch, checker, lifecycle } = self;
        let close = CancellationToken::new();
        let mut parts: JoinSet<Result<(), String>> = JoinSet::new();

        tracing::info!(listener = "check", address = %check, "listening");
        let (grpc, token) = (Arc::clone(&server), close.clone());
        parts.spawn(async move { grpc.serve(check, token).await.map_err(|e| e.to_string()) });
        let is_draining = Arc::clone(&internal.1.is_draining);
        let token = close.clone();
        parts.spawn(async move {
            http.0.serve(router(http.1), token).await;
            Ok(())
        });
        let token = close.clone();
        parts.spawn(async move {
            internal.0.serve(InternalAnswers::new(internal.1), token).await;
            Ok(())
        });
        let concerns = tell_concerns(Arc::clone(&follower.store), close.clone());
        parts.spawn(async move {
            concerns.await;
            Ok(())
        });
        let token = close.clone();
        parts.spawn(async move {
            follower.run(token).await;
            Ok(())
        });
        if let Some(watch) = watch {
            let token = close.clone();
            parts.spawn(async move {
                watch.run(token).await;
                Ok(())
            });
        }

        tokio::select! {
            ended = ended_early(&mut parts) => return Err(AppError::Failed(ended)),
            () = serve_when_ready(&server, &checker) => {}
            () = stop.cancelled() => {}
        }
        tokio::select! {
            ended = ended_early(&mut parts) => return Err(AppError::Failed(ended)),
            () = stop.cancelled() => {}
        }
        is_draining.store(true, Ordering::Relaxed);
        server.set_serving(false).await;
        tracing::info!(drain = ?lifecycle.drain, "stopping: not ready, still serving");
        wait(lifecycle.drain, &stop_now).await;
        close.cancel();
        tokio::select! {
            () = async { while parts.join_next().await.is_some() {} } => {
                tracing::info!("stopped");
            }
            () = wait(lifecycle.stop_within, &stop_now) => {
                tracing::warn!(after = ?lifecycle.stop_within, "stopped with calls in flight");
            }
        }
        Ok(())
    }
}

async fn bind(
    name: &'static str,
    key: &'static str,
    address: SocketAddr,
) -> Result<HttpServer, AppError> {
    HttpServer::bind(name, address).await.map_err(|cause| AppError::Bind {
        key,
        address: address.to_string(),
        cause,
    })
}

/// Says that checks are served as soon as they can be decided.
async fn serve_when_ready(server: &Server, checker: &Checker) {
    server.set_serving(checker.is_ready()).await;
    while !checker.is_ready() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    server.set_serving(true).await;
}

/// What a part said when it ended before it was told to.
async fn ended_early(parts: &mut JoinSet<Result<(), String>>) -> String {
    match parts.join_next().await {
        Some(Ok(Err(error))) => error,
        Some(Err(panic)) => panic.to_string(),
        _ => "it ended by itself".to_owned(),
    }
}

/// Warns of settings of the store that could lose something, once it answers.
/// Ends with the service.
async fn tell_concerns(store: Arc<Store>, stop: CancellationToken) {
    let asking = async {
        loop {
            if let Ok(concerns) = store.concerns().await {
                for concern in concerns {
                    tracing::warn!(concern, "the store may lose something");
                }
                std::future::pending::<()>().await;
            }
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
    };
    tokio::select! {
        () = asking => {}
        () = stop.cancelled() => {}
    }
}

async fn wait(span: Duration, cut_short: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(span) => {}
        () = cut_short.cancelled() => {}
    }
}
