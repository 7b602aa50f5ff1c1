//! A call of `Check` over HTTP/2 (gRPC over HTTP/2): one message in, one out.
//! A message that is too long, too slow, compressed or not one message, one for
//! which there is no room while it comes, and one behind too much metadata, is a
//! question that cannot be read, which is denied and no gRPC error.

use std::{
    future::poll_fn,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Buf as _, Bytes};
use http::{HeaderMap, HeaderValue, Request, Response, header, request::Parts};
use hyper::body::{Body, Frame, Incoming};

use super::{
    budget::{Account, Hold, Waiting},
    check::CheckService,
    served::Served,
    write::PREFIX_BYTES,
};

/// How long a question may take to arrive.
const READ_TIMEOUT: Duration = Duration::from_secs(5);
/// What a call takes that waits, beside what has come of its question, in bytes.
const WAITING_BYTES: usize = 3 * 1024;
/// Where it is asked.
pub(super) const PATH: &str = "/envoy.service.auth.v3.Authorization/Check";

/// Answers a call.
pub(super) async fn answer(served: &Served, request: Request<Incoming>) -> Response<Answer> {
    let (service, limits) = (&served.services.check, &served.services.limits);
    let (head, body) = request.into_parts();
    let mut reading = Reading::new(body, limits.message_bytes);
    let at_once = if is_list_too_long(&head, limits.header_list_bytes) {
        Poll::Ready(None)
    } else {
        poll_fn(|task| Poll::Ready(reading.poll(task))).await
    };
    let message = match at_once {
        // Nearly always, all of it has come.
        Poll::Ready(question) => service.framed(message(question.as_ref()), trace(service, &head)),
        Poll::Pending => {
            // What waits keeps nothing that it does not need.
            let trace = trace(service, &head).map(str::to_owned);
            drop(head);
            let question = in_time(reading.whole(&served.questions)).await;
            service.framed(message(question.as_ref()), trace.as_deref())
        }
    };
    let mut response = Response::new(Answer::Message(message));
    let grpc = HeaderValue::from_static("application/grpc");
    response.headers_mut().insert(header::CONTENT_TYPE, grpc);
    response
}

fn trace<'a>(service: &CheckService, head: &'a Parts) -> Option<&'a str> {
    let trace = head.headers.get("traceparent").filter(|_| service.traces());
    trace.and_then(|trace| trace.to_str().ok())
}

/// What comes of a question within its time.
pub(super) async fn in_time(question: impl Future<Output = Option<Bytes>>) -> Option<Bytes> {
    // As soon as it waits, it has room or is denied: it must not be put off.
    tokio::task::unconstrained(tokio::time::timeout(READ_TIMEOUT, question)).await.ok().flatten()
}

/// Whether the headers of a call are more than so many bytes: each name and
/// value, and 32 (RFC 9113, section 6.5.2).
pub(super) fn is_list_too_long(head: &Parts, max_bytes: usize) -> bool {
    const OVERHEAD: usize = 32;
    let header = |(name, value): (&header::HeaderName, &HeaderValue)| {
        name.as_str().len() + value.len() + OVERHEAD
    };
    let (uri, method) = (&head.uri, head.method.as_str());
    let pseudo = [
        (":method", method),
        (":scheme", uri.scheme_str().unwrap_or_default()),
        (":authority", uri.authority().map_or("", |authority| authority.as_str())),
        (":path", uri.path_and_query().map_or("", |path| path.as_str())),
    ];
    let pseudo = pseudo.map(|(name, value)| name.len() + value.len() + OVERHEAD);
    let list: usize = head.headers.iter().map(header).chain(pseudo).sum();
    list > max_bytes
}

/// The message behind its prefix.
fn message(framed: Option<&Bytes>) -> Option<&[u8]> {
    framed?.get(PREFIX_BYTES..)
}

/// A message that comes, behind gRPC's prefix.
pub(super) struct Reading {
    body: Incoming,
    max_bytes: usize,
    /// What has come, as long as it is all in one frame.
    first: Bytes,
    /// What has come, as soon as it is not, or is waited for.
    more: Vec<u8>,
    waiting: Option<Waiting>,
}

