//! The server around the services: its limits and its way to stop.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{
    check::CheckService,
    connection::{self, Services},
    incoming::Listener,
};
use crate::{checker::Checker, proto::DESCRIPTORS, tls::TlsSwitch};

/// What one gateway may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest question, in bytes.
    pub message_bytes: usize,
    /// Connections at a time.
    pub connections: usize,
    /// Questions at a time on one connection.
    pub streams: u32,
    /// Headers of one call, in bytes.
    pub header_list_bytes: u32,
    /// How long a connection lives, so that the replicas behind a Service
    /// get their share of the connections that a gateway keeps open.
    pub connection_age: Duration,
    /// How long calls on a connection may take when that is over.
    pub connection_age_grace: Duration,
    /// How often a silent peer is asked whether it is still there.
    pub keepalive_interval: Duration,
    /// How long it may take to answer that.
    pub keepalive_timeout: Duration,
}

impl Limits {
    /// The limits that hold, for questions of at most so many bytes.
    #[must_use]
    pub const fn new(message_bytes: usize) -> Self {
        Self {
            message_bytes,
            connections: 8192,
            streams: 1024,
            header_list_bytes: 16 * 1024,
            connection_age: Duration::from_secs(300),
            connection_age_grace: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

/// The gRPC server.
#[derive(Debug)]
pub struct Server {
    checker: Arc<Checker>,
    limits: Limits,
    health: HealthReporter,
}

impl Server {
    /// A server that answers checks by this checker. It reports that it is
    /// not serving until it is told otherwise.
    #[must_use]
    pub fn new(checker: Arc<Checker>, limits: Limits) -> Self {
        Self { checker, limits, health: HealthReporter::new() }
    }

    /// Tells `grpc.health.v1` whether this server should be asked, as a whole
    /// and by the name of its service.
    pub async fn set_serving(&self, serving: bool) {
        let status = if serving { ServingStatus::Serving } else { ServingStatus::NotServing };
        self.health.set_service_status("", status).await;
        self.health.set_service_status(CheckService::NAME, status).await;
    }

    /// Serves until `stop`, then finishes what is in flight.
    ///
    /// # Errors
    ///
    /// When reflection could not be set up.
    pub async fn serve(
        &self,
        listener: Listener,
        tls: Arc<TlsSwitch>,
        stop: CancellationToken,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        let health = tonic_health::server::HealthService::from_health_reporter(self.health.clone());
        let others = Routes::new(tonic_health::pb::health_server::HealthServer::new(health))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .prepare();
        let services = Services { check: CheckService::new(Arc::clone(&self.checker)), others };
        // The connection asks its peer to leave at its age; at its end it is cut.
        let lifetime = self.limits.connection_age + self.limits.connection_age_grace;
        let mut incoming = listener.incoming(self.limits.connections, lifetime, tls);
        let connections = TaskTracker::new();
        while let Some(stream) = tokio::select! {
            stream = incoming.next() => stream,
            () = stop.cancelled() => None,
        } {
            let (services, stop) = (services.clone(), stop.clone());
            connections.spawn(connection::serve(stream, services, self.limits, stop));
        }
        // Nobody else comes in.
        drop(incoming);
        connections.close();
        connections.wait().await;
        Ok(())
    }
}
