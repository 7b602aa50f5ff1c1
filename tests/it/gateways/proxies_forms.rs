//! Forms that servers read differently, sent through every gateway: methods in
//! another case, and upgrades to what is no WebSocket.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    sync::{Arc, Mutex},
};

use crate::{
    stack::{Mode, NEWEST, STANDS_IN, Stack, UPSTREAM},
    support::eventually,
};

const GATEWAYS: [Mode; 8] = [
    Mode::Strict,
    Mode::Lax,
    Mode::Http,
    Mode::Nginx,
    Mode::Caddy,
    Mode::RouteGrpc,
    Mode::RouteHttp,
    Mode::Location,
];

/// Sends a request over HTTP/2, and gives back its status; 0 when it is reset.
async fn over_http2(port: u16, method: &str, path: &str) -> u16 {
    let stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::builder()
        .method(http::Method::from_bytes(method.as_bytes()).unwrap())
        .uri(format!("http://app.example.com{path}"))
        .body(())
        .unwrap();
    let (answer, _) = sender.send_request(request, true).unwrap();
    answer.await.map_or(0, |answer| answer.status().as_u16())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_method_in_another_case_reaches_nobody_through_any_gateway() {
    for mode in GATEWAYS {
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[]);
        // A public rule for any method.
        assert_eq!(stack.send("DELETE", "/open/x", &[("content-length", "0")]).status, 404);
        for method in ["delete", "Delete", "DELETe", "DEL_ETE", "GET1", "DELETE!"] {
            let answer = stack.send(method, "/open/x", &[("content-length", "0")]);
            assert!(!answer.reached(), "{mode:?} {method}: {answer:?}");
            // What a gateway itself refuses, it refuses by any status.
            assert!(matches!(answer.status, 400 | 403 | 405 | 501), "{mode:?} {method} {answer:?}");
            let preflight =
                [("origin", "https://x.example.com"), ("access-control-request-method", method)];
            let answer = stack.send("OPTIONS", "/open/x", &preflight);
            assert!(!answer.reached(), "{mode:?} OPTIONS for {method}: {answer:?}");
            if mode.is_envoy() {
                assert_eq!(over_http2(stack.port, method, "/open/x").await, 400, "{mode:?}");
            }
        }
        if mode == Mode::Strict {
            assert_eq!(over_http2(stack.port, "DELETE", "/open/x").await, 404);
            let log = stack.portcullis.as_ref().unwrap().log();
            assert!(log.contains("\"reason\":\"bad_method\""), "{log}");
        }
    }
}

/// An upstream that goes over to whatever it is asked to, and remembers what
/// it was asked.
fn goes_over_to_anything() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&asked);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), Arc::clone(&seen));
            std::thread::spawn(move || {
                let (mut head, mut chunk) = (Vec::new(), [0; 4096]);
                while !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    match stream.read(&mut chunk) {
                        Ok(length @ 1..) => head.extend_from_slice(&chunk[..length]),
                        _ => return,
                    }
                }
                let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
                let upgrades: Vec<&str> =
                    head.lines().filter_map(|line| line.strip_prefix("upgrade:")).collect();
                let answer = match upgrades.first() {
                    None => "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n".to_owned(),
                    Some(to) => {
                        let key = "sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
                        format!(
                            "HTTP/1.1 101 Switching\r\nconnection: upgrade\r\nupgrade:{to}\r\n{key}\r\n\r\n"
                        )
                    }
                };
                seen.lock().unwrap().push(upgrades.join("|").trim().to_owned());
                let _ = stream.write_all(answer.as_bytes());
                // Kept open: it is for the gateway to end it.
                let _ = stream.read(&mut chunk);
            });
        }
    });
    (port, asked)
}

