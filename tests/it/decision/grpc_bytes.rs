//! The gRPC listener, asked byte by byte: messages that cannot be read, are
//! too long, compressed or never end, and the age of connections.

use std::{sync::Arc, time::Duration};

use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, authorization_client::AuthorizationClient, check_response::HttpResponse,
};
use portcullis::{
    app,
    checker::Checker,
    clock::{Clock, SystemClock},
    config::Listen,
    decision_log::DecisionLog,
    grpc::{Limits, Listener, Server},
    places::House,
    token::RevocationList,
};
use prost::Message as _;
use tokio::{io::AsyncWriteExt as _, net::TcpStream};
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::{
    ask,
    grpc::{denied, question, start},
    support::InProcess,
};

/// The head of a call of Check.
fn check_call() -> http::Request<()> {
    http::Request::post("http://x/envoy.service.auth.v3.Authorization/Check")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(())
        .unwrap()
}

#[tokio::test]
async fn a_question_that_never_ends_is_denied() {
    let service = start("").await;
    // Preface, empty SETTINGS, HEADERS of a Check, and the beginning of DATA.
    let mut stream = TcpStream::connect(&service.address).await.unwrap();
    let (mut sender, connection) = {
        let handshake = h2::client::handshake(&mut stream);
        handshake.await.unwrap()
    };
    let (response, mut body) = sender.send_request(check_call(), false).unwrap();
    body.send_data(bytes::Bytes::from_static(&[0, 0, 0, 1, 0, 10]), false).unwrap();
    let answer = async {
        let mut body = response.await.unwrap().into_body();
        let mut bytes = Vec::new();
        while let Some(chunk) = body.data().await {
            bytes.extend_from_slice(&chunk.unwrap());
        }
        bytes
    };
    let bytes = tokio::select! {
        bytes = answer => bytes,
        _ = connection => panic!("the connection ended"),
        () = tokio::time::sleep(Duration::from_secs(20)) => panic!("no answer"),
    };
    let response = CheckResponse::decode(&bytes[5..]).unwrap();
    assert_eq!(denied(&response), (7, 403, "no_http_attributes".into()));
    stream.shutdown().await.ok();
}

/// Sends bytes as the message of a Check and reads the answer's bytes.
async fn raw_check(service: &InProcess, message: Vec<u8>) -> Result<CheckResponse, tonic::Status> {
    use tonic::{client::Grpc, codegen::http::uri::PathAndQuery};
    let mut grpc = Grpc::new(service.channel().await);
    grpc.ready().await.unwrap();
    let path = PathAndQuery::from_static("/envoy.service.auth.v3.Authorization/Check");
    let codec = RawCodec;
    let response = grpc.unary(tonic::Request::new(message), path, codec).await?;
    Ok(CheckResponse::decode(response.into_inner().as_slice()).unwrap())
}

/// Bytes as they are.
struct RawCodec;

impl tonic::codec::Codec for RawCodec {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;
    fn encoder(&mut self) -> Self {
        Self
    }
    fn decoder(&mut self) -> Self {
        Self
    }
}

impl tonic::codec::Encoder for RawCodec {
    type Item = Vec<u8>;
    type Error = tonic::Status;
    fn encode(
        &mut self,
        item: Vec<u8>,
        buffer: &mut tonic::codec::EncodeBuf<'_>,
    ) -> Result<(), tonic::Status> {
        bytes::BufMut::put_slice(buffer, &item);
        Ok(())
    }
}

impl tonic::codec::Decoder for RawCodec {
    type Item = Vec<u8>;
    type Error = tonic::Status;
    fn decode(
        &mut self,
        buffer: &mut tonic::codec::DecodeBuf<'_>,
    ) -> Result<Option<Vec<u8>>, tonic::Status> {
        let length = bytes::Buf::remaining(buffer);
        Ok(Some(bytes::Buf::copy_to_bytes(buffer, length).to_vec()))
    }
}

#[tokio::test]
async fn a_message_that_cannot_be_read_is_denied_and_not_an_error() {
    let service = start("").await;
    let unreadable = (7, 403, "no_http_attributes".to_owned());
    // A header in the map whose value is not UTF-8.
    let good = question("GET", "/api/healthcheck", &[("x-a", "MARK")]).encode_to_vec();
    let at = good.windows(4).position(|window| window == b"MARK").unwrap();
    let mut no_text = good.clone();
    no_text[at] = 0xff;
    for message in
        [no_text, b"\xff\xff\xff\xff".to_vec(), good[..good.len() - 3].to_vec(), b"junk".to_vec()]
    {
        assert_eq!(denied(&raw_check(&service, message).await.unwrap()), unreadable);
    }
    assert_eq!(denied(&raw_check(&service, vec![]).await.unwrap()), unreadable);
    assert_eq!(raw_check(&service, good).await.unwrap().status.unwrap().code, 0);
}

