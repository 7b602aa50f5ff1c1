//! A call of `Check` over HTTP/2 (gRPC over HTTP/2): one message in, one out.
//! A message that is too long, too slow, compressed or not one message is a
//! question that cannot be read, which is denied and no gRPC error.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Request, Response, header};
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame, Incoming};

use super::{check::CheckService, write::PREFIX_BYTES};

/// How long a question may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// Where it is asked.
pub(super) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Answers a call.
pub(super) async fn answer(
    service: &CheckService,
    request: Request<Incoming>,
    max_bytes: usize,
) -> Response<Answer> {
    let (head, mut body) = request.into_parts();
    let reading = tokio::time::timeout(READ_TIMEOUT, read(&mut body, max_bytes));
    let question = reading.await.ok().flatten();
    let trace = head.headers.get("traceparent").filter(|_| service.traces());
    let trace = trace.and_then(|trace| trace.to_str().ok());
    let message = service.framed(question.as_deref(), trace);
    let mut response = Response::new(Answer::Message(message));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

/// The one message of a body, without its prefix.
async fn read(body: &mut Incoming, max_bytes: usize) -> Option<Bytes> {
    let max_bytes = max_bytes.saturating_add(PREFIX_BYTES);
    // Nearly always, all of it is in one frame.
    let mut all = Bytes::new();
    let mut more = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.ok()?.into_data() else { continue };
        if all.len() + more.len() + data.len() > max_bytes {
            return None;
        }
        if all.is_empty() && more.is_empty() {
            all = data;
        } else {
            if more.is_empty() {
                more.extend_from_slice(&all);
                all = Bytes::new();
            }
            more.extend_from_slice(&data);
        }
    }
    if !more.is_empty() {
        all = more.freeze();
    }
    let prefix = all.get(..PREFIX_BYTES)?;
    let [0, length @ ..] = prefix else { return None };
    let length = u32::from_be_bytes(length.try_into().ok()?);
    all.advance(PREFIX_BYTES);
    (usize::try_from(length) == Ok(all.len())).then_some(all)
}

/// The body of an answer.
pub(super) enum Answer {
    /// One message.
    Message(Bytes),
    /// What comes behind it.
    Trailers,
    /// Nothing more.
    End,
    /// That of another service.
    Other(tonic::body::Body),
}

impl Body for Answer {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let next = match &mut *self {
            Self::Other(body) => return Pin::new(body).poll_frame(task),
            Self::Message(message) => {
                let message = std::mem::take(message);
                *self = Self::Trailers;
                Some(Ok(Frame::data(message)))
            }
            Self::Trailers => {
                let mut trailers = HeaderMap::with_capacity(1);
                trailers.insert("grpc-status", HeaderValue::from_static("0"));
                *self = Self::End;
                Some(Ok(Frame::trailers(trailers)))
            }
            Self::End => None,
        };
        Poll::Ready(next)
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::End => true,
            Self::Other(body) => body.is_end_stream(),
            _ => false,
        }
    }
}
