//! As much of HTTP/2 as it takes to ask `Check` over gRPC, and no more, so that
//! one core can ask for more than another can answer.

use std::{collections::VecDeque, time::Instant};

use portcullis::proto::envoy::service::auth::v3::{CheckResponse, check_response::HttpResponse};
use prost::Message as _;

use super::{Outcome, Verdict, connection::Protocol, questions::Questions};

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;

const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

const MAX_CONCURRENT_STREAMS: u16 = 3;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// So large that nobody ever waits, as Envoy's are.
const WINDOW: u32 = 1 << 30;

/// The headers that Envoy sends, but for those of HPACK's static table. The time
/// is longer than that of `envoy.yaml`, for machines that have other work.
const HEADERS_SENT: [(&str, &str); 7] = [
    (":path", "/envoy.service.auth.v3.Authorization/Check"),
    (":authority", "portcullis"),
    ("te", "trailers"),
    ("grpc-timeout", "10S"),
    ("content-type", "application/grpc"),
    ("x-envoy-internal", "true"),
    ("x-forwarded-for", "10.0.0.5"),
];

pub(crate) struct Http2 {
    questions: Questions,
    expect: Verdict,
    /// Questions that are not sent yet.
    asked: VecDeque<Option<Instant>>,
    /// Those that are, by their streams, the first of which is `first`.
    streams: VecDeque<Stream>,
    first: u32,
    open: usize,
    /// What the peer allows.
    max_open: usize,
    window: u64,
    /// What it was allowed and has used up.
    received: u32,
    has_begun: bool,
    has_sent_headers: bool,
    /// An answer that was found to be good: one like it is, too.
    good: Vec<u8>,
}

struct Stream {
    due: Option<Instant>,
    is_open: bool,
    answer: Vec<u8>,
}

impl Http2 {
    pub(crate) fn new(questions: Questions, expect: Verdict) -> Self {
        Self {
            questions,
            expect,
            asked: VecDeque::new(),
            streams: VecDeque::new(),
            first: 1,
            open: 0,
            max_open: 100,
            window: 65_535,
            received: 0,
            has_begun: false,
            has_sent_headers: false,
            good: Vec::new(),
        }
    }