#[tokio::test]
async fn a_compressed_message_is_denied_and_not_an_error() {
    let service = start("").await;
    let mut client = AuthorizationClient::new(service.channel().await);
    let mut request = tonic::Request::new(question("GET", "/api/healthcheck", &[]));
    request.metadata_mut().insert("grpc-encoding", "gzip".parse().unwrap());
    // The header alone lies about a message that is plain.
    let response = client.check(request).await.unwrap().into_inner();
    assert_eq!(response.status.unwrap().code, 0);
    let call = async |flag: u8| {
        let stream = TcpStream::connect(&service.address).await.unwrap();
        let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        let mut head = check_call();
        head.headers_mut().insert("grpc-encoding", http::HeaderValue::from_static("gzip"));
        let (response, mut body) = sender.send_request(head, false).unwrap();
        body.send_data(vec![flag, 0, 0, 0, 2, 0x1f, 0x8b].into(), true).unwrap();
        let mut body = response.await.unwrap().into_body();
        let bytes = body.data().await.unwrap().unwrap();
        connection.abort();
        CheckResponse::decode(&bytes[5..]).unwrap()
    };
    assert_eq!(denied(&call(1).await), (7, 403, "no_http_attributes".into()));
}

#[tokio::test]
async fn a_message_at_the_limit_is_read_and_one_over_it_is_denied() {
    let service = start("").await;
    let sized = |length: usize| {
        let mut request = question("GET", "/api/healthcheck", &[]);
        let room = length - request.encoded_len() - 64;
        let http =
            request.attributes.as_mut().unwrap().request.as_mut().unwrap().http.as_mut().unwrap();
        http.raw_body = vec![b'x'; room];
        let message = request.encode_to_vec();
        assert!(message.len() <= length && message.len() > length - 64);
        message
    };
    let mib = 1024 * 1024;
    let fits = raw_check(&service, sized(mib)).await.unwrap();
    assert_eq!(fits.status.unwrap().code, 0);
    for length in [mib + 4096, 4 * mib + 4096] {
        let response = raw_check(&service, sized(length)).await.unwrap();
        assert_eq!(denied(&response), (7, 403, "no_http_attributes".into()));
    }
    let many: Vec<(String, String)> =
        (0..20_000).map(|n| (format!("x-user-{n}"), "ADMIN".into())).collect();
    let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (&**name, &**value)).collect();
    let spoofed =
        raw_check(&service, question("GET", "/api/healthcheck", &many).encode_to_vec()).await;
    let Some(HttpResponse::OkResponse(ok)) = spoofed.unwrap().http_response else { panic!() };
    assert!(ok.headers_to_remove.len() >= 20_000);
}

#[tokio::test]
async fn a_connection_has_an_age_so_that_replicas_get_their_share() {
    let engine = app::engine(ask::config(""), Arc::new(RevocationList::empty()));
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let checker = Arc::new(Checker::new(Arc::new(engine), clock, DecisionLog::new(0.0)));
    let limits = Limits { connection_age: Duration::from_millis(200), ..Limits::new(1 << 20) };
    let listener = Listener::bind(&Listen::Tcp(([127, 0, 0, 1], 0).into())).await.unwrap();
    let address = listener.to_string();
    let server = Server::new(checker, limits, Arc::<House>::default().listener("a"));
    let stop = CancellationToken::new();
    let serving = tokio::spawn({
        let stop = stop.clone();
        async move { server.serve(listener, Arc::default(), stop).await.unwrap() }
    });

    let stream = TcpStream::connect(&address).await.unwrap();
    let (mut sender, connection) = h2::client::handshake(stream).await.unwrap();
    let (response, mut body) = sender.send_request(check_call(), false).unwrap();
    let message = question("GET", "/api/healthcheck", &[]).encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    body.send_data([&[0], &length[..]].concat().into(), false).unwrap();
    let connection = tokio::spawn(connection);

    // A call in flight outlives the age, and is answered.
    tokio::time::sleep(limits.connection_age * 3).await;
    assert!(!connection.is_finished());
    body.send_data(message.into(), true).unwrap();
    assert_eq!(response.await.unwrap().status(), 200);
    // Then the connection is over, and a new one is served.
    let ended = tokio::time::timeout(Duration::from_secs(5), connection).await;
    assert!(ended.is_ok(), "the connection lives on");
    let channel = Endpoint::new(format!("http://{address}")).unwrap().connect().await.unwrap();
    let mut client = AuthorizationClient::new(channel);
    client.check(question("GET", "/api/healthcheck", &[])).await.unwrap();
    stop.cancel();
    serving.await.unwrap();
}
