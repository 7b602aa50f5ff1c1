//! The agents of the examples talk to a model, at a model server whose answers
//! are written by hand.

use std::{
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    sync::mpsc::{Receiver, channel},
    time::{Duration, Instant},
};

use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use crate::{
    agents::{Alone, user},
    stack::{self, token},
    support::{PATIENCE, free_port},
    talk::Talk,
};

const KEY: &str = "sk-very-secret-master-key";

/// The agents alone, with this model server.
fn with(model: &Model) -> Alone {
    Alone::start(&[("LITELLM_BASE_URL", &model.base), ("LITELLM_MASTER_KEY", KEY)])
}

/// What follows the pieces of an answer.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Ends,
    /// It stays open, as if the model went on thinking.
    Stays,
}

/// A model server that answers each question with these pieces.
struct Model {
    base: String,
    asked: Receiver<(String, Value)>,
    left: Receiver<Instant>,
}

impl Model {
    fn answering(pieces: &[&str], then: Then) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}/v1/", listener.local_addr().unwrap());
        let (asks, asked) = channel();
        let (leaves, left) = channel();
        let pieces: Vec<String> = pieces.iter().map(|&piece| piece.to_owned()).collect();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (mut stream, pieces) = (stream.unwrap(), pieces.clone());
                let (asks, leaves) = (asks.clone(), leaves.clone());
                std::thread::spawn(move || {
                    let Some(question) = question(&mut stream) else { return };
                    let _ = asks.send(question);
                    for piece in &pieces {
                        let _ = stream.write_all(piece.as_bytes());
                        // So that each piece is read for itself.
                        std::thread::sleep(Duration::from_millis(2));
                    }
                    while then == Then::Stays && matches!(stream.read(&mut [0; 64]), Ok(1..)) {}
                    let _ = leaves.send(Instant::now());
                });
            }
        });
        Self { base, asked, left }
    }

    /// The head and the body of the question that comes next.
    fn asked(&self) -> (String, Value) {
        self.asked.recv_timeout(PATIENCE).unwrap()
    }
}

fn question(stream: &mut TcpStream) -> Option<(String, Value)> {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4096]);
    loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n")
            && let Ok(body) = serde_json::from_str(body)
        {
            return Some((head.to_ascii_lowercase(), body));
        }
        match stream.read(&mut chunk) {
            Ok(length @ 1..) => bytes.extend_from_slice(&chunk[..length]),
            _ => return None,
        }
    }
}

const STREAM: &str =
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";

