//! The server around the services: its limits and its way to stop.

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server::HealthReporter};

use super::{
    budget::Budget,
    check::CheckService,
    connection::{self, Services},
    incoming::Listener,
    others::{self, MESSAGE_BYTES},
};
use crate::{checker::Checker, places::Places, proto::DESCRIPTORS, tls::TlsSwitch};

/// What one gateway may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest question, in bytes.
    pub message_bytes: usize,
    /// What the questions of a connection may hold that have yet to come whole,
    /// in bytes.
    pub unfinished_bytes: usize,
    /// The same of all connections.
    pub all_unfinished_bytes: usize,
    /// Questions at a time on one connection.
    pub streams: u32,
    /// Headers of one call, in bytes.
    pub header_list_bytes: usize,
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
        // Room for every call of a connection to wait, and for some that are long.
        Self {
            message_bytes,
            unfinished_bytes: max(3 << 20, message_bytes.saturating_mul(2)),
            all_unfinished_bytes: max(4 << 20, message_bytes.saturating_mul(4)),
            streams: 1024,
            header_list_bytes: 16 * 1024,
            connection_age: Duration::from_secs(300),
            connection_age_grace: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

const fn max(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}

/// The gRPC server.
#[derive(Debug)]
pub struct Server {
    checker: Arc<Checker>,
    limits: Limits,
    places: Arc<Places>,
    health: HealthReporter,
}

impl Server {
    /// A server that answers checks by this checker, at these places. It
    /// reports that it is not serving until it is told otherwise.
    #[must_use]
    pub fn new(checker: Arc<Checker>, limits: Limits, places: Arc<Places>) -> Self {
        Self { checker, limits, places, health: HealthReporter::new() }
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
        let health = HealthServer::new(health).max_decoding_message_size(MESSAGE_BYTES);
        let v1 = reflection().build_v1()?.max_decoding_message_size(MESSAGE_BYTES);
        let v1alpha = reflection().build_v1alpha()?.max_decoding_message_size(MESSAGE_BYTES);
        let services = Arc::new(Services {
            check: CheckService::new(Arc::clone(&self.checker)),
            others: Routes::new(health).add_service(v1).add_service(v1alpha).prepare(),
            limits: self.limits,
            questions: Budget::new(self.limits.all_unfinished_bytes),
            answers: Budget::new(connection::ANSWERS_BYTES),
            blocks: Budget::new(connection::BLOCKS_BYTES),
            lasting: Budget::new(others::ALL_BYTES),
        });
        let mut incoming = listener.incoming(Arc::clone(&self.places), tls);
        let connections = TaskTracker::new();
        while let Some(stream) = tokio::select! {
            stream = incoming.next() => stream,
            () = stop.cancelled() => None,
        } {
            let (services, stop) = (Arc::clone(&services), stop.clone());
            connections.spawn(connection::serve(stream, services, stop));
        }
        // Nobody else comes in.
        drop(incoming);
        connections.close();
        connections.wait().await;
        Ok(())
    }
}