impl Reading {
    /// Reads a message of at most so many bytes.
    pub(super) fn new(body: Incoming, max_bytes: usize) -> Self {
        let max_bytes = max_bytes.saturating_add(PREFIX_BYTES);
        Self { body, max_bytes, first: Bytes::new(), more: Vec::new(), waiting: None }
    }

    /// All of it; `None` for what is not one message, or when there is no room
    /// for what has come while the rest is waited for.
    pub(super) async fn whole(&mut self, account: &Arc<Account>) -> Option<Bytes> {
        poll_fn(|task| match self.poll(task) {
            Poll::Pending if self.waits(account) => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
            whole @ Poll::Ready(_) => whole,
        })
        .await
    }

    /// All of it, as far as it has come.
    fn poll(&mut self, task: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            match ready!(Pin::new(&mut self.body).poll_frame(task)) {
                None => return Poll::Ready(self.end()),
                Some(Err(_)) => return Poll::Ready(None),
                Some(Ok(frame)) => {
                    // What comes behind the message says nothing.
                    if !frame.into_data().map_or(true, |data| self.add(data)) {
                        return Poll::Ready(None);
                    }
                }
            }
        }
    }

    fn add(&mut self, data: Bytes) -> bool {
        if self.first.len() + self.more.len() + data.len() > self.max_bytes {
            return false;
        }
        if self.first.is_empty() && self.more.is_empty() {
            self.first = data;
            return true;
        }
        self.own(data.len());
        self.more.extend_from_slice(&data);
        let length = announced(&self.more).unwrap_or_default();
        length <= self.max_bytes && self.more.len() <= length.max(PREFIX_BYTES) && self.is_held()
    }

    /// Makes what has come its own, with room for so many bytes: a part of a
    /// frame keeps all that was read along with it.
    fn own(&mut self, bytes: usize) {
        let length = self.first.len() + self.more.len() + bytes;
        if length > self.more.capacity() {
            let whole = announced(if self.more.is_empty() { &self.first } else { &self.more });
            let ahead = whole.unwrap_or_default().min(2 * self.more.capacity());
            self.more.reserve_exact(length.max(ahead) - self.more.len());
        }
        self.more.extend_from_slice(&std::mem::take(&mut self.first));
    }

    /// Whether there is room for what has come while the rest is waited for.
    fn waits(&mut self, account: &Arc<Account>) -> bool {
        self.own(0);
        if self.waiting.is_none() {
            self.waiting = Some(Waiting::new(account));
        }
        self.is_held()
    }

    fn is_held(&mut self) -> bool {
        let bytes = WAITING_BYTES + self.more.capacity();
        self.waiting.as_mut().is_none_or(|waiting| waiting.set(bytes))
    }

    fn end(&mut self) -> Option<Bytes> {
        let all = match std::mem::take(&mut self.more) {
            more if more.is_empty() => std::mem::take(&mut self.first),
            more => more.into(),
        };
        (announced(&all) == Some(all.len())).then_some(all)
    }
}

/// The length that a message says it has, its prefix included; `None` as long
/// as it does not say, and for one that is compressed.
fn announced(mut framed: &[u8]) -> Option<usize> {
    if framed.len() < PREFIX_BYTES || framed.get_u8() != 0 {
        return None;
    }
    usize::try_from(framed.get_u32()).ok()?.checked_add(PREFIX_BYTES)
}

/// The body of an answer.
pub(super) enum Answer {
    /// One message.
    Message(Bytes),
    /// What comes behind it.
    Trailers,
    /// Nothing more.
    End,
    /// That of another service, and what it holds until its end.
    Other { body: tonic::body::Body, _hold: Option<Arc<Hold>> },
}

impl Body for Answer {
    type Data = Bytes;
    type Error = tonic::Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, tonic::Status>>> {
        let next = match &mut *self {
            Self::Other { body, .. } => return Pin::new(body).poll_frame(task),
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
            Self::Other { body, .. } => body.is_end_stream(),
            _ => false,
        }
    }
}
