//! What a flood does to the gRPC listener: nothing to the others.

use std::time::{Duration, Instant};

use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, authorization_client::AuthorizationClient,
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
};
use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};

use crate::{
    grpc::{denied, question},
    support::{Running, address_of, address_of_listener, serve},
};

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
pub(crate) const END_HEADERS: u8 = 4;

/// A frame of RFC 9113, section 4.1.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u32::try_from(payload.len()).unwrap().to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a Check, without any compression state.
pub(crate) fn block() -> Vec<u8> {
    // :method POST, :scheme http, then :path and :authority as literals.
    let mut block = vec![0x83, 0x86, 0x04];
    let path = b"/envoy.service.auth.v3.Authorization/Check";
    block.push(u8::try_from(path.len()).unwrap());
    block.extend(path);
    block.extend([0x01, 1, b'x']);
    block
}

async fn connect(running: &Running) -> TcpStream {
    let mut stream = TcpStream::connect(address_of(running)).await.unwrap();
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
    stream
}

/// A new client is answered, and soon.
async fn others_are_served(running: &Running) {
    let started = Instant::now();
    let address = format!("http://{}", address_of(running));
    let mut client = AuthorizationClient::connect(address).await.unwrap();
    let response = client.check(question("GET", "/api/healthcheck", &[])).await.unwrap();
    assert_eq!(response.into_inner().status.unwrap().code, 0);
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

/// Writes until the server has had enough, and tells whether it had.
async fn is_cut_off(stream: &mut TcpStream, bytes: &[u8], times: usize) -> bool {
    let (mut read, mut write) = stream.split();
    let drain = async {
        let mut buffer = [0; 4096];
        while let Ok(1..) = read.read(&mut buffer).await {}
    };
    let flood = async {
        for _ in 0..times {
            if write.write_all(bytes).await.is_err() {
                return;
            }
        }
        std::future::pending::<()>().await;
    };
    let cut_off = async {
        tokio::select! { () = drain => {}, () = flood => {} }
    };
    tokio::time::timeout(Duration::from_secs(10), cut_off).await.is_ok()
}

#[tokio::test]
async fn rapid_reset_is_cut_off() {
    let running = serve("127.0.0.1:0", &[]);
    let mut stream = connect(&running).await;
    let mut burst = Vec::new();
    for id in 0..5000_u32 {
        burst.extend(frame(HEADERS, END_HEADERS, 2 * id + 1, &block()));
        burst.extend(frame(RST_STREAM, 0, 2 * id + 1, &8_u32.to_be_bytes()));
    }
    assert!(is_cut_off(&mut stream, &burst, 1).await);
    others_are_served(&running).await;
}

/// As Envoy does when a client goes that has asked for much at once, or whose HTTP/2 it
/// does not like: others ask on the same connection.
#[tokio::test]
async fn who_gives_up_a_thousand_questions_at_once_is_answered_the_next() {
    let running = serve("127.0.0.1:0", &[]);
    let mut stream = connect(&running).await;
    let mut burst = Vec::new();
    for id in 0..1000_u32 {
        burst.extend(frame(HEADERS, END_HEADERS, 2 * id + 1, &block()));
        burst.extend(frame(RST_STREAM, 0, 2 * id + 1, &8_u32.to_be_bytes()));
    }
    stream.write_all(&burst).await.unwrap();
    // A question that cannot be read is denied, and so answered.
    let end_stream = 1;
    stream.write_all(&frame(HEADERS, END_HEADERS | end_stream, 3001, &block())).await.unwrap();
    let mut seen = Vec::new();
    let answered = async {
        let mut buffer = [0; 4096];
        loop {
            let count = stream.read(&mut buffer).await.unwrap();
            assert_ne!(count, 0, "the connection ended");
            seen.extend(&buffer[..count]);
            if has_answer(&seen, 3001) {
                return;
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answered).await.unwrap();
}

/// Whether there is a frame of headers for this stream among these.
fn has_answer(mut frames: &[u8], of: u32) -> bool {
    while let [a, b, c, kind, _, stream @ ..] = frames {
        let Some((stream, rest)) = stream.split_first_chunk::<4>() else { return false };
        if *kind == HEADERS && u32::from_be_bytes(*stream) == of {
            return true;
        }
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let Some(rest) = rest.get(length..) else { return false };
        frames = rest;
    }
    false
}

#[tokio::test]
async fn endless_continuations_are_cut_off() {
    let running = serve("127.0.0.1:0", &[]);
    let mut stream = connect(&running).await;
    stream.write_all(&frame(HEADERS, 0, 1, &block())).await.unwrap();
    // A literal header without indexing, over and over.
    let mut literal = vec![0x00, 1, b'a', 127, 0x81, 0x3e];
    literal.extend(vec![b'x'; 127 + 0x1f01]);
    let more = frame(CONTINUATION, 0, 1, &literal[..literal.len().min(8192)]);
    assert!(is_cut_off(&mut stream, &more, 20_000).await);
    others_are_served(&running).await;
}

/// The answer to a question with metadata of this many bytes.
async fn with_metadata(running: &Running, bytes: usize) -> Result<CheckResponse, tonic::Status> {
    let address = format!("http://{}", address_of(running));
    let mut client = AuthorizationClient::connect(address).await.unwrap();
    let mut request = tonic::Request::new(question("GET", "/api/healthcheck", &[]));
    request.metadata_mut().insert("x-big", "x".repeat(bytes).parse().unwrap());
    client.check(request).await.map(tonic::Response::into_inner)
}

#[tokio::test]
async fn a_question_with_more_metadata_than_is_read_is_denied_and_no_error() {
    let running = serve("127.0.0.1:0", &[]);
    let allowed = with_metadata(&running, 15 * 1024).await.unwrap();
    assert_eq!(allowed.status.unwrap().code, 0);
    // One frame of headers, and several.
    for bytes in [16 * 1024, 17 * 1024, 40 * 1024, 60 * 1024] {
        let answer = with_metadata(&running, bytes).await.unwrap();
        assert_eq!(denied(&answer), (7, 403, "no_http_attributes".into()), "{bytes}");
    }
    others_are_served(&running).await;
}

#[tokio::test]
async fn metadata_far_beyond_what_is_read_ends_its_connection_alone() {
    let running = serve("127.0.0.1:0", &[]);
    // `x` takes seven bits of the eight.
    for bytes in [80 * 1024, 1 << 20] {
        assert!(with_metadata(&running, bytes).await.is_err());
    }
    others_are_served(&running).await;
}

#[tokio::test]
async fn health_and_reflection_read_small_messages_in_their_time() {
    let running = serve("127.0.0.1:0", &[]);
    let address = format!("http://{}", address_of(&running));
    let channel = tonic::transport::Endpoint::new(address).unwrap().connect().await.unwrap();
    let mut health = HealthClient::new(channel);
    let ask = |bytes| HealthCheckRequest { service: "x".repeat(bytes) };
    assert_eq!(health.check(ask(0)).await.unwrap().into_inner().status, 1);
    assert_eq!(health.check(ask(4000)).await.unwrap_err().code(), tonic::Code::NotFound);
    for bytes in [5000, 1 << 20] {
        assert!(health.check(ask(bytes)).await.is_err());
        assert!(health.watch(ask(bytes)).await.is_err());
    }
    // One that never ends.
    let mut stream = connect(&running).await;
    let path = b"/grpc.health.v1.Health/Check";
    let mut block = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path);
    block.extend([0x01, 1, b'x']);
    stream.write_all(&frame(HEADERS, END_HEADERS, 1, &block)).await.unwrap();
    stream.write_all(&frame(DATA, 0, 1, &[0, 0, 0, 0, 9, 10])).await.unwrap();
    let answered = async {
        let mut said = Vec::new();
        // The end of its stream: the fifth byte has the flag, the next four the number.
        while !said.windows(9).any(|head: &[u8]| head[3..] == [HEADERS, 5, 0, 0, 0, 1]) {
            assert!(stream.read_buf(&mut said).await.unwrap() > 0, "the connection ended");
        }
    };
    tokio::time::timeout(Duration::from_secs(20), answered).await.expect("no answer");
}

#[tokio::test]
async fn who_may_not_ask_takes_no_place_of_those_who_may() {
    let running = serve("127.0.0.1:0", &[("PORTCULLIS__INTERNAL__PEERS", "[\"127.2.0.0/16\"]")]);
    let internal = address_of_listener(&running, "internal");
    let connect = async |from: &str| {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
        socket.connect(internal).await.unwrap()
    };
    let ask = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    let asked = async |stream: &mut TcpStream| {
        stream.write_all(ask).await.unwrap();
        let mut said = [0; 1024];
        let read = tokio::time::timeout(Duration::from_secs(5), stream.read(&mut said)).await;
        String::from_utf8_lossy(&said[..read.expect("it waits").unwrap()]).into_owned()
    };
    let mut early = connect("127.2.0.1").await;
    assert!(asked(&mut early).await.starts_with("HTTP/1.1 200"));
    let told = asked(&mut connect("127.3.0.1").await).await;
    assert!(told.starts_with("HTTP/1.1 403") && told.contains("connection: close"), "{told}");
    let mut strangers = Vec::new();
    for nth in 0..4200 {
        strangers.push(connect(&format!("127.3.0.{}", nth % 200)).await);
        // Where the machine is busy, it would be quiet for too long.
        if nth % 1000 == 999 {
            assert!(asked(&mut early).await.starts_with("HTTP/1.1 200"), "its place was taken");
        }
    }
    assert!(asked(&mut connect("127.2.0.2").await).await.starts_with("HTTP/1.1 200"));
    assert!(asked(&mut early).await.starts_with("HTTP/1.1 200"), "it was not the idlest");
    drop(strangers);
}

#[tokio::test]
async fn thousands_of_silent_connections_starve_nobody_and_are_closed() {
    let running = serve("127.0.0.1:0", &[]);
    let mut silent = Vec::new();
    for _ in 0..2000 {
        silent.push(TcpStream::connect(address_of(&running)).await.unwrap());
    }
    others_are_served(&running).await;
    let mut byte = [0; 64];
    let last = silent.last_mut().unwrap();
    let closed = async { while let Ok(1..) = last.read(&mut byte).await {} };
    tokio::time::timeout(Duration::from_secs(20), closed).await.expect("it is still open");
}

#[tokio::test]
async fn more_streams_than_allowed_are_refused_and_the_rest_goes_on() {
    let running = serve("127.0.0.1:0", &[]);
    let mut stream = connect(&running).await;
    let mut burst = Vec::new();
    // Open, and never ended.
    for id in 0..3000_u32 {
        burst.extend(frame(HEADERS, END_HEADERS, 2 * id + 1, &block()));
    }
    stream.write_all(&burst).await.ok();
    others_are_served(&running).await;
}

#[tokio::test]
async fn a_head_that_never_ends_is_cut_off_on_the_other_listeners() {
    let running = serve("127.0.0.1:0", &[]);
    let slow = async |listener: &str| {
        let mut stream = TcpStream::connect(address_of_listener(&running, listener)).await.unwrap();
        let started = Instant::now();
        stream.write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nx-slow: ").await.unwrap();
        // A byte now and then keeps nothing open.
        let mut said = Vec::new();
        loop {
            let read = stream.read_buf(&mut said);
            match tokio::time::timeout(Duration::from_millis(500), read).await {
                Ok(Ok(0) | Err(_)) => break,
                Ok(Ok(_)) => {}
                Err(_) => {
                    let _ = stream.write_all(b"x").await;
                }
            }
            assert!(started.elapsed() < Duration::from_secs(30), "{listener} is still open");
        }
        assert!(started.elapsed() > Duration::from_secs(5), "{listener} has no patience");
        assert!(!String::from_utf8_lossy(&said).contains(" 200 "));
    };
    tokio::join!(slow("http"), slow("internal"));
}
