//! The internal listener: decisions over HTTP, probes and metrics.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;
use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Response},
    routing::get,
};
use http::{HeaderMap, Request, StatusCode, header};
use hyper::body::Incoming;
use ipnet::IpNet;

use super::{
    address::Peer,
    decide::{Mode, decide},
    discovery,
    error::ApiError,
    hints::Hints,
    server::Answers,
};
use crate::{
    checker::Checker,
    issuers::KeyWatch,
    metrics::{Format, Metrics},
    places::Standing,
    revocations::ListHealth,
};

/// What the internal listener works with.
#[derive(Debug)]
pub struct Internal {
    /// Who may connect; empty for any.
    pub peers: ArcSwap<Vec<IpNet>>,
    /// What answers the checks.
    pub checker: Arc<Checker>,
    /// How the revocations stand.
    pub health: Arc<ListHealth>,
    /// The issuers whose keys are fetched.
    pub keys: Arc<KeyWatch>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// What is told of proxies that ask wrongly.
    pub hints: Hints,
    /// Whether the service is about to stop.
    pub is_draining: Arc<AtomicBool>,
}

/// Answers on the `internal` listener: decisions at once, the rest by a router.
#[derive(Clone, Debug)]
pub struct InternalAnswers {
    internal: Arc<Internal>,
    router: Router,
}

impl InternalAnswers {
    /// The answers of these parts.
    #[must_use]
    pub fn new(internal: Arc<Internal>) -> Self {
        Self { router: router(Arc::clone(&internal)), internal }
    }
}

impl Answers for InternalAnswers {
    fn at_once(&self, request: &Request<Incoming>, peer: Peer) -> Option<Response> {
        let Peer(address) = peer;
        if !self.internal.knows(address.ip()) {
            // Also one who could ask before a reload.
            let close = [(header::CONNECTION, "close")];
            return Some((close, ApiError::foreign_peer()).into_response());
        }
        let mode = Mode::asked_at(request.uri().path())?;
        Some(decide(&self.internal.checker, &self.internal.hints, mode, request))
    }

    fn router(&self) -> Router {
        self.router.clone()
    }

    fn standing(&self, address: IpAddr) -> Standing {
        // Whoever asks here does so for many: a proxy, the kubelet, Prometheus.
        if self.internal.knows(address) { Standing::Crowd } else { Standing::Stranger }
    }
}

impl Internal {
    fn knows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let peers = self.peers.load();
        peers.is_empty() || peers.iter().any(|peer| peer.contains(&address))
    }
}

fn router(internal: Arc<Internal>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .route("/.well-known/jwks.json", get(key_set))
        .fallback(async || ApiError::not_found())
        .with_state(internal)
}

async fn ready(State(internal): State<Arc<Internal>>) -> (StatusCode, &'static str) {
    if internal.is_draining.load(Ordering::Relaxed) {
        (StatusCode::SERVICE_UNAVAILABLE, "draining\n")
    } else if !internal.checker.is_ready() {
        (StatusCode::SERVICE_UNAVAILABLE, "the revocations are not loaded\n")
    } else if !internal.keys.has_asked() {
        (StatusCode::SERVICE_UNAVAILABLE, "the keys of the issuers are being fetched\n")
    } else if internal.health.is_degraded() {
        // An outage of the store must not take all replicas out of service.
        (StatusCode::OK, "degraded: store\n")
    } else {
        (StatusCode::OK, "ok\n")
    }
}

async fn metrics(State(internal): State<Arc<Internal>>, headers: HeaderMap) -> Response {
    let Internal { checker, health, metrics, .. } = &*internal;
    let engine = checker.engine();
    metrics.set_revocations(health.age(), engine.verifier.revocations().len());
    let now = checker.now();
    if let Some(keys) = &engine.api_keys {
        metrics.set_api_keys(keys.counts(now));
    }
    metrics.set_issuers(engine.verifier.issuers().iter().map(|issuer| {
        let keys = &issuer.keys;
        let count = if keys.can_be_relied_upon(now) { keys.set().len() } else { 0 };
        (&*issuer.settings.name, count, keys.heard().map(|heard| now.since(heard)))
    }));
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let format = Format::accepted(accept.unwrap_or_default());
    ([(header::CONTENT_TYPE, format.content_type())], metrics.encode(format)).into_response()
}

async fn key_set(State(internal): State<Arc<Internal>>) -> Response {
    discovery::key_set(internal.checker.engine().verifier.keys())
}