#[tokio::test]
async fn an_answer_comes_piece_by_piece_and_the_conversation_is_told_again() {
    let model = Model::answering(
        &[
            STREAM,
            ": thinking\n\ndata: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n",
            "\nda",
            "ta: {\"choices\":[{\"delta\":{\"content\":\"Good \"}}]}\n\ndata: {\"choices\":[{\"delta\":",
            "{\"content\":\"mor\\n\"},\"finish_reason\":null}]}\r\n\r",
            "\ndata: {\"choices\":[{\"delta\":{\"content\":\"ning, Zoë\"}}]}\n\n",
            "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n",
            "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\ndata: [DONE]\n\n",
        ],
        Then::Ends,
    );
    let agents = with(&model);
    let ann = user("7", "REGULAR");
    let agent = agents.make(&ann, &json!({ "modelType": "gpt" })).await;
    let mut talk = agents.talk(&agent, &ann).await;
    let end = json!({ "type": "complete", "state": "AVAILABLE", "finishReason": "length" });
    let pieces = ["Good ", "mor\n", "ning, Zoë"];
    assert_eq!(talk.ask("hello").await, (pieces.map(str::to_owned).to_vec(), end.clone()));

    let (head, body) = model.asked();
    assert!(head.starts_with("post /v1/chat/completions http/1.1\r\n"), "{head}");
    assert!(head.contains(&format!("authorization: bearer {KEY}")), "{head}");
    assert!(!head.contains(&ann.to_ascii_lowercase()) && !head.contains("x-user"), "{head}");
    let hello = json!({ "role": "user", "content": "hello" });
    let asked = json!({ "model": "gpt", "messages": [hello], "stream": true, "user": "7" });
    assert_eq!(body, asked);

    // Settings take effect at once.
    let settings =
        json!({ "systemPrompt": "Be brief.", "temperature": 0.5, "maxTokens": 9, "x": 1 });
    agents.send(Method::PUT, &format!("{agent}/settings"), &ann, &settings).await;
    assert_eq!(talk.ask("again").await.1, end);
    let messages = json!([
        { "role": "system", "content": "Be brief." },
        hello,
        { "role": "assistant", "content": "Good mor\nning, Zoë" },
        { "role": "user", "content": "again" },
    ]);
    let asked = json!({
        "model": "gpt", "messages": messages, "stream": true, "user": "7",
        "temperature": 0.5, "max_tokens": 9,
    });
    assert_eq!(model.asked().1, asked);

    // Another WebSocket is another conversation.
    let mut other = agents.talk(&agent, &ann).await;
    assert_eq!(other.ask("hello").await.1, end);
    assert_eq!(model.asked().1["messages"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_was_said_long_ago_is_not_told_again() {
    let end = "data: [DONE]\n\n";
    let model = Model::answering(&[BEGUN[0], BEGUN[1], end], Then::Ends);
    let agents = with(&model);
    let ann = user("7", "REGULAR");
    let agent = agents.make(&ann, &json!({ "modelType": "m" })).await;
    let mut talk = agents.talk(&agent, &ann).await;
    let said = |letter: &str| letter.repeat(60_000);
    for (letter, before) in [("a", vec![]), ("b", vec!["a", "W"]), ("c", vec!["W", "b", "W"])] {
        assert_eq!(talk.ask(&said(letter)).await.1["type"], "complete");
        let asked = model.asked().1;
        let begins: Vec<&str> = (asked["messages"].as_array().unwrap().iter())
            .map(|message| &message["content"].as_str().unwrap()[..1])
            .collect();
        assert_eq!(begins, [before, vec![letter]].concat());
    }
}

/// An answer that has begun, and is not at its end.
const BEGUN: [&str; 2] = [STREAM, "data: {\"choices\":[{\"delta\":{\"content\":\"Well\"}}]}\n\n"];

#[tokio::test]
async fn a_conversation_ends_with_its_token_its_agent_and_its_client_and_so_does_the_call() {
    let model = Model::answering(&BEGUN, Then::Stays);
    let agents = Alone::start(&[
        ("LITELLM_BASE_URL", &model.base),
        ("LITELLM_MASTER_KEY", KEY),
        ("PORTCULLIS__TOKENS__LEEWAY", "0s"),
    ]);
    let ann = user("7", "REGULAR");
    let agent = agents.make(&ann, &json!({ "modelType": "m" })).await;
    for way in ["drop", "close", "stop", "delete", "expire"] {
        let agent = if way == "delete" {
            agents.make(&ann, &json!({ "modelType": "m" })).await
        } else {
            agent.clone()
        };
        let now = portcullis::clock::Clock::now(&portcullis::clock::SystemClock).as_secs();
        let short = token(&json!({ "userId": "7", "iat": now, "exp": now + 3 }));
        let mut talk = agents.talk(&agent, if way == "expire" { &short } else { &ann }).await;
        talk.say("hello").await;
        assert_eq!(talk.hear().await["state"], "GENERATING", "{way}");
        assert_eq!(talk.hear().await, json!({ "type": "delta", "content": "Well" }));
        model.asked();
        assert!(model.left.try_recv().is_err(), "{way}: the call ended by itself");

        let mut begin = Instant::now();
        match way {
            "drop" => drop(talk),
            "close" => talk.close().await,
            "stop" => {
                // Meanwhile it hears, and says that it is busy.
                talk.say("hello?").await;
                let busy = talk.hear().await;
                assert_eq!(
                    (&busy["type"], &busy["state"]),
                    (&json!("error"), &json!("GENERATING"))
                );
                talk.send(Message::text("{\"type\":\"stop\"}")).await;
                assert_eq!(talk.hear().await["state"], "STOPPING");
                assert_eq!(talk.hear().await["finishReason"], "stopped");
            }
            "delete" => {
                agents.send(Method::DELETE, &agent, &ann, &Value::Null).await;
                let close = (1001, "the agent was deleted".to_owned());
                assert_eq!(talk.hear_close().await, close);
            }
            _ => {
                assert_eq!(talk.hear_close().await, (1008, "the token has expired".to_owned()));
                begin = Instant::now();
            }
        }
        let left = model.left.recv_timeout(PATIENCE).unwrap();
        let took = left.saturating_duration_since(begin);
        assert!(took < Duration::from_secs(1), "{way}: the call went on for {took:?}");
    }
}

#[tokio::test]
async fn what_the_model_server_says_in_an_error_is_not_passed_on() {
    let key = format!("wrong {KEY} at 10.1.2.3");
    let error = |kind: &str| format!("{{\"error\":{{\"message\":\"{key}\",\"type\":\"{kind}\"}}}}");
    let answer = |status: &str, body: &str| {
        let length = body.len();
        let close = "connection: close";
        format!(
            "HTTP/1.1 {status}\r\n{close}\r\nx-secret: {key}\r\ncontent-length: {length}\r\n\r\n{body}"
        )
    };
    let broken = |rest: &str| format!("{}{}{rest}", BEGUN[0], BEGUN[1]);
    let long_line = format!("data: {}", "x".repeat(70_000));
    let long_answer = format!("{}\n\n", &BEGUN[1].trim_end().replace("Well", &"x".repeat(60_000)));
    let elsewhere = format!(
        "HTTP/1.1 302 Found\r\nlocation: /v1/x\r\nx: {key}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"
    );
    for (told, expected) in [
        (answer("401 No", &error("auth_error")), "refuses the key"),
        (answer("403 No", "<html>"), "refuses the key"),
        (answer("400 No", &error("no_db_connection")), "refuses the key"),
        (answer("400 No", &error("invalid_request_error")), "modelType has to be one"),
        (answer("404 No", ""), "modelType has to be one"),
        (answer("429 No", &error("throttling")), "too much to do"),
        (answer("500 No", &error("internal")), "answered with an error"),
        (answer("529 No", ""), "answered with an error"),
        (elsewhere, "answered with an error"),
        (answer("200 OK", &error("x")), "did not answer with a stream"),
        (broken(&format!("data: {}\n\n", error("x"))), "answered with an error"),
        (broken(""), "broke off"),
        (broken("data: {\"choices\""), "broke off"),
        (broken(&format!("data: {key}\n\n")), "did not answer in JSON"),
        (broken(&long_line), "too long"),
        (broken(&long_answer.repeat(3)), "too long"),
        (String::new(), "cannot be reached"),
    ] {
        let model = Model::answering(&[&told], Then::Ends);
        let agents = with(&model);
        let ann = user("7", "REGULAR");
        let agent = agents.make(&ann, &json!({ "modelType": "m" })).await;
        let mut talk = agents.talk(&agent, &ann).await;
        let error = talk.ask_in_vain("hello").await;
        assert!(error.starts_with("the model server"), "{error}");
        assert!(error.contains(expected), "{error}: expected {expected}");
        // Whoever runs it is told, too; nobody is told the key.
        let holds_none = |text: &str| [KEY, "10.1.2.3"].iter().all(|secret| !text.contains(secret));
        assert!(holds_none(&talk.heard), "{}", talk.heard);
        let log = agents.running.line(&error);
        assert!(log.starts_with("agents: ") && holds_none(&agents.running.log()), "{log}");
        // The question is not asked twice when it is asked again.
        model.asked();
        talk.ask_in_vain("again").await;
        assert_eq!(model.asked().1["messages"], json!([{ "role": "user", "content": "again" }]));
    }
}

#[tokio::test]
async fn nonsense_is_answered_with_what_to_send_and_without_a_model_server_all_comes_back() {
    let model = Model::answering(&BEGUN, Then::Stays);
    let agents = with(&model);
    let ann = user("7", "REGULAR");
    let agent = agents.make(&ann, &json!({ "modelType": "m" })).await;
    let mut talk = agents.talk(&agent, &ann).await;
    for nonsense in [
        Message::text("hello"),
        Message::text("{}"),
        Message::text("{\"type\":\"message\"}"),
        Message::text("{\"type\":\"message\",\"content\":\"\"}"),
        Message::text("{\"type\":\"message\",\"content\":1}"),
        Message::binary(&b"{\"type\":\"stop\"}"[..]),
    ] {
        talk.send(nonsense.clone()).await;
        let told = talk.hear().await;
        assert!(told["error"].as_str().unwrap().starts_with("send {\"type\""), "{nonsense}");
    }
    talk.send(Message::text("{\"type\":\"stop\"}")).await;
    assert_eq!(talk.hear().await["state"], "AVAILABLE");
    // One that is too long ends it.
    talk.say(&"x".repeat(70_000)).await;
    assert!(!matches!(talk.hear_message().await, Some(Message::Text(_))));
    assert!(model.asked.try_recv().is_err(), "the model was asked");

    let agents = Alone::start(&[]);
    let agent = agents.make(&ann, &json!({ "modelType": "m" })).await;
    let path = format!("/api/agents{agent}/react");
    let mut talk = Talk::open(agents.port, &path, &ann).await.unwrap();
    for message in [Message::text("hello"), Message::binary(&b"\0\xff"[..])] {
        talk.send(message.clone()).await;
        assert_eq!(talk.hear_message().await, Some(message));
    }
}

#[test]
fn a_model_server_that_cannot_be_meant_is_refused_at_the_start_without_its_secrets() {
    for (variable, value, cause) in [
        ("LITELLM_BASE_URL", "litellm:4000", "LITELLM_BASE_URL has to be an address"),
        ("LITELLM_BASE_URL", "ftp://u:s3cret@litellm", "LITELLM_BASE_URL has to be an address"),
        ("LITELLM_BASE_URL", "http://x/?key=s3cret", "LITELLM_BASE_URL has to be an address"),
        ("LITELLM_MASTER_KEY", "s3cret\nx", "LITELLM_MASTER_KEY has to be one line"),
    ] {
        let mut agents = stack::agents(free_port(), &[(variable, value)]);
        assert_eq!(agents.ended(), Some(1), "{variable}={value}");
        let log = agents.log();
        assert!(log.contains(cause) && !log.contains("s3cret"), "{log}");
    }
}
