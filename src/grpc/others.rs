//! Health and reflection: small questions, and an end to calls that last.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::{Body, Frame, Incoming};
use tokio::time::Sleep;
use tonic::{Status, body};
use tower::ServiceExt as _;

use super::{
    budget::{Account, Hold},
    call::{self, Answer, Reading},
    served::{LASTING_BYTES, Served},
};

/// The longest message that is read, in bytes.
pub(super) const MESSAGE_BYTES: usize = 4 * 1024;
/// How long a call may ask more.
const ASKING: Duration = Duration::from_secs(30);
/// The question that is answered at once, and that a gateway's probes ask.
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// How many calls hold this.
pub(super) fn lasting(account: &Account) -> usize {
    account.bytes() / LASTING_BYTES
}

/// Answers a call. What cannot be read is an error here: nobody's consent.
pub(super) async fn answer(served: &Served, request: Request<Incoming>) -> Response<Answer> {
    let (head, body) = request.into_parts();
    let answered = if call::is_list_too_long(&head, served.services.limits.header_list_bytes) {
        Err(Status::resource_exhausted("the metadata is too long"))
    } else if head.uri.path() == HEALTH {
        let mut reading = Reading::new(body, MESSAGE_BYTES);
        let question = call::in_time(reading.whole(&served.questions)).await;
        question
            .map(|question| (body::Body::new(Full::new(question)), None))
            .ok_or_else(|| Status::resource_exhausted("the question is too long, or too slow"))
    } else {
        let mut hold = Hold::new(&served.lasting);
        if hold.set(LASTING_BYTES) {
            let hold = Arc::new(hold);
            let until = Box::pin(tokio::time::sleep(ASKING));
            let body = Asking { body, until, _hold: Arc::clone(&hold) };
            Ok((body::Body::new(body), Some(hold)))
        } else {
            Err(Status::resource_exhausted("there are too many such calls"))
        }
    };
    match answered {
        Ok((body, hold)) => {
            let routes = served.services.others.clone();
            match routes.oneshot(Request::from_parts(head, body)).await {
                Ok(response) => response.map(|body| Answer::Other { body, _hold: hold }),
                Err(never) => match never {},
            }
        }
        Err(status) => status.into_http::<()>().map(|()| Answer::End),
    }
}

/// What is asked in a call that may ask several times, until its time is over.
struct Asking {
    body: Incoming,
    until: Pin<Box<Sleep>>,
    _hold: Arc<Hold>,
}

impl Body for Asking {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        if self.until.as_mut().poll(task).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.body).poll_frame(task)
    }
}
