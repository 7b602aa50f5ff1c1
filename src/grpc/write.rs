//! Writes a `CheckResponse` from its end to its beginning: the length of a
//! message stands before it, and is known when it has been written. No tree of
//! messages is built; a property test holds the bytes to the generated types.

use bytes::{Buf as _, Bytes};

use super::convert::code;
use crate::authz::{Answer, Decision, Denial, Grant, SHADOW, Verdict};

/// An answer that allows has some 600 bytes.
const USUAL_BYTES: usize = 1024;
/// The length of what stands before a message (gRPC over HTTP/2,
/// Length-Prefixed-Message).
pub(super) const PREFIX_BYTES: usize = 5;

/// `OVERWRITE_IF_EXISTS_OR_ADD`.
const OVERWRITE: u64 = 2;

/// The answer that says what was decided, behind gRPC's prefix.
pub(super) fn response(decision: &Decision<'_>) -> Bytes {
    let mut out = Backwards::default();
    out.message(4, |out| metadata(out, decision));
    match &decision.verdict {
        Verdict::Allow(grant) => out.message(3, |out| ok_response(out, grant)),
        Verdict::Deny(denial) => out.message(2, |out| denied_response(out, denial)),
        Verdict::Answer(answer) => out.message(2, |out| answer_response(out, answer)),
    }
    out.message(1, |out| out.number(1, code(decision)));
    let length = u32::try_from(out.written()).unwrap_or(u32::MAX);
    out.bytes(&length.to_be_bytes());
    // Not compressed.
    out.bytes(&[0]);
    out.finish()
}

fn ok_response(out: &mut Backwards, grant: &Grant<'_>) {
    for name in grant.remove_query.iter().rev() {
        out.text(8, name);
    }
    for (name, value) in grant.answer_headers().rev() {
        add_header(out, name, value);
    }
    for name in grant.remove.iter().rev() {
        out.text(5, name);
    }
    for (name, value) in grant.set.iter().rev() {
        set_header(out, name, value);
    }
}

fn denied_response(out: &mut Backwards, denial: &Denial) {
    let body = denial.body();
    if !body.is_empty() {
        out.text(3, &body);
    }
    for (name, value) in denial.headers().iter().rev() {
        set_header(out, name, value);
    }
    out.message(1, |out| out.number(1, u64::from(denial.status())));
}

/// What this service answers itself: for the gateway, a denial with another status.
fn answer_response(out: &mut Backwards, answer: &Answer<'_>) {
    if !answer.body.is_empty() {
        out.text(3, answer.body);
    }
    for (name, value) in answer.headers.iter().rev() {
        set_header(out, name, value);
    }
    out.message(1, |out| out.number(1, u64::from(answer.status)));
}

/// Over whatever is there, by the new field and by the old one: versions of
/// Envoy have differed in what they take for the default.
fn set_header(out: &mut Backwards, name: &str, value: &str) {
    out.message(2, |out| {
        out.number(3, OVERWRITE);
        // `append`: a `BoolValue` of false is empty.
        out.message(2, |_| {});
        header(out, name, value);
    });
}

/// Beside whatever the upstream answers with, by both fields as above; of the new
/// one, `APPEND_IF_EXISTS_OR_ADD` is the default.
fn add_header(out: &mut Backwards, name: &str, value: &str) {
    out.message(6, |out| {
        out.message(2, |out| out.number(1, 1));
        header(out, name, value);
    });
}

fn header(out: &mut Backwards, name: &str, value: &str) {
    out.message(1, |out| {
        for (number, text) in [(2, value), (1, name)] {
            if !text.is_empty() {
                out.text(number, text);
            }
        }
    });
}

/// `google.protobuf.Struct`, by rising keys.
fn metadata(out: &mut Backwards, decision: &Decision<'_>) {
    for (key, value) in decision.metadata().iter().rev() {
        if *key == SHADOW {
            if !decision.shadow.is_empty() {
                out.entry(key, |out| out.message(6, |out| shadow(out, decision)));
            }
        } else if let Some(value) = value {
            out.entry(key, |out| out.text(3, value));
        }
    }
}

/// `google.protobuf.ListValue`.
fn shadow(out: &mut Backwards, decision: &Decision<'_>) {
    for name in decision.shadow.iter().rev() {
        out.message(1, |out| out.text(3, name));
    }
}

/// A buffer that is filled from its end.
struct Backwards {
    buffer: Vec<u8>,
    start: usize,
}

impl Default for Backwards {
    fn default() -> Self {
        Self { buffer: vec![0; USUAL_BYTES], start: USUAL_BYTES }
    }
}

impl Backwards {
    fn written(&self) -> usize {
        self.buffer.len() - self.start
    }

    fn bytes(&mut self, bytes: &[u8]) {
        if self.start < bytes.len() {
            self.grow(bytes.len());
        }
        let start = self.start - bytes.len();
        if let Some(place) = self.buffer.get_mut(start..self.start) {
            place.copy_from_slice(bytes);
            self.start = start;
        }
    }

    #[cold]
    fn grow(&mut self, more: usize) {
        let mut larger = vec![0; self.buffer.len() * 2 + more];
        let start = larger.len() - self.written();
        if let (Some(to), Some(from)) = (larger.get_mut(start..), self.buffer.get(self.start..)) {
            to.copy_from_slice(from);
        }
        (self.buffer, self.start) = (larger, start);
    }

    fn varint(&mut self, mut value: u64) {
        if let Ok(byte @ 0..0x80) = u8::try_from(value) {
            return self.bytes(&[byte]);
        }
        let (mut bytes, mut count) = ([0; 10], 0);
        for byte in &mut bytes {
            count += 1;
            let low = (value & 0x7f) as u8;
            value >>= 7;
            *byte = if value == 0 { low } else { low | 0x80 };
            if value == 0 {
                break;
            }
        }
        self.bytes(bytes.get(..count).unwrap_or_default());
    }

    fn number(&mut self, number: u32, value: u64) {
        // The default is not written.
        if value != 0 {
            self.varint(value);
            self.varint(u64::from(number << 3));
        }
    }

    fn text(&mut self, number: u32, text: &str) {
        self.message(number, |out| out.bytes(text.as_bytes()));
    }

    fn message(&mut self, number: u32, content: impl FnOnce(&mut Self)) {
        let before = self.written();
        content(self);
        let length = self.written() - before;
        self.varint(length as u64);
        self.varint(u64::from(number << 3 | 2));
    }

    /// An entry of a map of texts to `google.protobuf.Value`.
    fn entry(&mut self, key: &str, value: impl FnOnce(&mut Self)) {
        self.message(1, |out| {
            out.message(2, value);
            out.text(1, key);
        });
    }

    fn finish(self) -> Bytes {
        let mut bytes = Bytes::from(self.buffer);
        bytes.advance(self.start);
        bytes
    }
}
