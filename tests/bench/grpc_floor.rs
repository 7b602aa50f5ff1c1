//! The floor that a check over gRPC is measured against: the server that tonic
//! generates for `proto/`, with an implementation that answers OK and looks at
//! nothing. It decodes the whole question and encodes an answer from the
//! generated types, under tonic's own settings.
//!
//! `build.rs` generates messages alone, since portcullis serves them in its own
//! way; so what tonic would generate is written out here, step by step.

use std::{
    convert::Infallible,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use portcullis::proto::{
    envoy::service::auth::v3::{
        CheckRequest, CheckResponse, OkHttpResponse, check_response::HttpResponse,
    },
    google::rpc,
};
use tokio::net::TcpListener;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{
    Request, Response, Status,
    body::Body,
    codegen::{EnabledCompressionEncodings, Service},
    server::{Grpc, NamedService, UnaryService},
};
use tonic_prost::ProstCodec;

/// The allocator of portcullis, so that allocators do not decide.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

type BoxFuture<T, E> = Pin<Box<dyn Future<Output = Result<T, E>> + Send>>;

/// What somebody who implements the generated trait writes.
struct Nothing;

#[expect(clippy::unused_self, reason = "the generated trait has it")]
impl Nothing {
    fn check(
        self: Arc<Self>,
        _: Request<CheckRequest>,
    ) -> BoxFuture<Response<CheckResponse>, Status> {
        Box::pin(async move {
            Ok(Response::new(CheckResponse {
                status: Some(rpc::Status::default()),
                http_response: Some(HttpResponse::OkResponse(OkHttpResponse::default())),
                dynamic_metadata: None,
            }))
        })
    }
}

/// What tonic generates around it.
#[derive(Clone)]
struct Server {
    inner: Arc<Nothing>,
    accept: EnabledCompressionEncodings,
    send: EnabledCompressionEncodings,
}

impl NamedService for Server {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl Service<http::Request<Body>> for Server {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Self::Response, Infallible>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != "/envoy.service.auth.v3.Authorization/Check" {
            return Box::pin(async { Ok(Status::unimplemented("").into_http()) });
        }
        let Self { inner, accept, send } = self.clone();
        Box::pin(async move {
            let mut grpc = Grpc::new(ProstCodec::default())
                .apply_compression_config(accept, send)
                .apply_max_message_size_config(None, None);
            Ok(grpc.unary(Check(inner), request).await)
        })
    }
}

struct Check(Arc<Nothing>);

impl UnaryService<CheckRequest> for Check {
    type Response = CheckResponse;
    type Future = BoxFuture<Response<CheckResponse>, Status>;

    fn call(&mut self, request: Request<CheckRequest>) -> Self::Future {
        let inner = Arc::clone(&self.0);
        Box::pin(async move { inner.check(request).await })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:0".into());
    let server = tonic::transport::Server::builder().add_service(Server {
        inner: Arc::new(Nothing),
        accept: EnabledCompressionEncodings::default(),
        send: EnabledCompressionEncodings::default(),
    });
    if let Some(path) = address.strip_prefix("unix:") {
        let listener = tokio::net::UnixListener::bind(path)?;
        listening_on(&address);
        server.serve_with_incoming(UnixListenerStream::new(listener)).await?;
    } else {
        let listener = TcpListener::bind(address).await?;
        listening_on(&listener.local_addr()?);
        // What `serve` sets by default.
        let incoming =
            tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        server.serve_with_incoming(incoming).await?;
    }
    Ok(())
}

fn listening_on(address: &impl std::fmt::Display) {
    #[expect(clippy::print_stdout, reason = "the script that starts it reads the address")]
    {
        println!("listening on {address}");
    }
}
