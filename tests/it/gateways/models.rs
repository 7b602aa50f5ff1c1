//! The agents' list of models, from an OpenAI-compatible server.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use crate::{
    stack::{Mode, NEWEST, Stack, bearer},
    support::PATIENCE,
};

/// A model server that answers each connection with these bytes.
fn model_server(answer: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let mut head = Vec::new();
            let mut chunk = [0; 4096];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(length @ 1..) => head.extend_from_slice(&chunk[..length]),
                    _ => break,
                }
            }
            let _ = sender.send(String::from_utf8_lossy(&head).into_owned());
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    (address, received)
}

#[test]
fn the_agents_list_the_models_of_their_server_and_never_its_key() {
    const KEY: &str = "sk-very-secret-master-key";
    for (answer, expected) in [
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 21\r\nconnection: close\r\n\r\n{\"data\":[{\"id\":\"m\"}]}",
            200,
        ),
        (
            "HTTP/1.1 500 Oops\r\ncontent-length: 25\r\nconnection: close\r\n\r\nsk-very-secret-master-key",
            502,
        ),
        ("HTTP/1.1 200 OK\r\ncontent-length: 4\r\nconnection: close\r\n\r\n<ht>", 502),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 27\r\nconnection: close\r\n\r\n\"sk-very-secret-master-key\"",
            502,
        ),
        ("", 502),
    ] {
        let (base, received) = model_server(answer);
        let stack = Stack::with(
            NEWEST,
            Mode::Strict,
            &[("LITELLM_BASE_URL", &base), ("LITELLM_MASTER_KEY", KEY)],
        );
        let answer =
            stack.send("GET", "/api/agents/models", &[("authorization", &bearer("REGULAR"))]);
        assert_eq!(answer.status, expected, "{answer:?}");
        let asked = received.recv_timeout(PATIENCE).unwrap().to_ascii_lowercase();
        assert!(asked.starts_with("get /v1/models ") && asked.contains(&format!("bearer {KEY}")));
        assert!(!answer.body.contains(KEY) && !stack.agents.log().contains(KEY));
        if expected == 200 {
            assert_eq!(answer.json()["data"][0]["id"], "m");
        } else {
            assert!(answer.json()["error"].as_str().unwrap().starts_with("the model server"));
        }
        assert_eq!(stack.send("GET", "/api/agents/models", &[]).status, 401);
    }
    let stack = Stack::start(NEWEST, Mode::Strict);
    let unset = stack.send("GET", "/api/agents/models", &[("authorization", &bearer("REGULAR"))]);
    assert_eq!(
        (unset.status, unset.json()["error"].as_str()),
        (502, Some("LITELLM_BASE_URL is not set"))
    );
}
