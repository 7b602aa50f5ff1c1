//! The server around the services: its limits and its way to stop.

use std::sync::Arc;

use futures_util::StreamExt as _;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::service::Routes;
use tonic_health::{ServingStatus, pb::health_server::HealthServer, server::HealthReporter};

use super::{
    check::CheckService, connection, incoming::Listener, limits::Limits, others::MESSAGE_BYTES,
    served::Services,
};
use crate::{checker::Checker, places::Places, proto::DESCRIPTORS, tls::TlsSwitch};

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
        let check = CheckService::new(Arc::clone(&self.checker));
        let others = Routes::new(health).add_service(v1).add_service(v1alpha).prepare();
        let services = Arc::new(Services::new(check, others, self.limits));
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
