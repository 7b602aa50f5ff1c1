//! `Authorization/Check`.

use std::{
    convert::Infallible,
    future::{Ready, ready},
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    sync::Arc,
    task::{Context as Task, Poll},
    time::Duration,
};

use bytes::Bytes;
use prost::Message as _;
use tonic::{
    Request, Response, Status, Streaming, body::Body, codegen::Service, server::NamedService,
};

use super::{codec::BytesCodec, convert};
use crate::{
    authz::{Decision, Reason},
    checker::{Checker, Context},
    proto::envoy::service::auth::v3::CheckRequest,
    transport::Transport,
};

/// How long a question may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
const METHOD: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Answers `Check`.
///
/// Every call that reaches it is answered by a whole `CheckResponse`: a
/// gateway that fails open would take a gRPC error for consent, and Envoy
/// takes an empty message for it.
#[derive(Clone, Debug)]
pub struct CheckService {
    checker: Arc<Checker>,
    max_message_bytes: usize,
    /// The answer when making one has failed, made while all was well.
    failed: Bytes,
}

impl NamedService for CheckService {
    const NAME: &'static str = "envoy.service.auth.v3.Authorization";
}

impl CheckService {
    /// A service that asks this checker.
    #[must_use]
    pub fn new(checker: Arc<Checker>, max_message_bytes: usize) -> Self {
        let failed = convert::response(&Decision::deny(Reason::Internal)).encode_to_vec().into();
        Self { checker, max_message_bytes, failed }
    }

    /// The answer to a question; `None` stands for one that did not arrive
    /// whole and in time.
    #[must_use]
    pub fn answer(&self, question: Option<&[u8]>) -> Bytes {
        self.answer_within(question, None)
    }

    /// The same; `trace` is the `traceparent` of the call.
    fn answer_within(&self, question: Option<&[u8]>, trace: Option<&str>) -> Bytes {
        catch_unwind(AssertUnwindSafe(|| {
            let question = question.and_then(|bytes| CheckRequest::decode(bytes).ok());
            let http = question.as_ref().and_then(convert::http_attributes);
            let input = http.map(convert::input);
            let context = Context {
                request_id: input.as_ref().map_or("", |input| {
                    // The gateway's own id of the call is of no use to those
                    // who look for the request in another log.
                    let id = http.map_or("", |http| &http.id);
                    input.headers.text("x-request-id").unwrap_or(id)
                }),
                client: question.as_ref().map_or("", convert::client),
                transport: Transport::Grpc,
                trace,
            };
            let question = input.as_ref().ok_or(Reason::NoHttpAttributes);
            self.checker.check(question, context, |decision| {
                Bytes::from(convert::response(decision).encode_to_vec())
            })
        }))
        .unwrap_or_else(|_| self.failed.clone())
    }
}

impl Service<http::Request<Body>> for CheckService {
    type Response = http::Response<Body>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: http::Request<Body>) -> Self::Future {
        if request.uri().path() != METHOD {
            let unknown: Ready<_> =
                ready(Ok(Status::unimplemented("there is only Check").into_http()));
            return Box::pin(unknown);
        }
        // A compressed question would be answered by an error. Without the
        // header it is one that cannot be read, which is a denial.
        request.headers_mut().remove("grpc-encoding");
        let service = self.clone();
        Box::pin(async move {
            // On the wire a unary call is a stream of one message. Taken as a
            // stream, a message that is too long or too slow can be answered.
            let mut grpc = tonic::server::Grpc::new(BytesCodec)
                .apply_max_message_size_config(Some(service.max_message_bytes), None);
            Ok(grpc.client_streaming(Stream(service), request).await)
        })
    }
}

struct Stream(CheckService);

impl Service<Request<Streaming<Bytes>>> for Stream {
    type Response = Response<Bytes>;
    type Error = Status;
    type Future = Pin<Box<dyn Future<Output = Result<Response<Bytes>, Status>> + Send>>;

    fn poll_ready(&mut self, _: &mut Task<'_>) -> Poll<Result<(), Status>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        let service = self.0.clone();
        Box::pin(async move {
            let trace = request.metadata().get("traceparent").filter(|_| service.checker.traces());
            let trace = trace.and_then(|trace| trace.to_str().ok()).map(str::to_owned);
            let mut questions = request.into_inner();
            let question = tokio::time::timeout(READ_TIMEOUT, questions.message()).await;
            let question = question.ok().and_then(Result::ok).flatten();
            Ok(Response::new(service.answer_within(question.as_deref(), trace.as_deref())))
        })
    }
}
