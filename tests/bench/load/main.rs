//! Loads a server, over gRPC or HTTP/1.1, and prints as JSON how many answers
//! came and how long they took.
//!
//! Beside what h2load and wrk can do: a token of its own in every question,
//! every answer looked at, and a constant rate at which a late answer delays no
//! question: a latency runs from the moment at which its question was due. It
//! never sleeps, so give it a core of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    reason = "a generator of load may fail loudly"
)]

mod connection;
mod http1;
mod http2;
mod questions;

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use clap::Parser;
use connection::{Connection, Protocol};
use serde_json::json;

/// How long after the end an answer may come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Loads a server and prints JSON.
#[derive(Debug, Parser)]
struct Args {
    /// `127.0.0.1:9191` or `unix:/path`
    target: String,
    /// The bytes of the question: a `CheckRequest`, or a whole request of HTTP/1.1
    #[arg(long)]
    question: PathBuf,
    /// The question is one of HTTP/1.1, and 200 its good answer
    #[arg(long)]
    http1: bool,
    /// What a good answer says
    #[arg(long, value_enum, default_value_t = Verdict::Allow)]
    expect: Verdict,
    /// Signs each question's token anew, with a `jti` of its own, by the key in this file
    #[arg(long)]
    renew: Option<PathBuf>,
    /// To begin with; over HTTP/1.1 more are opened when all of them wait
    #[arg(long, default_value_t = 4)]
    connections: usize,
    /// Questions at a time on each connection, when no rate is given; over HTTP/1.1 one
    #[arg(long, default_value_t = 16)]
    streams: usize,
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Ends after so many questions, if that is before the time is over
    #[arg(long, default_value_t = u64::MAX)]
    questions: u64,
    /// Questions a second, over all connections
    #[arg(long)]
    rate: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, clap::ValueEnum)]
enum Verdict {
    Allow,
    Deny,
}

/// What came of the questions.
#[derive(Default)]
struct Outcome {
    nanoseconds: Vec<u64>,
    answers: u64,
    wrong: u64,
    example: Option<String>,
}

impl Outcome {
    fn add(&mut self, due: Option<Instant>, result: Result<(), String>) {
        self.answers += 1;
        if let Some(due) = due {
            self.nanoseconds.push(u64::try_from(due.elapsed().as_nanos()).unwrap_or(u64::MAX));
        }
        if let Err(error) = result {
            self.wrong += 1;
            self.example.get_or_insert(error);
        }
    }

    fn microseconds(&self, share: f64) -> Option<f64> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index into a list that fits into memory, and a time of minutes at most"
        )]
        self.nanoseconds
            .get((self.nanoseconds.len() as f64 * share) as usize)
            .map(|&nanoseconds| nanoseconds as f64 / 1e3)
    }
}

struct Load {
    args: Args,
    question: Vec<u8>,
    connections: Vec<Connection>,
    outcome: Outcome,
}

impl Load {
    fn connect(&mut self) {
        let Args { target, renew, expect, .. } = &self.args;
        let bytes = if self.args.http1 { self.question.clone() } else { framed(&self.question) };
        // No two connections ask with the same token.
        let count = u64::try_from(self.connections.len()).unwrap() << 40;
        let questions = questions::Questions::new(bytes, renew.as_deref(), count);
        let protocol: Box<dyn Protocol> = if self.args.http1 {
            Box::new(http1::Http1::new(questions))
        } else {
            Box::new(http2::Http2::new(questions, *expect))
        };
        self.connections.push(Connection::new(target, protocol));
    }

    /// Takes what has arrived, and sends what waits.
    fn turn(&mut self) {
        for connection in &mut self.connections {
            connection.turn(&mut self.outcome);
        }
    }

    fn is_waiting(&self) -> bool {
        self.connections.iter().any(|connection| connection.waiting() > 0)
    }

    /// Each stream asks again when it has its answer.
    fn as_fast_as_answered(&mut self) {
        let ends = Instant::now() + Duration::from_secs_f64(self.args.seconds);
        let mut left = self.args.questions;
        while left > 0 && Instant::now() < ends {
            let now = Instant::now();
            for connection in &mut self.connections {
                while left > 0 && connection.waiting() < self.args.streams {
                    connection.ask(Some(now));
                    left -= 1;
                }
            }
            self.turn();
        }
    }

    /// A question is asked when it is due, whatever became of those before it.
    fn at_rate(&mut self, rate: u32) {
        // Until everything is warm, what is seen is not how it goes on.
        let warm_up = rate / 4;
        let between = Duration::from_secs_f64(1.0 / f64::from(rate));
        let started = Instant::now();
        let mut asked = 0;
        while started.elapsed().as_secs_f64() < self.args.seconds {
            let due = started + between * asked;
            if Instant::now() >= due {
                self.next_free(asked as usize).ask((asked >= warm_up).then_some(due));
                asked += 1;
            }
            self.turn();
        }
    }

    fn next_free(&mut self, turn: usize) -> &mut Connection {
        let at = if self.args.http1 {
            self.connections.iter().position(|connection| connection.waiting() == 0)
        } else {
            Some(turn % self.connections.len())
        };
        let at = at.unwrap_or_else(|| {
            self.connect();
            self.connections.len() - 1
        });
        &mut self.connections[at]
    }
}

/// As gRPC frames it.
fn framed(question: &[u8]) -> Vec<u8> {
    let length = u32::try_from(question.len()).expect("a short question");
    [&[0], &length.to_be_bytes()[..], question].concat()
}

fn main() {
    let args = Args::parse();
    let question = std::fs::read(&args.question).expect("the question");
    let mut load = Load { args, question, connections: Vec::new(), outcome: Outcome::default() };
    while load.connections.len() < load.args.connections {
        load.connect();
    }
    let started = Instant::now();
    match load.args.rate {
        Some(rate) => load.at_rate(rate),
        None => load.as_fast_as_answered(),
    }
    let seconds = started.elapsed().as_secs_f64();
    let ended = Instant::now();
    while load.is_waiting() && ended.elapsed() < PATIENCE {
        load.turn();
    }
    let mut outcome = load.outcome;
    for connection in &load.connections {
        for _ in 0..connection.waiting() {
            outcome.add(None, Err("no answer".into()));
        }
    }
    outcome.nanoseconds.sort_unstable();
    let said = json!({
        "answers": outcome.answers,
        "wrong": outcome.wrong,
        "example": outcome.example,
        "seconds": seconds,
        "p50": outcome.microseconds(0.5),
        "p99": outcome.microseconds(0.99),
        "p999": outcome.microseconds(0.999),
    });
    #[expect(clippy::print_stdout, reason = "it is what this program is for")]
    {
        println!("{said}");
    }
}
