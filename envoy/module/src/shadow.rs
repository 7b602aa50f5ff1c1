//! A decision that changes nothing: it is compared with that of `ext_authz`.

use std::panic::{AssertUnwindSafe, catch_unwind};

use portcullis::{
    authz::{CheckInput, Decision, METADATA_NAMESPACE, Reason},
    checker::Checker,
    operation::Body,
};

use crate::{
    abi::{Counter, Stream},
    filter::append,
    request::Request,
};

/// A request beside which it is decided what would have come of it.
#[derive(Debug)]
pub(crate) enum Shadowed {
    /// Its body is read, which goes on meanwhile.
    Reading { request: Request<'static>, body: Vec<u8> },
    /// It was decided.
    Decided(Said),
    /// It could not be read, or its body is too long.
    Unknown,
}

/// What was decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    decision: String,
    reason: String,
    rule: String,
    user_id: String,
}

/// What is compared, as the metadata names it.
const COMPARED: [&str; 4] = ["decision", "reason", "rule", "user_id"];

impl Said {
    fn of(decision: &Decision<'_>) -> Self {
        let told = decision.metadata();
        let [decision, reason, rule, user_id] = COMPARED.map(|wanted| {
            let found = told.iter().find(|(key, _)| *key == wanted);
            found.and_then(|(_, text)| text.as_deref()).unwrap_or_default().to_owned()
        });
        Self { decision, reason, rule, user_id }
    }

    /// What another filter has told; none where it has told nothing.
    fn told(stream: &Stream<'_>) -> Option<Self> {
        let [decision, reason, rule, user_id] =
            COMPARED.map(|key| stream.told(METADATA_NAMESPACE, key).unwrap_or_default().to_owned());
        (!decision.is_empty()).then_some(Self { decision, reason, rule, user_id })
    }

    /// The reason of a denial; else what was decided.
    fn in_short(&self) -> &str {
        if self.reason.is_empty() { &self.decision } else { &self.reason }
    }
}

impl Shadowed {
    /// Decides, or keeps what the decision needs beside the body.
    pub(crate) fn begin(
        stream: &Stream<'_>,
        checker: &Checker,
        knows_address: bool,
        reads_body: bool,
    ) -> Self {
        match Request::read(stream, knows_address) {
            None => Self::Unknown,
            Some(request) if reads_body => {
                Self::Reading { request: request.into_owned(), body: Vec::new() }
            }
            Some(request) => Self::Decided(decide(checker, &request.input(Body::Absent))),
        }
    }

    /// A part of the body has come.
    pub(crate) fn body(&mut self, chunks: &[&[u8]], is_all: bool, checker: &Checker) {
        let Self::Reading { request, body } = self else { return };
        if !append(body, chunks, checker.engine().max_body_bytes) {
            *self = Self::Unknown;
        } else if is_all {
            *self = Self::Decided(decide(checker, &request.input(Body::Whole(body))));
        }
    }

    /// Compares, and counts and tells what comes of it.
    pub(crate) fn compare(self, stream: &mut Stream<'_>, compared: Option<Counter>) {
        let Self::Decided(own) = self else { return };
        let theirs = Said::told(stream);
        let is_alike = theirs.as_ref() == Some(&own);
        let shown = theirs.as_ref().map_or("nothing", Said::in_short);
        let result = if is_alike { "agrees" } else { "differs" };
        if let Some(compared) = compared {
            stream.count(compared, &[result, shown, own.in_short()]);
        }
        if !is_alike {
            let rule = theirs.as_ref().map_or("", |theirs| &theirs.rule);
            tracing::warn!(
                ext_authz = shown,
                module = own.in_short(),
                ext_authz_rule = rule,
                module_rule = own.rule,
                "the module would have decided otherwise"
            );
        }
    }
}

fn decide(checker: &Checker, input: &CheckInput<'_>) -> Said {
    let engine = checker.engine();
    let decide = || Said::of(&engine.decide(input, checker.now()));
    catch_unwind(AssertUnwindSafe(decide))
        .unwrap_or_else(|_| Said::of(&Decision::deny(Reason::Internal)))
}
