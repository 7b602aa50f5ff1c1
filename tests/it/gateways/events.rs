//! The example's reader of server-sent events, held to the specification's own
//! cases, however the bytes come.

use proptest::prelude::*;

#[path = "../../../examples/agents/events.rs"]
mod reader;

use reader::{Events, MAX_EVENT_BYTES, TooLong};

/// The events of these pieces.
fn events(pieces: &[&[u8]]) -> Result<Vec<String>, TooLong> {
    let mut reader = Events::default();
    let mut all = Vec::new();
    for piece in pieces {
        all.extend(reader.take(piece)?);
    }
    Ok(all.into_iter().map(|data| String::from_utf8(data).unwrap()).collect())
}

/// A stream, and the events that it is.
const CASES: [(&str, &[&str]); 20] = [
    ("data: a\n\ndata: b\n\n", &["a", "b"]),
    ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
    ("data: a\r\rdata: b\r\r", &["a", "b"]),
    ("data: a\r\ndata: b\r\n\r\n", &["a\nb"]),
    // Ends of each kind, mixed.
    ("data: a\r\n\ndata: b\n\r\ndata: c\r\n\r", &["a", "b", "c"]),
    // These are the specification's.
    ("data: YHOO\ndata: +2\ndata: 10\n\n", &["YHOO\n+2\n10"]),
    (
        ": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
        &["first event", "second event"],
    ),
    ("data\n\ndata\ndata\n\ndata:", &["", "\n"]),
    ("data:test\n\ndata: test\n\n", &["test", "test"]),
    // One blank is taken away, and no more.
    ("data:  a \n\n", &[" a "]),
    // A colon may be in a value.
    ("data: {\"a\":1}\n\n", &["{\"a\":1}"]),
    // Comments, and fields of no use here, with data or without.
    (": ping\n\n: ping\n\ndata: a\n: between\ndata: b\n\n", &["a\nb"]),
    ("event: x\nid: 1\nretry: 9\n\nevent: y\ndata: a\n\n", &["a"]),
    // Names are told apart by every letter.
    ("Data: a\ndata : b\n data: c\ndatax: d\n\ndata: e\n\n", &["e"]),
    // A byte order mark, at the start alone.
    ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]),
    ("\u{feff}\u{feff}data: a\n\n", &[]),
    ("data: Zoë ✓\n\n", &["Zoë ✓"]),
    ("data: [DONE]\n\n", &["[DONE]"]),
    // What is not ended is none.
    ("data: a\n", &[]),
    ("\n\n\r\n\r", &[]),
];

#[test]
fn each_stream_is_its_events_wherever_it_is_split() {
    for (stream, expected) in CASES {
        let bytes = stream.as_bytes();
        assert_eq!(events(&[bytes]).unwrap(), expected, "{stream:?}");
        for at in 0..=bytes.len() {
            let (head, tail) = bytes.split_at(at);
            assert_eq!(events(&[head, tail]).unwrap(), expected, "{stream:?} split at {at}");
        }
        let bytewise: Vec<&[u8]> = bytes.chunks(1).collect();
        assert_eq!(events(&bytewise).unwrap(), expected, "{stream:?} by bytes");
    }
}

#[test]
fn a_line_and_an_event_have_a_longest_and_no_longer() {
    let line = |length: usize| format!("data:{}", "x".repeat(length - "data:".len()));
    let most = line(MAX_EVENT_BYTES);
    assert_eq!(events(&[most.as_bytes(), b"\n\n"]).unwrap().len(), 1);
    let longer = line(MAX_EVENT_BYTES + 1);
    assert_eq!(events(&[longer.as_bytes()]), Err(TooLong));
    // A comment, too, and one that comes by bytes.
    let comment = format!(":{}", "x".repeat(MAX_EVENT_BYTES));
    assert_eq!(events(&[comment.as_bytes()]), Err(TooLong));
    let bytewise: Vec<&[u8]> = comment.as_bytes().chunks(1).collect();
    assert_eq!(events(&bytewise), Err(TooLong));
    // Short lines without an end to their event.
    let endless = "data: 0123456789\n".repeat(MAX_EVENT_BYTES / 11 + 1);
    assert_eq!(events(&[endless.as_bytes()]), Err(TooLong));
    // Many events are no long one.
    let many = "data: 0123456789\n\n".repeat(MAX_EVENT_BYTES / 5);
    assert_eq!(events(&[many.as_bytes()]).unwrap().len(), MAX_EVENT_BYTES / 5);
}

proptest! {
    #[test]
    fn what_is_written_as_events_is_read_as_them(
        data in prop::collection::vec("[^\r\n]{0,20}(\n[^\r\n]{0,20}){0,3}", 0..8),
        end in prop::sample::select(vec!["\n", "\r\n", "\r"]),
        splits in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
    ) {
        let mut stream = String::new();
        for event in &data {
            for line in event.split('\n') {
                stream.push_str(&format!("data: {line}{end}"));
            }
            stream.push_str(end);
        }
        let mut at: Vec<usize> = splits.iter().map(|split| split.index(stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        let pieces: Vec<&[u8]> =
            at.windows(2).map(|pair| &stream.as_bytes()[pair[0]..pair[1]]).collect();
        prop_assert_eq!(events(&pieces).unwrap(), data);
    }
}
