//! One request on its way through the module.

use std::{borrow::Cow, sync::Arc};

use portcullis::{
    authz::{CheckInput, Decision, Header, Headers, Reason},
    checker::{Checker, Context},
    operation::Body,
    transport::Transport,
};

use crate::{
    abi::{Attribute, Counter, Part, Stream},
    outcome::{Done, Outcome},
    service::Service,
};

/// What Envoy does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Goes on to the next filter.
    Continue,
    /// Waits for more of the body, which it keeps.
    Wait,
    /// Nothing: the request has been answered.
    Stop,
}

/// How far it has come.
#[derive(Debug)]
enum Phase {
    /// Nothing is known of it.
    Begun,
    /// Its body is read, as far as this.
    Reading(Vec<u8>),
    /// It was allowed.
    Allowed,
    /// It has been answered here.
    Answered,
}

/// A filter as Envoy's configuration names it.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) service: Arc<Service>,
    /// Whether the address that Envoy has of a client is the connection's, and none that
    /// the client has written into `x-forwarded-for`.
    pub(crate) knows_address: bool,
    /// What its requests are counted by.
    pub(crate) checks: Option<Counter>,
}

/// A request.
#[derive(Debug)]
pub(crate) struct Call {
    filter: Arc<Filter>,
    phase: Phase,
}

impl Call {
    pub(crate) fn new(filter: &Arc<Filter>) -> Self {
        Self { filter: Arc::clone(filter), phase: Phase::Begun }
    }

    fn checker(&self) -> &Checker {
        &self.filter.service.checker
    }

    /// The headers have come; `is_all` when there is no more.
    pub(crate) fn headers(&mut self, stream: &mut Stream<'_>, is_all: bool) -> Step {
        if !is_all && self.needs_body(stream) {
            self.phase = Phase::Reading(Vec::new());
            stream.keep_body(self.checker().engine().max_body_bytes);
            return Step::Wait;
        }
        self.decide(stream, Body::Absent)
    }

    /// A chunk of the body has come.
    pub(crate) fn body(&mut self, stream: &mut Stream<'_>, is_all: bool) -> Step {
        let most = self.checker().engine().max_body_bytes;
        let Phase::Reading(body) = &mut self.phase else { return self.step() };
        if !append(body, &stream.body(Part::Received), most) {
            return self.too_long(stream);
        }
        if is_all { self.whole(stream) } else { Step::Wait }
    }

    /// The trailers have come: there is no more of the body.
    pub(crate) fn trailers(&mut self, stream: &mut Stream<'_>) -> Step {
        if matches!(self.phase, Phase::Reading(_)) { self.whole(stream) } else { self.step() }
    }

    fn whole(&mut self, stream: &mut Stream<'_>) -> Step {
        let most = self.checker().engine().max_body_bytes;
        let Phase::Reading(mut body) = std::mem::replace(&mut self.phase, Phase::Begun) else {
            return self.step();
        };
        // 1.37.0 puts the last chunk to what it keeps before it tells of it.
        let kept = stream.body(Part::Kept);
        if kept.iter().map(|chunk| chunk.len()).sum::<usize>() > body.len() {
            body.clear();
            if !append(&mut body, &kept, most) {
                return self.too_long(stream);
            }
        }
        self.decide(stream, Body::Whole(&body))
    }

    /// As Envoy answers it where it keeps bodies for `ext_authz`.
    fn too_long(&mut self, stream: &mut Stream<'_>) -> Step {
        self.phase = Phase::Answered;
        stream.respond(413, &[], "Payload Too Large", "request_payload_too_large");
        Step::Stop
    }

    /// A bug has shown itself.
    pub(crate) fn fail(&mut self, stream: &mut Stream<'_>) -> Step {
        self.phase = Phase::Answered;
        Outcome::of(&Decision::deny(Reason::Internal), None).carry_out(stream);
        Step::Stop
    }

    /// What was decided before stands for what comes later.
    fn step(&self) -> Step {
        if matches!(self.phase, Phase::Allowed) { Step::Continue } else { Step::Stop }
    }

    /// Whether the decision hangs on the body that is to come: whether without it, what is
    /// asked for is not known, or a condition is not true. What follows an upgrade is no
    /// body, and has no end.
    fn needs_body(&self, stream: &Stream<'_>) -> bool {
        let engine = self.checker().engine();
        if !engine.policy.reads_bodies() {
            return false;
        }
        let Some(request) = Request::read(stream) else { return false };
        let mut input = request.input(Body::Cut, self.filter.knows_address);
        if input.method == "CONNECT" || input.headers.contains("upgrade") {
            input.body = Body::Absent;
        }
        let decision = engine.decide(&input, self.checker().now());
        let reason = decision.reason();
        matches!(reason, Some(Reason::BadMcp(_) | Reason::BadBody(_) | Reason::Condition))
    }