    fn begin(&mut self, output: &mut Vec<u8>) {
        if !self.has_begun {
            self.has_begun = true;
            output.extend_from_slice(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
            let mut settings = INITIAL_WINDOW_SIZE.to_be_bytes().to_vec();
            settings.extend_from_slice(&WINDOW.to_be_bytes());
            frame(output, SETTINGS, 0, 0, &settings);
            frame(output, WINDOW_UPDATE, 0, 0, &WINDOW.to_be_bytes());
        }
    }

    fn send(&mut self, output: &mut Vec<u8>) {
        if self.received > WINDOW / 2 {
            frame(output, WINDOW_UPDATE, 0, 0, &self.received.to_be_bytes());
            self.received = 0;
        }
        let length = self.questions.length() as u64;
        while self.open < self.max_open && self.window >= length {
            let Some(due) = self.asked.pop_front() else { return };
            let id = self.first + 2 * u32::try_from(self.streams.len()).unwrap();
            frame(output, HEADERS, END_HEADERS, id, &self.headers());
            frame(output, DATA, END_STREAM, id, self.questions.next());
            self.streams.push_back(Stream { due, is_open: true, answer: Vec::new() });
            self.open += 1;
            self.window -= length;
        }
    }

    /// Literals that the peer keeps in its table, and from then on what stands
    /// there.
    fn headers(&mut self) -> Vec<u8> {
        // `:method: POST` and `:scheme: http`.
        let mut block = vec![0x83, 0x86];
        for (at, (name, value)) in (0u8..).zip(HEADERS_SENT) {
            if self.has_sent_headers {
                // The last one that was put in has the index 62.
                block.push(0x80 | (62 + 6 - at));
            } else {
                block.push(0x40);
                for text in [name, value] {
                    block.push(u8::try_from(text.len()).unwrap());
                    block.extend_from_slice(text.as_bytes());
                }
            }
        }
        self.has_sent_headers = true;
        block
    }

    fn take(&mut self, kind: u8, flags: u8, id: u32, payload: &[u8], output: &mut Vec<u8>) {
        match kind {
            SETTINGS if flags & ACK == 0 => {
                for setting in payload.chunks_exact(6) {
                    let name = u16::from_be_bytes([setting[0], setting[1]]);
                    let value = number(&setting[2..]);
                    match name {
                        MAX_CONCURRENT_STREAMS => self.max_open = value as usize,
                        INITIAL_WINDOW_SIZE => {
                            assert!(value as usize >= self.questions.length(), "a narrow window");
                        }
                        _ => {}
                    }
                }
                frame(output, SETTINGS, ACK, 0, &[]);
            }
            PING if flags & ACK == 0 => frame(output, PING, ACK, 0, payload),
            WINDOW_UPDATE if id == 0 => self.window += u64::from(number(payload)),
            GOAWAY => {
                unreachable!("the server ends the connection: {}", String::from_utf8_lossy(payload))
            }
            DATA => {
                self.received += u32::try_from(payload.len()).unwrap();
                self.stream(id).answer.extend_from_slice(payload);
            }
            _ => {}
        }
    }

    fn stream(&mut self, id: u32) -> &mut Stream {
        &mut self.streams[((id - self.first) / 2) as usize]
    }

    fn end(&mut self, id: u32, outcome: &mut Outcome) {
        // A stream may be reset once its answer is whole.
        if id < self.first || !self.stream(id).is_open {
            return;
        }
        let stream = self.stream(id);
        let (due, answer) = (stream.due, std::mem::take(&mut stream.answer));
        stream.is_open = false;
        self.open -= 1;
        let result = self.look_at(answer);
        outcome.add(due, result);
        while self.streams.front().is_some_and(|stream| !stream.is_open) {
            self.streams.pop_front();
            self.first += 2;
        }
    }

    fn look_at(&mut self, answer: Vec<u8>) -> Result<(), String> {
        if answer == self.good && !answer.is_empty() {
            return Ok(());
        }
        // An error of gRPC is an answer without a message.
        let message = answer.get(5..).filter(|message| !message.is_empty()).ok_or("an error")?;
        let read = CheckResponse::decode(message).map_err(|error| error.to_string())?;
        let code = read.status.as_ref().map_or(-1, |status| status.code);
        let is_good = match (self.expect, &read.http_response) {
            (Verdict::Allow, Some(HttpResponse::OkResponse(_))) => code == 0,
            (Verdict::Deny, Some(HttpResponse::DeniedResponse(_))) => code > 0,
            _ => false,
        };
        if !is_good {
            return Err(format!("{read:?}"));
        }
        self.good = answer;
        Ok(())
    }
}

impl Protocol for Http2 {
    fn ask(&mut self, due: Option<Instant>) {
        self.asked.push_back(due);
    }

    fn waiting(&self) -> usize {
        self.asked.len() + self.open
    }

    fn turn(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>, outcome: &mut Outcome) {
        self.begin(output);
        let mut at = 0;
        while let Some(head) = input.get(at..at + 9) {
            let length = number(&[0, head[0], head[1], head[2]]) as usize;
            let (kind, flags, id) = (head[3], head[4], number(&head[5..]));
            let Some(payload) = input.get(at + 9..at + 9 + length) else { break };
            self.take(kind, flags, id, payload, output);
            let is_end = matches!(kind, DATA | HEADERS) && flags & END_STREAM != 0;
            if is_end || kind == RST_STREAM {
                self.end(id, outcome);
            }
            at += 9 + length;
        }
        input.drain(..at);
        self.send(output);
    }
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

fn frame(output: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    output.extend_from_slice(&u32::try_from(payload.len()).unwrap().to_be_bytes()[1..]);
    output.extend_from_slice(&[kind, flags]);
    output.extend_from_slice(&id.to_be_bytes());
    output.extend_from_slice(payload);
}
