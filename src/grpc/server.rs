//! The server around the services: its limits and its way to stop.

use std::{sync::Arc, time::Duration};

use tokio_util::sync::CancellationToken;
use tonic::server::NamedService as _;
use tonic_health::{ServingStatus, server::HealthReporter};

use super::{check::CheckService, incoming::Listener};
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
    /// When the server or its reflection could not be set up, or when the
    /// listener failed for good.
    pub async fn serve(
        &self,
        listener: Listener,
        tls: Arc<TlsSwitch>,
        stop: CancellationToken,
    ) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let Limits { message_bytes, connections, .. } = self.limits;
        // With a grace of its own, tonic cuts a connection off at its end and
        // never asks the peer to leave; so the end is the connection's.
        let lifetime = self.limits.connection_age + self.limits.connection_age_grace;
        let reflection = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(DESCRIPTORS)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        tonic::transport::Server::builder()
            .max_concurrent_streams(self.limits.streams)
            .http2_max_header_list_size(self.limits.header_list_bytes)
            .http2_keepalive_interval(Some(self.limits.keepalive_interval))
            .http2_keepalive_timeout(Some(self.limits.keepalive_timeout))
            .max_connection_age(self.limits.connection_age)
            .add_service(CheckService::new(Arc::clone(&self.checker), message_bytes))
            .add_service(tonic_health::pb::health_server::HealthServer::new(
                tonic_health::server::HealthService::from_health_reporter(self.health.clone()),
            ))
            .add_service(reflection().build_v1()?)
            .add_service(reflection().build_v1alpha()?)
            .serve_with_incoming_shutdown(
                listener.incoming(connections, lifetime, tls),
                stop.cancelled_owned(),
            )
            .await?;
        Ok(())
    }
}
