//! Trailers through a real Envoy: no question holds them, so none may go on.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use serde_json::json;

use crate::{
    stack::{Mode, VERSIONS, envoy, envoy_of, replace, start_portcullis, token, with_ports},
    support::{Running, address_of_listener, free_port, listens},
};

/// An upstream that speaks HTTP/2, and keeps the trailers of every request.
async fn upstream() -> (u16, Arc<Mutex<Vec<HeaderMap>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let all = Arc::clone(&seen);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let all = Arc::clone(&all);
            tokio::spawn(async move {
                let Ok(mut connection) = h2::server::handshake(stream).await else { return };
                while let Some(Ok((request, mut respond))) = connection.accept().await {
                    let all = Arc::clone(&all);
                    tokio::spawn(async move {
                        let mut body = request.into_body();
                        while let Some(Ok(data)) = body.data().await {
                            let _ = body.flow_control().release_capacity(data.len());
                        }
                        let trailers = body.trailers().await.ok().flatten().unwrap_or_default();
                        if !trailers.is_empty() {
                            all.lock().unwrap().push(trailers);
                        }
                        let _ = respond.send_response(Response::new(()), true);
                    });
                }
            });
        }
    });
    (port, seen)
}

/// Sends a body with forged trailers behind it, and gives back the status.
async fn send(port: u16) -> u16 {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = Request::post("http://app.example.com/api/agents")
        .header("authorization", format!("Bearer {}", token(&json!({ "role": "REGULAR" }))))
        .body(())
        .unwrap();
    let (answer, mut body) = sender.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"x"), false).unwrap();
    let mut trailers = HeaderMap::new();
    for name in ["x-user-role", "x-user-id", "x-other"] {
        trailers.insert(name, "ADMIN".parse().unwrap());
    }
    body.send_trailers(trailers).unwrap();
    answer.await.unwrap().status().as_u16()
}

/// The filter by which none goes on.
fn without_the_filter(config: &str) -> String {
    let begin = config.find("                  # Trailers, which come behind").unwrap();
    let end = begin
        + config[begin..].find("                  - name: envoy.filters.http.router").unwrap();
    [&config[..begin], &config[end..]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_trailer_of_a_client_reaches_an_upstream_that_speaks_http2() {
    let (upstream_port, seen) = upstream().await;
    let (check, portcullis) = {
        let port = free_port();
        (port, tokio::task::spawn_blocking(move || start_portcullis(port, &[])).await.unwrap())
    };
    let speaks_http2 = "    - name: agents\n      typed_extension_protocol_options:\n        \
        envoy.extensions.upstreams.http.v3.HttpProtocolOptions:\n          \
        \"@type\": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions\n          \
        explicit_http_config: { http2_protocol_options: {} }\n";
    let config = replace(&envoy(Mode::Strict), "    - name: agents\n", speaks_http2);
    for version in VERSIONS {
        for (config, passes) in [(config.clone(), false), (without_the_filter(&config), true)] {
            let (port, room) = (free_port(), tempfile::tempdir().unwrap());
            let ports = [
                (8000, port),
                (9191, check),
                (8080, address_of_listener(&portcullis, "http").port()),
                (8081, upstream_port),
                (9901, free_port()),
            ];
            let config = with_ports(&config, "port_value: ", &ports);
            let _envoy = Running::start(&mut envoy_of(version, &config, room.path()));
            tokio::task::spawn_blocking(move || listens(port)).await.unwrap();
            seen.lock().unwrap().clear();
            // Envoy looks first whether the others are there.
            while send(port).await != 200 {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let seen = seen.lock().unwrap();
            assert_eq!(!seen.is_empty(), passes, "{version}: {seen:?}");
        }
    }
}
