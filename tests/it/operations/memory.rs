//! What peers can make the service hold, whoever they are: never more than the
//! manifests give it, and others are served meanwhile. Over 400 lines, since each
//! kind of peer is measured by the same few helpers.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, authorization_client::AuthorizationClient,
};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpSocket, TcpStream},
    task::JoinSet,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;

use crate::{
    confined::{Confined, release},
    floods::{DATA, END_HEADERS, HEADERS, PREFACE, SETTINGS, block, frame},
    grpc::{denied, question},
    pki::Authority,
    support::read,
};

const END_STREAM: u8 = 1;
/// The setting of the window of a stream (RFC 9113, section 6.5.2).
const INITIAL_WINDOW: [u8; 2] = [0, 4];
/// Sooner than anything here gives up by itself, on a machine that is busy.
const SOON: Duration = Duration::from_secs(10);

/// A call of Check that never ends: what is answered.
async fn endless(
    sender: &mut h2::client::SendRequest<Bytes>,
    message: Bytes,
) -> impl Future<Output = CheckResponse> + use<> {
    let head = http::Request::post("http://x/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    std::future::poll_fn(|task| sender.poll_ready(task)).await.unwrap();
    let (response, mut body) = sender.send_request(head.body(()).unwrap(), false).unwrap();
    // It may have been denied by now.
    let _ = body.send_data(message, false);
    async move {
        let mut answer = response.await.unwrap().into_body();
        let mut bytes = Vec::new();
        while let Some(chunk) = answer.data().await {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        drop(body);
        CheckResponse::decode(&bytes[5..]).unwrap()
    }
}

/// So many connections of 1,024 calls of nearly 1 MiB that never end.
async fn endless_questions(check: SocketAddr, connections: usize) -> JoinSet<CheckResponse> {
    let most = 1 << 20;
    let announced = u32::try_from(most).unwrap().to_be_bytes();
    let mut message = [&[0], &announced[..]].concat();
    message.resize(most, 0);
    let message = Bytes::from(message);
    let mut answers = JoinSet::new();
    for _ in 0..connections {
        let stream = TcpStream::connect(check).await.unwrap();
        // It takes every answer, as a gateway does.
        let mut client = h2::client::Builder::new();
        client.initial_window_size(1 << 20).initial_connection_window_size(1 << 24);
        let (mut sender, connection) = client.handshake(stream).await.unwrap();
        tokio::spawn(connection);
        for _ in 0..1024 {
            answers.spawn(endless(&mut sender, message.clone()).await);
        }
    }
    answers
}

/// As questions that cannot be read.
async fn are_denied(mut answers: JoinSet<CheckResponse>) {
    while let Some(answer) = answers.join_next().await {
        assert_eq!(denied(&answer.unwrap()), (7, 403, "no_http_attributes".into()));
    }
}

/// A new gateway is answered, and soon.
async fn gateways_are_served(check: SocketAddr) {
    let asked = async {
        let mut client = AuthorizationClient::connect(format!("http://{check}")).await.unwrap();
        client.check(question("GET", "/api/healthcheck", &[])).await.unwrap().into_inner()
    };
    let answer = timeout(SOON, asked).await.expect("others wait");
    assert_eq!(answer.status.unwrap().code, 0);
}

/// A new client is answered, and soon.
async fn clients_are_served(address: SocketAddr, from: &str) {
    let asked = async {
        let mut stream = connect(address, from).await;
        stream
            .write_all(b"GET /livez HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        said
    };
    let said = timeout(SOON, asked).await.expect("others wait");
    // There is no such path on the `http` listener.
    assert!(said.starts_with("HTTP/1.1 200") || said.starts_with("HTTP/1.1 404"), "{said}");
}

/// From one of this machine's own addresses, which are networks of their own.
async fn connect(to: SocketAddr, from: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{from}:0").parse().unwrap()).unwrap();
    socket.connect(to).await.unwrap()
}

/// So many connections that say this and nothing more, from many addresses.
async fn silent(to: SocketAddr, count: usize, says: &[u8]) -> Vec<TcpStream> {
    let mut streams = Vec::new();
    for nth in 0..count {
        let mut stream = connect(to, &format!("127.1.{}.1", nth % 10)).await;
        // It may have been cut off.
        let _ = stream.write_all(says).await;
        streams.push(stream);
    }
    streams
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_that_never_end_are_denied_within_the_limit() {
    let service = Confined::start(&[]);
    let answers = endless_questions(service.check, 4).await;
    gateways_are_served(service.check).await;
    let started = Instant::now();
    are_denied(answers).await;
    assert!(started.elapsed() < Duration::from_secs(30), "{:?}", started.elapsed());
    gateways_are_served(service.check).await;
    service.is_within_its_limit();
}

/// Opens connections to the check listener that say this behind the preface and
/// these settings, and take nothing of what is answered.
async fn gateways(to: SocketAddr, count: usize, settings: &[u8], says: &[u8]) -> Vec<TcpStream> {
    let preface = [PREFACE, &frame(SETTINGS, 0, 0, settings)].concat();
    let mut streams = silent(to, count, &preface).await;
    for stream in &mut streams {
        // The windows are open when this has come. It may have been cut off.
        let _ = stream.read(&mut [0; 64]).await;
        let _ = stream.write_all(says).await;
    }
    streams
}

/// The call of a stream by its number, from 0.
fn call(nth: u32, flags: u8, block: &[u8]) -> Vec<u8> {
    frame(HEADERS, flags, 2 * nth + 1, block)
}

/// A header, and the byte that makes another of it: the first of the table (RFC
/// 7541, sections 6.1 and 6.2.1).
const DEAR: [u8; 5] = [0x40, 1, b'a', 1, b'b'];
const AGAIN: u8 = 0xbe;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_keep_no_headers() {
    let service = Confined::start(&[]);
    // Of a byte each; they are within what a call may have.
    for headers in [450, 200, 60] {
        let mut bytes = Vec::new();
        for nth in 0..1024 {
            let mut block = block();
            if nth == 0 {
                block.extend(DEAR);
            }
            block.extend(vec![AGAIN; headers]);
            bytes.extend(call(nth, END_HEADERS, &block));
        }
        let waiting = gateways(service.check, 32, &[], &bytes).await;
        gateways_are_served(service.check).await;
        service.rests().await;
        drop(waiting);
    }
    service.is_within_its_limit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_that_never_end_have_room_for_a_few() {
    let service = Confined::start(&[]);
    // As many as a call may have, and as are read at all.
    for (count, headers) in [(3000, 450), (1500, 3_500)] {
        let mut block = block();
        block.extend(DEAR);
        block.extend(vec![AGAIN; headers]);
        let waiting = gateways(service.check, count, &[], &call(0, 0, &block)).await;
        gateways_are_served(service.check).await;
        service.rests().await;
        drop(waiting);
    }
    service.is_within_its_limit();
}

/// The setting by which nothing may be sent.
fn no_window() -> Vec<u8> {
    [&INITIAL_WINDOW[..], &0_u32.to_be_bytes()].concat()
}

/// As many questions as a connection may have, each of them whole.
fn questions() -> Vec<u8> {
    let message = question("GET", "/api/healthcheck", &[]).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    let message = [&[0], &length[..], &message].concat();
    let mut bytes = Vec::new();
    for nth in 0..1024 {
        bytes.extend(call(nth, END_HEADERS, &block()));
        bytes.extend(frame(DATA, END_STREAM, 2 * nth + 1, &message));
    }
    bytes
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_that_nobody_takes_have_an_end() {
    let service = Confined::start(&[]);
    let bytes = questions();
    // One kind has no window; the other has one, and does not read.
    let closed = gateways(service.check, 30, &no_window(), &bytes).await;
    gateways_are_served(service.check).await;
    let unread = gateways(service.check, 30, &[], &bytes).await;
    gateways_are_served(service.check).await;
    service.rests().await;
    drop((closed, unread));
    service.is_within_its_limit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reflection_that_is_never_read_has_an_end() {
    let service = Confined::start(&[]);
    let bytes = reflection();
    let streams = gateways(service.check, 200, &no_window(), &bytes).await;
    gateways_are_served(service.check).await;
    service.rests().await;
    drop(streams);
    service.is_within_its_limit();
}

/// Calls of reflection that ask as much as the windows take.
fn reflection() -> Vec<u8> {
    let path = b"/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let mut block = vec![0x83, 0x86, 0x04, u8::try_from(path.len()).unwrap()];
    block.extend(path);
    block.extend([0x01, 1, b'x']);
    // Field 4: the file that contains a symbol.
    let symbol = b"envoy.service.auth.v3.Authorization";
    let request = [&[0x22, u8::try_from(symbol.len()).unwrap()], &symbol[..]].concat();
    let length = u32::try_from(request.len()).unwrap().to_be_bytes();
    let request = [&[0], &length[..], &request].concat();
    let requests = request.repeat(16_000 / request.len());
    let mut bytes = Vec::new();
    for nth in 0..16 {
        bytes.extend(call(nth, END_HEADERS, &block));
        for _ in 0..4 {
            bytes.extend(frame(DATA, 0, 2 * nth + 1, &requests));
        }
    }
    bytes
}

/// A head that lacks its end, of so many bytes and a few.
fn slow_head(bytes: usize) -> String {
    format!("GET /livez HTTP/1.1\r\nhost: a\r\nx: {}", "y".repeat(bytes))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heads_that_never_end_starve_nobody_within_the_limit() {
    let service = Confined::start(&[]);
    let head = slow_head(31_000);
    for address in [service.http, service.internal] {
        let slow = silent(address, 3300, head.as_bytes()).await;
        clients_are_served(address, "127.2.0.1").await;
        // One that is as long, and has an end.
        let mut whole = connect(address, "127.2.0.2").await;
        whole.write_all(format!("{head}\r\nconnection: close\r\n\r\n").as_bytes()).await.unwrap();
        let mut said = String::new();
        timeout(SOON, whole.read_to_string(&mut said)).await.unwrap().unwrap();
        assert!(said.starts_with("HTTP/1.1 200") || said.starts_with("HTTP/1.1 404"), "{said}");
        service.rests().await;
        drop(slow);
    }
    service.is_within_its_limit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bodies_that_never_end_stay_within_the_limit() {
    let service = Confined::start(&[]);
    let slow = silent(service.http, 3300, slow_body(16_000).as_bytes()).await;
    clients_are_served(service.http, "127.2.0.1").await;
    service.rests().await;
    drop(slow);
    service.is_within_its_limit();
}

/// A request whose body lacks its end, behind so many bytes.
fn slow_body(bytes: usize) -> String {
    format!(
        "POST /session HTTP/1.1\r\nhost: a\r\ncontent-type: application/json\r\nx: {}\r\n\
         content-length: 16384\r\n\r\n{}",
        "y".repeat(16_000_usize.saturating_sub(bytes)),
        " ".repeat(bytes)
    )
}

/// A service that asks gateways for a certificate and shows browsers one, and
/// what such a gateway shows.
fn over_tls() -> (Confined, rustls::ClientConfig) {
    let ca = Authority::new("ours");
    let own = ca.issue(1, 2099);
    let room = tempfile::tempdir().unwrap();
    let file = |name: &str, text: &str| {
        let path = room.path().join(name);
        std::fs::write(&path, text).unwrap();
        format!("{:?}", path.display().to_string())
    };
    let (chain, key) = (file("tls.crt", &own.certificate), file("tls.key", &own.key));
    let http = format!("{{ cert_file = {chain}, key_file = {key} }}");
    let ca_file = file("ca.crt", &ca.pem());
    let check = format!("{{ cert_file = {chain}, key_file = {key}, client_ca_file = {ca_file} }}");
    let service = Confined::start(&[
        ("PORTCULLIS__CHECK__TLS", &check),
        ("PORTCULLIS__HTTP__TLS", &http),
        ("PORTCULLIS__HTTP__PUBLIC_URL", "https://localhost"),
    ]);
    let mut client = ca.raw_client(Some(&ca.issue(2, 2099)));
    client.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    (service, client)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_never_end_stay_within_the_limit() {
    let (service, _) = over_tls();
    // Three records of a ClientHello that is longer, and a part of a fourth.
    let mut hello = Vec::new();
    let mut handshake = vec![1, 0, 0xff, 0];
    handshake.resize(60_000, 3);
    for record in handshake.chunks(16_384) {
        hello.extend([22, 3, 1]);
        hello.extend(u16::try_from(record.len()).unwrap().to_be_bytes());
        hello.extend(record);
    }
    for address in [service.check, service.http] {
        let slow = silent(address, 1500, &hello).await;
        service.rests().await;
        drop(slow);
    }
    clients_are_served(service.internal, "127.2.0.1").await;
    service.is_within_its_limit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_takes_all_places_keeps_nobody_out() {
    let service = Confined::start(&[]);
    for address in [service.http, service.internal] {
        let held = silent(address, 4200, b"").await;
        clients_are_served(address, "127.2.0.1").await;
        drop(held);
    }
    let held = silent(service.check, 4200, b"").await;
    gateways_are_served(service.check).await;
    drop(held);
    service.is_within_its_limit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_address_takes_its_share_and_leaves_the_others_theirs() {
    let service = Confined::start(&[]);
    for address in [service.http, service.internal] {
        let mut early = connect(address, "127.2.0.1").await;
        let ask = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
        early.write_all(ask).await.unwrap();
        let mut buffer = [0; 4096];
        assert!(early.read(&mut buffer).await.unwrap() > 0);
        // Many more than there are places.
        let mut greedy = Vec::new();
        for _ in 0..4200 {
            greedy.push(connect(address, "127.3.0.1").await);
        }
        clients_are_served(address, "127.3.0.1").await;
        early.write_all(ask).await.unwrap();
        let read = timeout(SOON, early.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the idlest of all was another's");
        drop(greedy);
    }
}

/// Beside as many sign-ins as are hashed at a time, which take 19 MiB each.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_at_once_stays_within_the_limit() {
    let service = Confined::start(&[]);
    let (check, http, internal) = (service.check, service.http, service.internal);
    let mut sign_ins = JoinSet::new();
    for nth in 0..40 {
        let body = serde_json::json!({ "username": format!("nobody-{nth}"), "password": "wrong" });
        let request = reqwest::Client::new().post(format!("http://{http}/session")).json(&body);
        // It may lose its place to others here.
        sign_ins.spawn(async move { request.send().await.is_ok() });
    }
    let mut block = block();
    block.extend(DEAR);
    block.extend([AGAIN; 3_500]);
    let (no_window, whole, asked, open) =
        (no_window(), questions(), reflection(), call(0, 0, &block));
    let (body, head, long) = (slow_body(7_500), slow_head(8_000), slow_head(31_000));
    let held = tokio::join!(
        gateways(check, 20, &no_window, &whole),
        gateways(check, 50, &no_window, &asked),
        gateways(check, 900, &[], &open),
        silent(http, 1100, body.as_bytes()),
        silent(internal, 900, head.as_bytes()),
        silent(internal, 300, long.as_bytes()),
    );
    are_denied(endless_questions(check, 3).await).await;
    gateways_are_served(check).await;
    clients_are_served(internal, "127.2.0.1").await;
    while sign_ins.join_next().await.is_some() {}
    service.rests().await;
    drop(held);
    service.is_within_its_limit();
}

/// What connections of a listener take, which the book says in MiB.
async fn row(
    name: &str,
    service: &Confined,
    to: SocketAddr,
    says: &[u8],
    tls: Option<TlsConnector>,
) {
    let page = read("docs/src/explained/connections.md");
    let row = page.lines().find_map(|line| line.strip_prefix(&format!("| {name} | ")));
    let row = row.unwrap_or_else(|| panic!("connections.md has no row {name}"));
    let said: Vec<f64> =
        row.split(" | ").map(|cell| cell.trim_end_matches(" |").parse().unwrap()).collect();
    let (mut plain, mut secure) = (Vec::new(), Vec::new());
    let mut took = Vec::new();
    for count in [1, 1000, 1024] {
        for nth in plain.len() + secure.len()..count {
            let mut stream = connect(to, &format!("127.1.{}.1", nth % 10)).await;
            if let Some(tls) = &tls {
                let mut stream =
                    tls.connect("localhost".try_into().unwrap(), stream).await.unwrap();
                stream.write_all(says).await.unwrap();
                secure.push(stream);
            } else {
                stream.write_all(says).await.unwrap();
                plain.push(stream);
            }
        }
        service.rests().await;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        took.push(service.memory("VmRSS") as f64 / 1024.0);
    }
    println!("{name}: {took:.1?} MiB");
    // As it is built for tests it takes more, and no two runs take the same.
    let room = if release().exists() { 1.2 } else { 3.0 };
    assert!(took.iter().zip(&said).all(|(took, said)| *took < said * room), "{name} {took:?}");
    service.is_within_its_limit();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_take_what_the_book_says() {
    let gateway = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
    let ask = b"GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
    let service = Confined::start(&[]);
    row("`check.listen`", &service, service.check, &gateway, None).await;
    let service = Confined::start(&[]);
    row("`http.listen`", &service, service.http, ask, None).await;
    let service = Confined::start(&[]);
    row("`internal.listen`", &service, service.internal, ask, None).await;
    let (service, client) = over_tls();
    let tls = TlsConnector::from(Arc::new(client));
    row("`check.listen`, mutual TLS", &service, service.check, &gateway, Some(tls)).await;
    let (service, client) = over_tls();
    let tls = TlsConnector::from(Arc::new(client));
    row("`http.listen`, TLS", &service, service.http, ask, Some(tls)).await;
    let service = Confined::start(&[]);
    let head = slow_head(8_000);
    row("`http.listen`, 8 KiB of a head", &service, service.http, head.as_bytes(), None).await;
    let service = Confined::start(&[]);
    let body = slow_body(0).replace("16384", "1000").replace(&"y".repeat(16_000), "");
    row("`http.listen`, a body that is yet to come", &service, service.http, body.as_bytes(), None)
        .await;
}
