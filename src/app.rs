//! The composition root: a configuration goes in, a running service comes out.

use std::{io, sync::Arc, time::Duration};

use thiserror::Error;
use tokio_util::sync::CancellationToken;

use crate::{
    authz::{CredentialSettings, Engine, Origin},
    checker::Checker,
    clock::Clock,
    config::{Config, LifecycleConfig},
    decision_log::DecisionLog,
    grpc::{Limits, Listener, Server},
    token::{RevocationList, Verifier},
};

/// The engine that a configuration describes, over this list of revocations.
#[must_use]
pub fn engine(config: Config, revoked: Arc<RevocationList>) -> Engine {
    let Config { check, sign_in, tokens, keys, identity, policy, .. } = config;
    let own_pages = sign_in.public_url.as_ref().and_then(|url| Origin::parse(url.as_str()));
    let is_https = sign_in.public_url.as_ref().is_some_and(|url| url.scheme() == "https");
    let cookie = &tokens.cookie;
    let cookie_name = if is_https && cookie.domain.is_none() {
        format!("__Host-{}", cookie.name)
    } else {
        cookie.name.clone()
    };
    let origins = tokens.cookie.origins.into_iter().chain(own_pages).chain(sign_in.control_plane);
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
    /// A listener failed.
    #[error("the check listener failed: {0}")]
    Check(Box<dyn std::error::Error + Send + Sync>),
}

/// A service with its listeners bound.
#[derive(Debug)]
pub struct App {
    server: Arc<Server>,
    checker: Arc<Checker>,
    listener: Listener,
    lifecycle: LifecycleConfig,
}

impl App {
    /// Builds the service and binds its listeners.
    ///
    /// # Errors
    ///
    /// [`AppError::Bind`].
    pub async fn bind(config: Config, clock: Arc<dyn Clock>) -> Result<Self, AppError> {
        let listen = config.check.listen.clone();
        let listener = Listener::bind(&listen).await.map_err(|cause| AppError::Bind {
            key: "check.listen",
            address: listen.to_string(),
            cause,
        })?;
        let limits = Limits::new(config.check.max_message_bytes);
        let log = DecisionLog::new(config.telemetry.allowed_decisions);
        let lifecycle = config.lifecycle;
        // Nobody shares revocations with this service yet, so the list is
        // complete from the start.
        let engine = engine(config, Arc::new(RevocationList::empty()));
        let checker = Arc::new(Checker::new(Arc::new(engine), clock, log));
        let server = Arc::new(Server::new(Arc::clone(&checker), limits));
        Ok(Self { server, checker, listener, lifecycle })
    }

    /// Where checks are answered: an address, or `unix:` and a path.
    #[must_use]
    pub fn check_address(&self) -> String {
        self.listener.to_string()
    }

    /// Serves until `stop`; then says that it is not ready, serves on for
    /// `lifecycle.drain`, and finishes what is in flight, for at most
    /// `lifecycle.stop_within`. `stop_now` cuts the draining short.
    ///
    /// # Errors
    ///
    /// [`AppError::Check`] when the listener failed.
    pub async fn run(
        self,
        stop: CancellationToken,
        stop_now: CancellationToken,
    ) -> Result<(), AppError> {
        let Self { server, checker, listener, lifecycle } = self;
        tracing::info!(listener = "check", address = %listener, "listening");
        server.set_serving(checker.is_ready()).await;

        let close = CancellationToken::new();
        let serving = tokio::spawn({
            let (server, close) = (Arc::clone(&server), close.clone());
            async move { server.serve(listener, close).await }
        });
        tokio::pin!(serving);
        tokio::select! {
            // It ends before it is told to when it fails.
            ended = &mut serving => return Err(AppError::Check(match ended {
                Ok(Ok(())) => "it ended by itself".into(),
                Ok(Err(error)) => error,
                Err(panic) => panic.into(),
            })),
            () = stop.cancelled() => {}
        }
        server.set_serving(false).await;
        tracing::info!(drain = ?lifecycle.drain, "stopping: not ready, still serving");
        wait(lifecycle.drain, &stop_now).await;
        close.cancel();
        tokio::select! {
            ended = &mut serving => match ended {
                Ok(Ok(())) => tracing::info!("stopped"),
                Ok(Err(error)) => return Err(AppError::Check(error)),
                Err(panic) => return Err(AppError::Check(panic.into())),
            },
            () = wait(lifecycle.stop_within, &stop_now) => {
                tracing::warn!(after = ?lifecycle.stop_within, "stopped with calls in flight");
                serving.abort();
            }
        }
        Ok(())
    }
}

async fn wait(span: Duration, cut_short: &CancellationToken) {
    tokio::select! {
        () = tokio::time::sleep(span) => {}
        () = cut_short.cancelled() => {}
    }
}
