//! `Authorization/Check`: bytes in, bytes out.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
};

use bytes::Bytes;
use prost::Message as _;

use super::{
    convert, metadata,
    question::Question,
    read,
    write::{self, PREFIX_BYTES},
};
use crate::{
    authz::{Decision, Reason},
    checker::Checker,
    proto::envoy::service::auth::v3::CheckRequest,
    transport::{Context, Transport},
};

/// Answers `Check`.
///
/// Every call that reaches it is answered by a whole `CheckResponse`: a
/// gateway that fails open would take a gRPC error for consent, and Envoy
/// takes an empty message for it.
#[derive(Clone, Debug)]
pub struct CheckService {
    checker: Arc<Checker>,
    /// The answer when making one has failed, made while all was well.
    failed: Bytes,
}

impl CheckService {
    /// The name of the service.
    pub const NAME: &'static str = "envoy.service.auth.v3.Authorization";

    /// A service that asks this checker.
    #[must_use]
    pub fn new(checker: Arc<Checker>) -> Self {
        let failed = write::response(&Decision::deny(Reason::Internal));
        Self { checker, failed }
    }

    /// The answer to a question, as a message; `None` stands for one that did
    /// not arrive whole and in time.
    #[must_use]
    pub fn answer(&self, question: Option<&[u8]>) -> Bytes {
        self.framed(question, None).slice(PREFIX_BYTES..)
    }

    /// The same, behind gRPC's prefix; `trace` is the `traceparent` of the
    /// call.
    pub(super) fn framed(&self, question: Option<&[u8]>, trace: Option<&str>) -> Bytes {
        catch_unwind(AssertUnwindSafe(|| {
            let Some(bytes) = question else { return self.decide(&Question::default(), trace) };
            if let Some(question) = Question::read(bytes) {
                return self.decide(&question, trace);
            }
            let question = Some(bytes).filter(|bytes| read::has_good_maps(bytes));
            let question = question.and_then(|bytes| CheckRequest::decode(bytes).ok());
            let question = question.unwrap_or_default();
            let mut question = convert::question(&question);
            if let Some(input) = &mut question.input {
                input.mcp_told = metadata::of_question(bytes);
            }
            self.decide(&question, trace)
        }))
        .unwrap_or_else(|_| self.failed.clone())
    }

    fn decide(&self, question: &Question<'_>, trace: Option<&str>) -> Bytes {
        let Question { input, id, client } = question;
        let context = Context {
            request_id: input.as_ref().map_or("", |input| {
                // The gateway's own id of the call is of no use to those who
                // look for the request in another log.
                input.headers.text("x-request-id").unwrap_or(id)
            }),
            client,
            transport: Transport::Grpc,
            trace,
        };
        let question = input.as_ref().ok_or(Reason::NoHttpAttributes);
        self.checker.check(question, context, |decision| write::response(&decision))
    }

    /// Whether the trace of a call is of use.
    pub(super) fn traces(&self) -> bool {
        self.checker.traces()
    }
}
