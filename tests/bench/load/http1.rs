//! HTTP/1.1, a question at a time.

use std::time::Instant;

use super::{Outcome, connection::Protocol, questions::Questions};

pub(crate) struct Http1 {
    questions: Questions,
    is_asked: bool,
    due: Option<Instant>,
    is_waiting: bool,
}

impl Http1 {
    pub(crate) fn new(questions: Questions) -> Self {
        Self { questions, is_asked: false, due: None, is_waiting: false }
    }
}

impl Protocol for Http1 {
    fn ask(&mut self, due: Option<Instant>) {
        (self.due, self.is_asked, self.is_waiting) = (due, true, true);
    }

    fn waiting(&self) -> usize {
        usize::from(self.is_waiting)
    }

    fn turn(&mut self, input: &mut Vec<u8>, output: &mut Vec<u8>, outcome: &mut Outcome) {
        if let Some(length) = whole_length(input)
            && input.len() >= length
        {
            let is_good = input.starts_with(b"HTTP/1.1 200 ");
            let result = if is_good { Ok(()) } else { Err(String::from_utf8_lossy(input).into()) };
            outcome.add(self.due, result);
            input.clear();
            self.is_waiting = false;
        }
        if std::mem::take(&mut self.is_asked) {
            output.extend_from_slice(self.questions.next());
        }
    }
}

/// How long the answer is by its own word, once its head is there.
fn whole_length(answer: &[u8]) -> Option<usize> {
    let head = answer.windows(4).position(|window| window == b"\r\n\r\n")? + 4;
    let text = std::str::from_utf8(&answer[..head]).ok()?.to_ascii_lowercase();
    let body = text.lines().find_map(|line| line.strip_prefix("content-length:"));
    Some(head + body.map_or(0, |length| length.trim().parse().unwrap_or(0)))
}
