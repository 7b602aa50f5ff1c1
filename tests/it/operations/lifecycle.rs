//! Whether it is ready: the same answer by every way of asking, at every
//! moment.

use std::time::Duration;

use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};

use crate::{redis::Redis, replica::Replica};

/// What `/readyz` says, once `grpc.health.v1` says the same of each service.
async fn agreed(replica: &Replica, wanted: (u16, &str)) {
    let channel = tonic::transport::Endpoint::new(format!("http://{}", replica.check)).unwrap();
    let mut health = HealthClient::new(channel.connect().await.unwrap());
    let started = std::time::Instant::now();
    loop {
        let (status, body) = replica.readyz().await;
        let mut said = Vec::new();
        for service in ["", "envoy.service.auth.v3.Authorization"] {
            let asked = HealthCheckRequest { service: service.to_owned() };
            said.push(health.check(asked).await.unwrap().into_inner().status());
        }
        let serving =
            if status == 200 { ServingStatus::Serving } else { ServingStatus::NotServing };
        let agree = said.iter().all(|status| *status == serving);
        if agree && (status.as_u16(), body.as_str()) == wanted {
            return;
        }
        assert!(
            started.elapsed() < crate::support::PATIENCE,
            "{status} {body:?} and {said:?}, where {wanted:?} is due"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_and_grpc_health_are_in_step() {
    let mut redis = Redis::single();
    redis.stop();
    let toml = format!("{}[lifecycle]\ndrain = \"10m\"\n", redis.toml);
    let replica = Replica::start_with(&toml);
    agreed(&replica, (503, "the revocations are not loaded\n")).await;
    redis.restart();
    agreed(&replica, (200, "ok\n")).await;
    redis.stop();
    // The checks go on.
    agreed(&replica, (200, "degraded: store\n")).await;
    redis.restart();
    agreed(&replica, (200, "ok\n")).await;
    replica.running.signal("TERM");
    agreed(&replica, (503, "draining\n")).await;
    let alive = replica.client.get(format!("http://{}/livez", replica.internal)).send().await;
    assert_eq!(alive.unwrap().status(), 200);
}
