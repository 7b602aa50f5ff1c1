//! Decides, or answers, one fixed question so many times, for
//! `tests/bench/counts` to count the instructions of.
//!
//! `counted (decide|check) TIMES QUESTION KEY NOW`: the bytes of a
//! `CheckRequest` are in a file, and its token is good by this key at this time
//! in seconds.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a bench may fail loudly")]

use std::{hint::black_box, sync::Arc};

use portcullis::{
    app,
    authz::{CheckInput, Engine, Header, Headers},
    checker::Checker,
    clock::{Clock, Timestamp},
    config::{Config, Sources},
    decision_log::DecisionLog,
    grpc::CheckService,
    proto::envoy::service::auth::v3::{
        CheckRequest, CheckResponse, attribute_context::HttpRequest, check_response::HttpResponse,
    },
    token::RevocationList,
};
use prost::Message as _;

/// The allocator is a part of what a check costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Debug)]
struct Fixed(Timestamp);

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        self.0
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [part, times, question, key, now] = &*arguments else {
        unreachable!("(decide|check) TIMES QUESTION KEY NOW")
    };
    let times = times.parse().unwrap();
    let question = std::fs::read(question).unwrap();
    let now = Timestamp::from_secs(now.parse().unwrap());
    let environment = [("AUTH_JWT_SECRET".into(), key.into())];
    let config = Config::load(&Sources::new(vec![], environment)).unwrap();
    let engine = app::engine(config, Arc::new(RevocationList::empty()));
    match part.as_str() {
        "decide" => decide(&engine, &question, now, times),
        "check" => check(engine, &question, now, times),
        _ => unreachable!("decide or check"),
    }
}

fn decide(engine: &Engine, question: &[u8], now: Timestamp, times: u64) {
    let question = CheckRequest::decode(question).unwrap();
    let http = question.attributes.unwrap().request.unwrap().http.unwrap();
    let HttpRequest { method, scheme, host, path, headers, .. } = http;
    let mut headers: Vec<_> = headers.into_iter().collect();
    // A map has them in an order that differs from run to run.
    headers.sort_unstable();
    for _ in 0..times {
        let map = headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() });
        let input = CheckInput {
            method: &method,
            scheme: &scheme,
            host: &host,
            path: &path,
            headers: Headers::new(map.collect(), Vec::new()),
            ..CheckInput::default()
        };
        let decision = black_box(engine.decide(black_box(&input), now));
        assert!(decision.is_allowed(), "{decision:?}");
    }
}

fn check(engine: Engine, question: &[u8], now: Timestamp, times: u64) {
    let checker = Checker::new(Arc::new(engine), Arc::new(Fixed(now)), DecisionLog::new(0.0));
    let service = CheckService::new(Arc::new(checker));
    let answer = CheckResponse::decode(service.answer(Some(question))).unwrap();
    assert!(matches!(answer.http_response, Some(HttpResponse::OkResponse(_))), "{answer:?}");
    for _ in 0..times {
        black_box(service.answer(Some(black_box(question))));
    }
}
