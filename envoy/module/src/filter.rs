//! One request on its way through the module.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use portcullis::{
    authz::{Decision, Reason},
    checker::Checker,
    operation::Body,
    transport::{Context, Transport},
};

use crate::{
    abi::{Counter, Gauge, Part, Stream},
    outcome::{Done, Outcome},
    request::Request,
    service::Service,
    settings::{Fallback, Mode, Settings},
    shadow::Shadowed,
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
    /// It was allowed; this is added to its answer.
    Allowed(Vec<(&'static str, String)>),
    /// Nothing is said here: another filter decides.
    Left,
    /// It is decided beside that of another filter.
    Shadow(Shadowed),
    /// It has been answered here.
    Answered,
}

/// A filter as Envoy's configuration names it.
#[derive(Debug)]
pub(crate) struct Filter {
    pub(crate) service: Service,
    pub(crate) settings: Settings,
    /// What its requests are counted by.
    pub(crate) checks: Option<Counter>,
    /// What comparisons are counted by.
    pub(crate) compared: Option<Counter>,
    /// How old is what the service has told, in seconds.
    pub(crate) age: Option<Gauge>,
    /// Which age was told last, so that one request in many tells it.
    pub(crate) told_age: AtomicU64,
}

impl Filter {
    fn checker(&self) -> Option<&Checker> {
        self.service.checker(self.settings.max_stale)
    }

    fn tell_age(&self, stream: &mut Stream<'_>) {
        let (Some(gauge), Some(age)) = (self.age, self.service.age()) else { return };
        let age = age.as_secs();
        if self.told_age.swap(age, Ordering::Relaxed) != age {
            stream.set_gauge(gauge, age);
        }
    }
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

    /// The headers have come; `is_all` when there is no more.
    pub(crate) fn headers(&mut self, stream: &mut Stream<'_>, is_all: bool) -> Step {
        self.filter.tell_age(stream);
        let Some(checker) = self.filter.checker() else { return self.unknown(stream) };
        let reads = !is_all && needs_body(stream, checker, &self.filter);
        if self.filter.settings.mode == Mode::Shadow {
            let shadowed = Shadowed::begin(stream, checker, self.knows_address(), reads);
            self.phase = Phase::Shadow(shadowed);
            return Step::Continue;
        }
        if reads {
            stream.keep_body(checker.engine().max_body_bytes);
            self.phase = Phase::Reading(Vec::new());
            return Step::Wait;
        }
        self.decide(stream, Body::Absent)
    }

    /// A chunk of the body has come.
    pub(crate) fn body(&mut self, stream: &mut Stream<'_>, is_all: bool) -> Step {
        let Some(checker) = self.filter.checker() else { return self.unknown(stream) };
        let most = checker.engine().max_body_bytes;
        match &mut self.phase {
            Phase::Reading(body) => {
                if !append(body, &stream.body(Part::Received), most) {
                    return self.too_long(stream);
                }
                if is_all { self.whole(stream) } else { Step::Wait }
            }
            Phase::Shadow(shadowed) => {
                shadowed.body(&stream.body(Part::Received), is_all, checker);
                Step::Continue
            }
            _ => self.step(),
        }
    }

    /// The trailers have come: there is no more of the body.
    pub(crate) fn trailers(&mut self, stream: &mut Stream<'_>) -> Step {
        match (&mut self.phase, self.filter.checker()) {
            (Phase::Reading(_), _) => self.whole(stream),
            (Phase::Shadow(shadowed), Some(checker)) => {
                shadowed.body(&[], true, checker);
                Step::Continue
            }
            _ => self.step(),
        }
    }

    /// The answer goes back to the client.
    pub(crate) fn answer(&mut self, stream: &mut Stream<'_>) {
        if let Phase::Allowed(headers) = &mut self.phase {
            for (name, value) in std::mem::take(headers) {
                stream.add_to_answer(name, &value);
            }
        }
    }

    /// All has been said.
    pub(crate) fn end(&mut self, stream: &mut Stream<'_>) {
        let phase = std::mem::replace(&mut self.phase, Phase::Left);
        if let Phase::Shadow(shadowed) = phase {
            shadowed.compare(stream, self.filter.compared);
        }
    }

    fn knows_address(&self) -> bool {
        self.filter.settings.use_remote_address
    }

    fn whole(&mut self, stream: &mut Stream<'_>) -> Step {
        let Phase::Reading(mut body) = std::mem::replace(&mut self.phase, Phase::Begun) else {
            return self.step();
        };
        let Some(checker) = self.filter.checker() else { return self.unknown(stream) };
        let most = checker.engine().max_body_bytes;
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
        self.count(stream, "deny", "body_too_long");
        stream.respond(413, &[], "Payload Too Large", "request_payload_too_large");
        Step::Stop
    }

    /// It is not known who is shut out, or no more.
    fn unknown(&mut self, stream: &mut Stream<'_>) -> Step {
        let is_answered = matches!(self.phase, Phase::Answered | Phase::Allowed(_) | Phase::Left);
        if is_answered {
            return self.step();
        }
        let Settings { mode, fallback, .. } = self.filter.settings;
        if mode == Mode::Shadow || fallback == Fallback::ExtAuthz {
            self.phase = Phase::Left;
            self.count(stream, "left", Reason::NotReady.as_str());
            return Step::Continue;
        }
        self.refuse(stream, Reason::NotReady)
    }

    /// A bug has shown itself.
    pub(crate) fn fail(&mut self, stream: &mut Stream<'_>) -> Step {
        if self.filter.settings.mode == Mode::Shadow {
            self.phase = Phase::Left;
            return Step::Continue;
        }
        self.refuse(stream, Reason::Internal)
    }

    fn refuse(&mut self, stream: &mut Stream<'_>, reason: Reason) -> Step {
        self.phase = Phase::Answered;
        self.count(stream, "deny", reason.as_str());
        Outcome::of(&Decision::deny(reason), None).carry_out(stream);
        Step::Stop
    }

    fn count(&self, stream: &mut Stream<'_>, decision: &str, reason: &str) {
        if let Some(checks) = self.filter.checks {
            stream.count(checks, &[decision, reason]);
        }
    }

    /// What was decided before stands for what comes later.
    fn step(&self) -> Step {
        match self.phase {
            Phase::Allowed(_) | Phase::Left | Phase::Shadow(_) => Step::Continue,
            _ => Step::Stop,
        }
    }

    fn decide(&mut self, stream: &mut Stream<'_>, body: Body<'_>) -> Step {
        let Some(checker) = self.filter.checker() else { return self.unknown(stream) };
        let outcome = {
            let request = Request::read(stream, self.knows_address());
            let input = request.as_ref().map(|request| request.input(body));
            let context = Context {
                request_id: input.as_ref().map_or("", |input| input.id),
                client: input.as_ref().map_or("", |input| input.source_address),
                transport: Transport::EnvoyModule,
                trace: None,
            };
            let question = input.as_ref().ok_or(Reason::NoHttpAttributes);
            let answer = |decision: Decision<'_>| Outcome::of(&decision, input.as_ref());
            checker.check(question, context, answer)
        };
        self.count(stream, outcome.decision, outcome.reason);
        // Nothing is touched here once Envoy has been told to answer.
        self.phase = Phase::Answered;
        match outcome.carry_out(stream) {
            Done::GoesOn(answer) => {
                self.phase = Phase::Allowed(answer);
                Step::Continue
            }
            Done::Answered => Step::Stop,
            Done::Failed => self.fail(stream),
        }
    }
}

/// Whether the decision hangs on the body that is to come: whether without it, what is
/// asked for is not known, or a condition is not true. What follows an upgrade is no
/// body, and has no end.
fn needs_body(stream: &Stream<'_>, checker: &Checker, filter: &Filter) -> bool {
    let engine = checker.engine();
    if !engine.policy.reads_bodies() {
        return false;
    }
    let knows_address = filter.settings.use_remote_address;
    let Some(request) = Request::read(stream, knows_address) else { return false };
    let input = request.input(Body::Cut);
    if input.method == "CONNECT" || input.headers.contains("upgrade") {
        return false;
    }
    let decision = engine.decide(&input, checker.now());
    let reason = decision.reason();
    matches!(reason, Some(Reason::BadMcp(_) | Reason::BadBody(_) | Reason::Condition))
}

/// Adds chunks to a body; whether it is no longer than that.
pub(crate) fn append(body: &mut Vec<u8>, chunks: &[&[u8]], most: usize) -> bool {
    chunks.iter().all(|chunk| {
        let fits = body.len() + chunk.len() <= most;
        if fits {
            body.extend_from_slice(chunk);
        }
        fits
    })
}
