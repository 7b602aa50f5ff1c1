//! The agents of the examples: whose they are, and how many there may be.

use std::{
    io::Write as _,
    net::TcpStream,
    time::{Duration, Instant},
};

use reqwest::{Client, Method, StatusCode};
use serde_json::{Value, json};

use crate::{
    stack::{Answer, start_agents, token},
    support::{PATIENCE, Running, free_port},
    talk::Talk,
};

/// The agents alone, with these variables.
pub(crate) struct Alone {
    pub(crate) running: Running,
    pub(crate) port: u16,
    client: Client,
}

impl Alone {
    pub(crate) fn start(environment: &[(&str, &str)]) -> Self {
        let port = free_port();
        Self { running: start_agents(port, environment), port, client: Client::new() }
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        user: &str,
        body: &Value,
    ) -> (u16, Value) {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        self.send_text(method, path, user, body).await
    }

    async fn send_text(
        &self,
        method: Method,
        path: &str,
        user: &str,
        body: String,
    ) -> (u16, Value) {
        let url = format!("http://127.0.0.1:{}/api/agents{path}", self.port);
        let answer =
            self.client.request(method, url).bearer_auth(user).body(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn get(&self, path: &str, user: &str) -> (u16, Value) {
        self.send(Method::GET, path, user, &Value::Null).await
    }

    pub(crate) async fn make(&self, user: &str, wish: &Value) -> String {
        let (status, made) = self.send(Method::POST, "", user, wish).await;
        assert_eq!(status, 201, "{made}");
        format!("/{}", made["id"].as_str().unwrap())
    }

    pub(crate) async fn talk(&self, agent: &str, user: &str) -> Talk {
        Talk::begin(self.port, &format!("/api/agents{agent}/react"), user).await
    }
}

pub(crate) fn user(id: &str, role: &str) -> String {
    token(&json!({ "userId": id, "role": role }))
}

#[tokio::test]
async fn an_agent_is_made_listed_set_and_deleted_by_its_user() {
    let agents = Alone::start(&[]);
    let ann = user("7", "REGULAR");
    let none = json!([]);
    assert_eq!(agents.get("", &ann).await.1["agents"], none);

    let wish = json!({ "modelType": "m", "name": "Bob", "workflowId": 3 });
    let (status, made) = agents.send(Method::POST, "", &ann, &wish).await;
    assert_eq!((status, &made["name"], &made["modelType"]), (201, &json!("Bob"), &json!("m")));
    assert_eq!((&made["owner"], &made["settings"]), (&json!("7"), &json!({})));
    let made_at = humantime::parse_rfc3339(made["createdAt"].as_str().unwrap()).unwrap();
    assert!(made_at.elapsed().unwrap() < Duration::from_secs(60));
    let id = made["id"].as_str().unwrap();
    let path = format!("/{id}");

    let unnamed = agents.make(&ann, &json!({ "modelType": "m" })).await;
    let (status, list) = agents.get("", &ann).await;
    let names: Vec<&Value> =
        list["agents"].as_array().unwrap().iter().map(|agent| &agent["name"]).collect();
    assert_eq!((status, names), (200, vec![&json!("Bob"), &json!(unnamed[1..])]));
    let (status, one) = agents.get(&path, &ann).await;
    assert_eq!((status, &one["id"]), (200, &json!(id)));

    let settings = format!("{path}/settings");
    for (method, body, after) in [
        (Method::PATCH, json!({ "temperature": 1 }), json!({ "temperature": 1 })),
        (Method::PATCH, json!({ "maxSteps": 5 }), json!({ "temperature": 1, "maxSteps": 5 })),
        (Method::PATCH, json!({ "temperature": null }), json!({ "maxSteps": 5 })),
        (Method::PUT, json!({ "systemPrompt": "x" }), json!({ "systemPrompt": "x" })),
        (Method::PUT, json!({}), json!({})),
    ] {
        let changed = agents.send(method, &settings, &ann, &body).await;
        assert_eq!(changed, (200, after.clone()), "{body}");
        assert_eq!(agents.get(&settings, &ann).await, (200, after.clone()));
        assert_eq!(agents.get(&path, &ann).await.1["settings"], after);
    }

    let (status, deleted) = agents.send(Method::DELETE, &path, &ann, &Value::Null).await;
    assert_eq!((status, &deleted["deleted"]), (200, &json!(true)));
    let (status, again) = agents.send(Method::DELETE, &path, &ann, &Value::Null).await;
    assert_eq!(
        (status, &again["error"]),
        (404, &json!("no such agent: GET /api/agents lists yours"))
    );
    assert_eq!(agents.get(&path, &ann).await.0, 404);
    assert_eq!(agents.get("", &ann).await.1["agents"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn an_agent_of_another_is_none_but_to_an_admin() {
    let agents = Alone::start(&[]);
    let [ann, eve, bob] =
        [user("7", "REGULAR"), user("8", "REGULAR"), user("9", "ADMIN")].map(|token| token);
    let theirs = agents.make(&ann, &json!({ "modelType": "m" })).await;
    let own = agents.make(&bob, &json!({ "modelType": "m" })).await;
    let count = async |who: &str| agents.get("", who).await.1["agents"].as_array().unwrap().len();
    assert_eq!((count(&ann).await, count(&eve).await, count(&bob).await), (1, 0, 2));

    for agent in [&theirs, &own, "/agent-99"] {
        for (method, path) in [
            (Method::GET, ""),
            (Method::DELETE, ""),
            (Method::GET, "/settings"),
            (Method::PUT, "/settings"),
            (Method::PATCH, "/settings"),
            (Method::GET, "/react"),
        ] {
            let path = format!("{agent}{path}");
            let (status, body) = agents.send(method, &path, &eve, &json!({})).await;
            // Nothing tells whether there is one.
            let error = "no such agent: GET /api/agents lists yours";
            assert_eq!((status, body["error"].as_str()), (404, Some(error)), "{path}");
        }
        let react = format!("/api/agents{agent}/react");
        assert_eq!(Talk::open(agents.port, &react, &eve).await.err(), Some(404), "{agent}");
    }
    assert_eq!(agents.get(&own, &ann).await.0, 404);
    assert_eq!(agents.get(&theirs, &bob).await.0, 200);
    assert!(Talk::open(agents.port, &format!("/api/agents{theirs}/react"), &bob).await.is_ok());
    assert_eq!(agents.send(Method::DELETE, &theirs, &bob, &Value::Null).await.0, 200);
    assert_eq!(count(&ann).await, 0);
}

#[tokio::test]
async fn what_makes_no_agent_is_refused_with_its_fix() {
    let agents = Alone::start(&[]);
    let ann = user("7", "REGULAR");
    let long = "x".repeat(201);
    for (body, status, fix) in [
        (String::new(), 400, "modelType is required"),
        ("{}".into(), 400, "modelType is required"),
        (json!({ "name": "Bob" }).to_string(), 400, "modelType is required"),
        (json!({ "modelType": "" }).to_string(), 400, "modelType is required"),
        (json!({ "modelType": 1 }).to_string(), 400, "modelType is required"),
        ("modelType=m".into(), 400, "modelType is required"),
        (json!({ "modelType": long }).to_string(), 400, "200 bytes"),
        (json!({ "modelType": "m", "name": long }).to_string(), 400, "200 bytes"),
        (json!({ "modelType": "m", "name": "x".repeat(33_000) }).to_string(), 413, "32 KiB"),
        (
            json!({ "modelType": "m", "settings": { "temperature": 3 } }).to_string(),
            400,
            "from 0 to 2",
        ),
        (
            json!({ "modelType": "m", "settings": { "x": "x".repeat(17_000) } }).to_string(),
            400,
            "16 KiB",
        ),
    ] {
        let (told, answer) = agents.send_text(Method::POST, "", &ann, body.clone()).await;
        assert_eq!(told, status, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(fix), "{answer}");
        assert_eq!(answer["received"]["method"], "POST");
    }
    assert_eq!(agents.get("", &ann).await.1["agents"], json!([]));

    let agent = agents.make(&ann, &json!({ "modelType": "m" })).await;
    let settings = format!("{agent}/settings");
    for body in [
        json!([]),
        json!("x"),
        json!({ "systemPrompt": 1 }),
        json!({ "temperature": "1" }),
        json!({ "temperature": -0.1 }),
        json!({ "maxTokens": 0 }),
        json!({ "maxTokens": 1.5 }),
        json!({ "other": "x".repeat(17_000) }),
    ] {
        for method in [Method::PUT, Method::PATCH] {
            assert_eq!(agents.send(method, &settings, &ann, &body).await.0, 400, "{body}");
        }
    }
    assert_eq!(agents.get(&settings, &ann).await.1, json!({}));

    // So many are one's own, and no more; another's are not counted.
    for _ in 1..50 {
        agents.make(&ann, &json!({ "modelType": "m" })).await;
    }
    let (status, full) = agents.send(Method::POST, "", &ann, &json!({ "modelType": "m" })).await;
    assert_eq!((status, &full["error"]), (409, &json!("you have 50 agents: delete one first")));
    agents.make(&user("8", "REGULAR"), &json!({ "modelType": "m" })).await;
    agents.send(Method::DELETE, &agent, &ann, &Value::Null).await;
    agents.make(&ann, &json!({ "modelType": "m" })).await;

    let (status, wrong) = agents.send(Method::PUT, "", &ann, &Value::Null).await;
    assert_eq!(StatusCode::from_u16(status).unwrap(), StatusCode::METHOD_NOT_ALLOWED);
    assert!(wrong["error"].as_str().unwrap().contains("`allow`"));
}

#[tokio::test]
async fn there_are_so_many_agents_and_conversations_and_no_more() {
    let agents = Alone::start(&[]);
    let wish = json!({ "modelType": "m" });
    let users: Vec<String> = (0..20).map(|id| user(&id.to_string(), "REGULAR")).collect();
    let made = users.iter().flat_map(|user| std::iter::repeat_n(user, 50));
    let made = futures_util::future::join_all(made.map(|user| agents.make(user, &wish))).await;
    assert_eq!(made.len(), 1000);
    let ann = user("ann", "REGULAR");
    let (status, full) = agents.send(Method::POST, "", &ann, &wish).await;
    assert_eq!(status, 503, "{full}");
    assert!(full["error"].as_str().unwrap().contains("as many agents as may be"), "{full}");

    let bob = user("0", "ADMIN");
    let react = format!("/api/agents{}/react", made[0]);
    let mut open = Vec::new();
    for _ in 0..128 {
        open.push(Talk::open(agents.port, &react, &bob).await.unwrap());
    }
    assert_eq!(Talk::open(agents.port, &react, &bob).await.err(), Some(503));
    // One that ends makes room.
    open.pop().unwrap().close().await;
    let deadline = Instant::now() + PATIENCE;
    while Talk::open(agents.port, &react, &bob).await.is_err() {
        assert!(Instant::now() < deadline, "nobody makes room");
    }
}

#[test]
fn a_body_that_does_not_come_is_not_waited_for() {
    let port = free_port();
    let _agents = start_agents(port, &[]);
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /api/agents HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {}\r\ncontent-length: 9\r\n\r\n{{",
        user("7", "REGULAR")
    );
    stream.write_all(head.as_bytes()).unwrap();
    assert_eq!(Answer::read(&mut stream).status, 408);
}
