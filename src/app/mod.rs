//! The composition root: a configuration goes in, a running service comes out.

mod fed;
mod lists;
mod parts;
mod reload;

use std::{
    io,
    net::SocketAddr,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use thiserror::Error;
use tokio::{sync::Notify, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::{
    fed::Fed,
    lists::Lists,
    parts::{engine, engine_watched, engine_with, store},
    reload::Loader,
};
use self::{
    parts::{Generation, InForce, Lasting},
    reload::{Fixed, Reloader, Reloads},
};
use crate::{
    clock::Clock,
    config::{Config, FeedConfig, SeenFile},
    feed::{self, FeedServer, Hub},
    grpc::{Limits as GrpcLimits, Listener, Server},
    issuers::KeyWatch,
    login::{AccountsWatch, Hasher},
    metrics::Metrics,
    places::House,
    revocations::Follower,
    sessions::{Register, keep_seen},
    sso::ProviderError,
    store::{Store, StoreError},
    traces::{Traces, TracesError},
    web::{HttpServer, InternalAnswers, Routed},
};

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
    /// There is no way to send traces.
    #[error("telemetry: {0}")]
    Traces(#[from] TracesError),
    /// A part of the service failed.
    #[error("a part of the service failed: {0}")]
    Failed(String),
}

/// A service with its listeners bound.
#[derive(Debug)]
pub struct App {
    server: Arc<Server>,
    check: Listener,
    http: HttpServer,
    internal: HttpServer,
    feed: Option<FeedServer>,
    in_force: Arc<InForce>,
    traces: Option<Traces>,
    reloads: Option<Reloads>,
    fixed: Fixed,
    files: Vec<SeenFile>,
}

impl App {
    /// Builds the service and binds its listeners.
    ///
    /// # Errors
    ///
    /// [`AppError::Bind`], [`AppError::Store`], [`AppError::Sso`] and
    /// [`AppError::Traces`].
    pub async fn bind(config: Config, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let fixed = Fixed::of(&config);
        let files = config.files.clone();
        let check = Listener::bind(&fixed.check).await.map_err(|cause| AppError::Bind {
            key: "check.listen",
            address: fixed.check.to_string(),
            cause,
        })?;
        let house = Arc::<House>::default();
        let http = bind("http", "http.listen", fixed.http, &house).await?;
        let internal = bind("internal", "internal.listen", fixed.internal, &house).await?;

        let feed = match &fixed.feed {
            Some(FeedConfig { listen, uids }) => {
                let bound = feed::bind(listen, uids.clone()).await;
                let address = || format!("unix:{}", listen.display());
                let key = "feed.listen";
                Some(bound.map_err(|cause| AppError::Bind { key, address: address(), cause })?)
            }
            None => None,
        };

        let metrics = Arc::new(Metrics::default());
        let store = store(&config, Arc::clone(&clock))?.observed(metrics.store.clone());
        let lists = Lists::default();
        let list = &lists.revoked;
        if !store.is_shared() {
            list.set_loaded();
        } else if !config.store.require_at_start {
            list.set_loaded();
            lists.keys.need_not_wait();
            tracing::warn!(
                "store.require_at_start is false: until the store answers, tokens and keys that \
                 were revoked are let through"
            );
        }
        let store = Arc::new(store);
        let (time, counts) = (Arc::clone(&clock), Arc::clone(&metrics));
        let watch = Arc::new(KeyWatch::new(Arc::clone(&store), time, counts));
        let hub = feed.as_ref().map(|_| {
            Hub::new(Arc::clone(&lists.revoked), Arc::clone(&lists.keys), Arc::clone(&watch))
        });
        let lasting = Lasting {
            hub,
            clock,
            store,
            watch,
            lists,
            metrics,
            accounts: Arc::default(),
            hasher: Hasher::default(),
        };
        let traces = config.telemetry.traces.as_ref().map(Traces::new).transpose()?;
        let grpc_limits = GrpcLimits::new(config.check.max_message_bytes);
        let first = Generation::new(config, &lasting)?;
        let in_force = Arc::new(InForce::new(first, lasting, traces.clone()));
        let checker = Arc::clone(&in_force.checker);
        let server = Server::new(checker, grpc_limits, house.listener("check"));
        let server = Arc::new(server);
        Ok(Self {
            server,
            check,
            http,
            internal,
            feed,
            in_force,
            traces,
            reloads: None,
            fixed,
            files,
        })
    }

    /// Takes over what `load` gives whenever a file of the configuration has
    /// changed, and when `now` says so. What it refuses changes nothing.
    #[must_use]
    pub fn reloading(self, load: Loader, now: Arc<Notify>) -> Self {
        Self { reloads: Some(Reloads { load, now }), ..self }
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
        self.http.address()
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
        mut self,
        stop: CancellationToken,
        stop_now: CancellationToken,
    ) -> Result<(), AppError> {
        let (server, in_force) = (Arc::clone(&self.server), Arc::clone(&self.in_force));
        let traces = self.traces.take();
        let close = CancellationToken::new();
        let mut parts = self.start(&close);

        tokio::select! {
            ended = ended_early(&mut parts) => return Err(AppError::Failed(ended)),
            () = serve_when_ready(&server, &in_force) => {}
            () = stop.cancelled() => {}
        }
        tokio::select! {
            ended = ended_early(&mut parts) => return Err(AppError::Failed(ended)),
            () = stop.cancelled() => {}
        }
        let lifecycle = **in_force.lifecycle.load();
        in_force.internal.is_draining.store(true, Ordering::Relaxed);
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
        if let Some(traces) = traces {
            // What fails there has been told of.
            tokio::select! {
                _ = tokio::task::spawn_blocking(move || traces.finish()) => {}
                () = stop_now.cancelled() => {}
            }
        }
        Ok(())
    }

    /// Starts all parts; each ends by `close`.
    fn start(self, close: &CancellationToken) -> JoinSet<Result<(), String>> {
        let Self { server, check, http, internal, feed, in_force, reloads, fixed, files, .. } =
            self;
        let Lasting { clock, store, lists, accounts, watch: keys, hub, .. } = &in_force.lasting;
        let mut parts: JoinSet<Result<(), String>> = JoinSet::new();
        tracing::info!(listener = "check", address = %check, "listening");
        let (token, tls) = (close.clone(), Arc::clone(&in_force.check_tls));
        parts
            .spawn(async move { server.serve(check, tls, token).await.map_err(|e| e.to_string()) });

        let follower = Follower {
            store: Arc::clone(store),
            list: Arc::clone(&lists.revoked),
            keys: Arc::clone(&lists.keys),
            health: Arc::clone(&in_force.internal.health),
            clock: Arc::clone(clock),
        };
        parts.spawn(follower.run_apart(close.clone()));
        let watch = AccountsWatch {
            accounts: Arc::clone(accounts),
            store: Arc::clone(store),
            list: Arc::clone(&lists.revoked),
            clock: Arc::clone(clock),
        };
        let pages =
            Routed { router: Arc::clone(&in_force.router), proxies: Arc::clone(&in_force.proxies) };
        let http_tls = Arc::clone(&in_force.http_tls);
        let answers = InternalAnswers::new(Arc::clone(&in_force.internal));
        let mut run = |part: Part| {
            parts.spawn(async move {
                part.await;
                Ok(())
            });
        };
        run(Box::pin(http.serve(pages, http_tls, close.clone())));
        run(Box::pin(internal.serve(answers, Arc::default(), close.clone())));
        run(Box::pin(tell_concerns(Arc::clone(store), close.clone())));
        run(Box::pin(watch.run(close.clone())));
        run(Box::pin(Arc::clone(keys).run(close.clone())));
        let checker = Arc::clone(&in_force.checker);
        let register = Register::new(
            Arc::clone(store),
            Arc::clone(&lists.revoked),
            checker.engine().sessions.limits,
        );
        let elsewhere = hub.clone();
        let renewed = move || {
            let mut renewed = checker.engine().verifier.renewed_sessions();
            renewed.extend(elsewhere.iter().flat_map(|hub| hub.seen()));
            renewed
        };
        run(Box::pin(keep_seen(register, renewed, close.clone())));
        if let (Some(feed), Some(hub)) = (feed, hub) {
            tracing::info!(listener = "feed", path = %feed.path().display(), "listening");
            run(Box::pin(feed.serve(Arc::clone(hub), close.clone())));
        }
        if let Some(reloads) = reloads {
            let reloader = Reloader::new(reloads, Arc::clone(&in_force), fixed, files);
            run(Box::pin(reloader.run(close.clone())));
        }
        parts
    }
}

/// A part of the service that ends when it is told to.
type Part = Pin<Box<dyn Future<Output = ()> + Send>>;

async fn bind(
    name: &'static str,
    key: &'static str,
    address: SocketAddr,
    house: &Arc<House>,
) -> Result<HttpServer, AppError> {
    HttpServer::bind(name, address, house.listener(name)).await.map_err(|cause| AppError::Bind {
        key,
        address: address.to_string(),
        cause,
    })
}

/// Says that checks are served as soon as they can be decided.
async fn serve_when_ready(server: &Server, in_force: &InForce) {
    let is_ready = || in_force.checker.is_ready() && in_force.lasting.watch.has_asked();
    server.set_serving(is_ready()).await;
    while !is_ready() {
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
