//! Defence in depth: an upstream checks once more what the gateway let
//! through, by the same engine, with the same rules and keys.
//!
//! [`GuardLayer`] is a tower layer. It answers a request that may not pass
//! before the service behind it sees anything of it, so also before a
//! WebSocket is upgraded. What passes has the identity headers of its token
//! and no others, also when it came past the gateway, and an [`Admission`]
//! among its extensions. A WebSocket outlives its request; run it within
//! [`Admission::until_expired`], and it ends when its token does:
//!
//! ```
//! # use portcullis::guard::{Admission, Expired};
//! # async fn echo() {}
//! async fn session(admission: Admission) {
//!     match admission.until_expired(echo()).await {
//!         Ok(()) => {}       // the conversation ended by itself
//!         Err(Expired) => {} // say so in a close frame
//!     }
//! }
//! ```

mod admission;

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll},
    time::Duration,
};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::runtime::Handle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tower::{Layer, Service};

pub use self::admission::{Admission, Expired, User};
use crate::{
    app,
    authz::{Engine, Grant, Verdict},
    checker::Checker,
    clock::{Clock, SystemClock},
    config::Config,
    decision_log::DecisionLog,
    issuers::KeyWatch,
    store::Store,
    token::RevocationList,
    transport::{Context, Transport},
    web,
};

/// Puts a [`Guard`] before a service.
#[derive(Clone, Debug)]
pub struct GuardLayer {
    checker: Arc<Checker>,
    clock: Arc<dyn Clock>,
    leeway: Duration,
    /// Ends with the last one of this guard.
    _following: Option<Arc<DropGuard>>,
}

impl GuardLayer {
    /// A guard by the rules and keys of a configuration: the one that the
    /// portcullis at the gateway has, or one that knows that portcullis as one of
    /// its `[[issuers]]`. Revocations are the gateway's business.
    ///
    /// Keys that are to be fetched are so by the tokio runtime that this is called
    /// in; called outside of one, the tokens of their issuers stay refused.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self::with_clock(config, Arc::new(SystemClock))
    }

    /// The same by another clock.
    #[must_use]
    pub fn with_clock(config: Config, clock: Arc<dyn Clock>) -> Self {
        let leeway = config.tokens.settings.leeway;
        let (engine, following) = following(config, &clock);
        let engine = Arc::new(engine);
        // The gateway has logged what it allowed.
        let checker = Checker::new(engine, Arc::clone(&clock), DecisionLog::new(0.0));
        Self { checker: Arc::new(checker), clock, leeway, _following: following }
    }
}

/// The engine, and what fetches the keys of its issuers, if it has such.
fn following(config: Config, clock: &Arc<dyn Clock>) -> (Engine, Option<Arc<DropGuard>>) {
    // No other replica shares what is fetched.
    let store = Arc::new(Store::memory(Arc::clone(clock), Duration::ZERO));
    let watch = Arc::new(KeyWatch::new(store, Arc::clone(clock), Arc::default()));
    let (engine, followed) = app::engine_watched(config, Arc::new(RevocationList::empty()), &watch);
    if followed.is_empty() {
        return (engine, None);
    }
    let Ok(runtime) = Handle::try_current() else {
        let fix = "create the guard inside a tokio runtime, or give the keys as jwks_file";
        tracing::error!(fix, "the keys of issuers cannot be fetched; their tokens are refused");
        return (engine, None);
    };
    watch.follow(followed);
    let stop = CancellationToken::new();
    runtime.spawn(watch.run(stop.clone()));
    (engine, Some(Arc::new(stop.drop_guard())))
}

impl<S> Layer<S> for GuardLayer {
    type Service = Guard<S>;

    fn layer(&self, inner: S) -> Guard<S> {
        Guard { layer: self.clone(), inner }
    }
}

/// A service that only lets pass whom the engine lets pass.
#[derive(Clone, Debug)]
pub struct Guard<S> {
    layer: GuardLayer,
    inner: S,
}

impl<S, B, R> Service<Request<B>> for Guard<S>
where
    S: Service<Request<B>, Response = Response<R>>,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
    R: From<String> + Send + 'static,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, task: &mut Task<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(task)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let GuardLayer { checker, clock, leeway, .. } = &self.layer;
        let input = web::request_input(&request);
        let request_id = input.headers.text("x-request-id").unwrap_or_default();
        let context = Context { request_id, client: "", transport: Transport::Guard, trace: None };
        let admitted = checker.check(Ok(&input), context, |decision| match decision.verdict {
            Verdict::Allow(grant) => {
                let principal = decision.principal.as_ref();
                let admission = Admission::new(principal, *leeway, Arc::clone(clock));
                Ok((admission, Changes::of(&grant)))
            }
            Verdict::Deny(denial) => Err(web::denied(&denial)),
            Verdict::Answer(answer) => Err(web::answered(&answer)),
        });
        match admitted {
            Ok((admission, changes)) => {
                changes.make(request.headers_mut());
                request.extensions_mut().insert(admission);
                Box::pin(self.inner.call(request))
            }
            Err(response) => Box::pin(std::future::ready(Ok(response))),
        }
    }
}

/// What becomes of the headers of a request that passes: who came past the
/// gateway could have set them.
struct Changes {
    remove: Vec<HeaderName>,
    set: Vec<(HeaderName, HeaderValue)>,
}

impl Changes {
    fn of(grant: &Grant<'_>) -> Self {
        let name = |name: &str| HeaderName::try_from(name).ok();
        let value = |value: &String| HeaderValue::try_from(value).ok();
        Self {
            // What is set goes first as well, so that nothing of it stays.
            remove: (grant.remove.iter().map(AsRef::as_ref))
                .chain(grant.set.iter().map(|(set, _)| *set))
                .filter_map(name)
                .collect(),
            set: grant.set.iter().filter_map(|(set, to)| Some((name(set)?, value(to)?))).collect(),
        }
    }

    fn make(self, headers: &mut HeaderMap) {
        for name in self.remove {
            headers.remove(name);
        }
        for (name, value) in self.set {
            headers.insert(name, value);
        }
    }
}