    fn decide(&mut self, stream: &mut Stream<'_>, body: Body<'_>) -> Step {
        let outcome = {
            let request = Request::read(stream);
            let knows_address = self.filter.knows_address;
            let input = request.as_ref().map(|request| request.input(body, knows_address));
            let context = Context {
                request_id: input.as_ref().map_or("", |input| input.id),
                client: input.as_ref().map_or("", |input| input.source_address),
                transport: Transport::EnvoyModule,
                trace: None,
            };
            let question = input.as_ref().ok_or(Reason::NoHttpAttributes);
            let answer = |decision: Decision<'_>| Outcome::of(&decision, input.as_ref());
            self.checker().check(question, context, answer)
        };
        if let Some(checks) = self.filter.checks {
            stream.count(checks, outcome.decision, outcome.reason);
        }
        match outcome.carry_out(stream) {
            Done::GoesOn => {
                self.phase = Phase::Allowed;
                Step::Continue
            }
            Done::Answered => {
                self.phase = Phase::Answered;
                Step::Stop
            }
            Done::Failed => self.fail(stream),
        }
    }
}

/// A request as it is told over gRPC: a header that is there several times is joined by
/// commas, and what is no UTF-8 is `!`. So the engine decides the same, whoever asks.
struct Request<'s> {
    headers: Vec<(&'s str, Cow<'s, [u8]>)>,
    id: &'s str,
    protocol: &'s str,
    source: &'s str,
    source_principal: &'s str,
    destination_principal: &'s str,
}

impl<'s> Request<'s> {
    fn read(stream: &'s Stream<'_>) -> Option<Self> {
        let mut headers: Vec<(&str, Cow<'_, [u8]>)> = Vec::new();
        for (name, value) in stream.headers()? {
            let name = std::str::from_utf8(name).ok()?;
            let value = as_text(value);
            match headers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => {
                    known.to_mut().push(b',');
                    known.to_mut().extend_from_slice(&value);
                }
                None => headers.push((name, value)),
            }
        }
        let first = |of: [Attribute; 3]| {
            let mut names = of.into_iter().map(|which| stream.attribute(which));
            names.find(|name| !name.is_empty()).unwrap_or_default()
        };
        Some(Self {
            headers,
            id: stream.attribute(Attribute::RequestId),
            protocol: stream.attribute(Attribute::Protocol),
            source: address(stream.attribute(Attribute::SourceAddress)),
            source_principal: first([
                Attribute::UriOfPeer,
                Attribute::DnsNameOfPeer,
                Attribute::SubjectOfPeer,
            ]),
            destination_principal: first([
                Attribute::UriOfOwnCertificate,
                Attribute::DnsNameOfOwnCertificate,
                Attribute::SubjectOfOwnCertificate,
            ]),
        })
    }

    fn input<'i>(&'i self, body: Body<'i>, knows_address: bool) -> CheckInput<'i> {
        let text = |wanted: &str| {
            let found = self.headers.iter().find(|(name, _)| *name == wanted);
            found.and_then(|(_, value)| std::str::from_utf8(value).ok()).unwrap_or_default()
        };
        let all = self.headers.iter().map(|(name, value)| Header { name, value });
        CheckInput {
            method: text(":method"),
            scheme: text(":scheme"),
            host: text(":authority"),
            path: text(":path"),
            headers: Headers::new(all.collect(), Vec::new()),
            body,
            protocol: self.protocol,
            id: self.id,
            source_address: if knows_address { self.source } else { "" },
            source_principal: self.source_principal,
            destination_principal: self.destination_principal,
            ..CheckInput::default()
        }
    }
}

/// The value as Envoy would tell it in a text of protobuf.
fn as_text(value: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(value).is_ok() {
        return value.into();
    }
    let mut text = Vec::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        text.extend(std::iter::repeat_n(b'!', chunk.invalid().len()));
    }
    text.into()
}

/// An address without its port.
fn address(text: &str) -> &str {
    let Some((address, port)) = text.rsplit_once(':') else { return text };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return text;
    }
    address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address)
}

/// Adds chunks to a body; whether it is no longer than that.
fn append(body: &mut Vec<u8>, chunks: &[&[u8]], most: usize) -> bool {
    chunks.iter().all(|chunk| {
        let fits = body.len() + chunk.len() <= most;
        if fits {
            body.extend_from_slice(chunk);
        }
        fits
    })
}
