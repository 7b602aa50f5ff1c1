//! Keys for machines through every gateway: the upstream hears whose they are, and
//! never what they are.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
    process::Command,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis::api_key::entry_of_file;
use serde_json::{Value, json};

use crate::{
    api_keys::{Made, made},
    stack::{Mode, NEWEST, REPLACES_CREDENTIAL, Stack, UPSTREAM, token},
    support::root,
};

/// The answers of a model, by whose library asks.
const OPENAI: &str = r#"{"id":"1","object":"chat.completion","created":1,"model":"m","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"hello from openai"}}]}"#;
const ANTHROPIC: &str = r#"{"id":"1","type":"message","role":"assistant","model":"m","stop_reason":"end_turn","content":[{"type":"text","text":"hello from anthropic"}],"usage":{"input_tokens":1,"output_tokens":1}}"#;

/// An upstream that keeps the heads of what comes, and answers as a model would.
pub(crate) fn upstream() -> (u16, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heads = Arc::<Mutex<Vec<String>>>::default();
    let kept = Arc::clone(&heads);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut all, mut chunk) = (stream.unwrap(), Vec::new(), [0; 4096]);
            let end = loop {
                if let Some(at) = all.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at + 4;
                }
                match stream.read(&mut chunk) {
                    Ok(length @ 1..) => all.extend_from_slice(&chunk[..length]),
                    _ => break all.len(),
                }
            };
            let head = String::from_utf8_lossy(&all[..end]).to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.map_or(0, |length| length.trim().parse().unwrap());
            let mut body = all.len() - end;
            while body < length {
                match stream.read(&mut chunk) {
                    Ok(more @ 1..) => body += more,
                    _ => break,
                }
            }
            let body = if head.contains("/anthropic/") { ANTHROPIC } else { OPENAI };
            kept.lock().unwrap().push(String::from_utf8_lossy(&all).into_owned());
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{body}",
                body.len()
            );
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (port, heads)
}

const RULES: &str = r#"[
    { name = "health", path = "/api/healthcheck", access = "public" },
    { name = "open", path_prefix = "/open", access = "public" },
    { name = "rest", path_prefix = "/", roles = ["REGULAR"] },
]"#;

/// A gateway that takes this key, and the upstream behind it.
fn stack(mode: Mode, key: &Made, room: &tempfile::TempDir) -> (Stack, Arc<Mutex<Vec<String>>>) {
    let file = room.path().join("keys.toml");
    std::fs::write(&file, entry_of_file(&key.key)).unwrap();
    let (upstream, heads) = upstream();
    let file = file.to_str().unwrap();
    let upstream = upstream.to_string();
    let variables = [
        (UPSTREAM, upstream.as_str()),
        ("PORTCULLIS__RULES", RULES),
        ("PORTCULLIS__API_KEYS__FILE", file),
        REPLACES_CREDENTIAL,
    ];
    let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &variables);
    heads.lock().unwrap().clear();
    (stack, heads)
}

#[test]
fn no_key_reaches_an_upstream_through_any_gateway() {
    for mode in [Mode::Strict, Mode::Http, Mode::Nginx, Mode::Caddy, Mode::Location] {
        let (key, stranger) = (made(|_| {}), made(|_| {}));
        let room = tempfile::tempdir().unwrap();
        let (stack, heads) = stack(mode, &key, &room);
        let basic = |text: &str| format!("Basic {}", STANDARD.encode(format!("ci:{text}")));
        let own = format!("Bearer {}", token(&json!({})));
        for (path, text, expected) in [
            ("/api/agents", &key.text, 200),
            ("/open/x", &key.text, 200),
            ("/open/x", &stranger.text, 200),
            ("/api/agents", &stranger.text, 401),
        ] {
            for (name, value) in [
                ("x-api-key", text.clone()),
                ("X-API-Key", text.clone()),
                ("authorization", format!("Bearer {text}")),
                ("authorization", basic(text)),
            ] {
                let answer = stack.send("GET", path, &[(name, &value)]);
                assert_eq!(answer.status, expected, "{mode:?} {path} {name}: {answer:?}");
                let arrived = std::mem::take(&mut *heads.lock().unwrap());
                assert_eq!(arrived.len(), usize::from(expected == 200), "{mode:?}");
                for head in &arrived {
                    let hidden = STANDARD.encode(format!("ci:{text}"));
                    assert!(!head.contains("pck_") && !head.contains(&hidden), "{mode:?}: {head}");
                    let knows = head.to_ascii_lowercase().contains("x-user-id: 77");
                    assert_eq!(knows, text == &key.text, "{mode:?} {path}: {head}");
                }
            }
        }
        let two =
            stack.send("GET", "/api/agents", &[("x-api-key", &key.text), ("authorization", &own)]);
        // nginx knows 401 and 403 alone.
        assert!([400, 403].contains(&two.status), "{mode:?}: {two:?}");
        assert!(heads.lock().unwrap().is_empty());
        // A token goes on as before.
        let answer =
            stack.send("GET", "/api/agents", &[("authorization", &own), ("cookie", "a=1")]);
        assert_eq!(answer.status, 200, "{mode:?}");
        let head = heads.lock().unwrap().pop().unwrap();
        assert!(head.contains(&own) && head.contains("a=1"), "{mode:?}: {head}");
    }
}

#[test]
fn the_libraries_of_openai_and_anthropic_are_let_in_by_their_key_alone() {
    let (key, stranger) = (made(|_| {}), made(|_| {}));
    let room = tempfile::tempdir().unwrap();
    let (stack, heads) = stack(Mode::Strict, &key, &room);
    let ask = |text: &str| -> Value {
        let said = Command::new("node")
            .arg(root().join("tests/node/models.mjs"))
            .args([&format!("http://127.0.0.1:{}", stack.port), text])
            .output()
            .unwrap();
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        serde_json::from_slice(&said.stdout).unwrap()
    };
    let answers = ask(&key.text);
    assert_eq!(answers["openai"], "hello from openai", "{answers}");
    assert_eq!(answers["anthropic"], "hello from anthropic", "{answers}");
    let arrived = std::mem::take(&mut *heads.lock().unwrap());
    assert_eq!(arrived.len(), 2);
    for head in arrived {
        assert!(!head.contains("pck_") && head.contains("x-user-id: 77"), "{head}");
        assert!(!head.to_ascii_lowercase().contains("authorization:"), "{head}");
    }
    assert_eq!(ask(&stranger.text), json!({ "openai": 401, "anthropic": 401 }));
    assert!(heads.lock().unwrap().is_empty());
}