#[test]
fn no_gateway_opens_a_tunnel_to_anything_but_a_websocket() {
    let (upstream, asked) = goes_over_to_anything();
    let upstream = upstream.to_string();
    for mode in GATEWAYS {
        let stack =
            Stack::waiting_at("/api/healthcheck", NEWEST, mode, &[(UPSTREAM, upstream.as_str())]);
        let send = |values: &[&str]| {
            asked.lock().unwrap().clear();
            let mut headers = vec![
                ("connection", "Upgrade, HTTP2-Settings"),
                ("http2-settings", "AAMAAABkAAQAoAAAAAIAAAAA"),
                ("sec-websocket-version", "13"),
                ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ];
            headers.extend(values.iter().map(|value| ("upgrade", *value)));
            let answer = stack.send("GET", "/open/x", &headers);
            (answer.status, asked.lock().unwrap().clone())
        };
        // Envoy looks first whether the upstream is there.
        eventually(mode, || {
            let (status, asked) = send(&["websocket"]);
            (status == 101).then(|| assert_eq!(asked.last().unwrap(), "websocket", "{mode:?}"))
        });
        for values in [
            &["h2c"][..],
            &["h2c", "websocket"],
            &["websocket", "h2c"],
            &["websocket, h2c"],
            &["h2c, websocket"],
            &["websocket,websocket"],
            &["foo"],
            &["websocket/13"],
            &["websocket h2c"],
        ] {
            let (status, asked) = send(values);
            let others = asked.iter().any(|to| !to.is_empty() && to != "websocket");
            assert!(!others, "{mode:?} {values:?}: the upstream was asked for {asked:?}");
            // nginx passes on none but its own word; the check has had it without.
            assert!(status != 101 || mode.is_nginx(), "{mode:?} {values:?}: {status}");
        }
    }
}

#[test]
fn a_gateway_that_asks_over_http_stops_a_second_upgrade_itself() {
    // Whoever answers, and however: no engine is asked here.
    let consents = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = consents.local_addr().unwrap().port().to_string();
    std::thread::spawn(move || {
        for stream in consents.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 4096]);
            let _ = stream.write_all(b"HTTP/1.1 204 No Content\r\nconnection: close\r\n\r\n");
        }
    });
    let (upstream, asked) = goes_over_to_anything();
    let upstream = upstream.to_string();
    for mode in [Mode::Caddy, Mode::Nginx] {
        let variables = [(UPSTREAM, upstream.as_str()), (STANDS_IN, port.as_str())];
        let stack = Stack::waiting_at("/open/x", NEWEST, mode, &variables);
        for values in [["h2c", "websocket"], ["websocket", "h2c"]] {
            asked.lock().unwrap().clear();
            let headers =
                [("connection", "Upgrade"), ("upgrade", values[0]), ("upgrade", values[1])];
            let answer = stack.send("GET", "/open/x", &headers);
            let asked = asked.lock().unwrap();
            let others = asked.iter().any(|to| !to.is_empty() && to != "websocket");
            assert!(!others, "{mode:?} {values:?}: {answer:?} {asked:?}");
            assert!(answer.status == 400 || mode == Mode::Nginx, "{mode:?} {values:?} {answer:?}");
        }
    }
}

/// A body that is known again.
const BODY: &str = "the-end-of-it";

/// An upstream that keeps the last request as it came, in lower case.
fn keeps_requests() -> (u16, Arc<Mutex<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let all = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&all);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, seen) = (stream.unwrap(), Arc::clone(&seen));
            std::thread::spawn(move || {
                let (mut chunk, mut mine) = ([0; 4096], String::new());
                while let Ok(length @ 1..) = stream.read(&mut chunk) {
                    mine += &String::from_utf8_lossy(&chunk[..length]).to_ascii_lowercase();
                    // With its body, and whatever is behind that.
                    let is_whole = mine.ends_with(BODY)
                        || (mine.contains("\r\n0\r\n") && mine.ends_with("\r\n\r\n"));
                    let is_health = mine.starts_with("get /api/healthcheck");
                    if is_health || is_whole {
                        if !is_health {
                            *seen.lock().unwrap() = mine;
                        }
                        let ok =
                            "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
                        let _ = stream.write_all(ok.as_bytes());
                        return;
                    }
                }
            });
        }
    });
    (port, all)
}

#[test]
fn no_gateway_hands_the_trailers_of_a_request_on_over_http1() {
    let (upstream, seen) = keeps_requests();
    let upstream = upstream.to_string();
    for mode in [Mode::Strict, Mode::Nginx, Mode::Caddy] {
        let variables = [(UPSTREAM, upstream.as_str())];
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &variables);
        let request = format!(
            "POST /open/x HTTP/1.1\r\nhost: app.example.com\r\nconnection: close\r\n\
             te: trailers\r\ntrailer: x-user-role\r\ntransfer-encoding: chunked\r\n\r\n\
             d\r\n{BODY}\r\n0\r\nx-user-role: FORGED\r\n\r\n"
        );
        let answer = stack.send_bytes(request.as_bytes());
        assert_eq!(answer.status, 200, "{mode:?}: {answer:?}");
        let seen = seen.lock().unwrap();
        assert!(seen.contains(BODY) && !seen.contains("forged"), "{mode:?}: {seen}");
    }
}
