//! A conversation with an agent, over a WebSocket.
//!
//! The messages are JSON, in the forms of Texera's agent service. A client
//! sends `{"type":"message","content":…}` and `{"type":"stop"}`; it gets
//!
//! - `{"type":"init","state":"AVAILABLE"}` at first;
//! - `{"type":"state","state":"GENERATING"}`, and `"STOPPING"`;
//! - `{"type":"delta","content":…}` for each piece of the answer, as it comes;
//! - `{"type":"complete","state":"AVAILABLE","finishReason":…}`;
//! - `{"type":"error","state":…,"error":…}`: the cause, and the fix.
//!
//! Each WebSocket is one conversation: what was said on it is told to the
//! model again, and forgotten when it closes. It ends when the token expires
//! (1008), when the agent is deleted (1001), and when the client goes away;
//! with it ends the call to the model server. Where there is none, what is
//! said comes back as it is.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use axum::{
    extract::{
        Path, State, WebSocketUpgrade,
        ws::{
            CloseFrame, Message, Utf8Bytes, WebSocket, close_code,
            rejection::WebSocketUpgradeRejection,
        },
    },
    http::StatusCode,
    response::Response,
};
use portcullis::guard::Expired;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use crate::{
    arrived::{Caller, Refusal},
    completion::{Completion, Part},
    models::Failure,
    routes::Service,
    store::Agent,
};

/// The most of a message, in bytes.
const MAX_MESSAGE_BYTES: usize = 64 * 1024;
/// The most that is told to the model again, in bytes of text.
const MAX_HISTORY_BYTES: usize = 128 * 1024;
/// The most conversations at a time.
const MAX_CONVERSATIONS: usize = 128;
/// How long a client may take to receive a message.
const SEND_WITHIN: Duration = Duration::from_secs(30);

/// How many more conversations there may be.
#[derive(Clone, Debug)]
pub(crate) struct Conversations(Arc<Semaphore>);

impl Default for Conversations {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_CONVERSATIONS)))
    }
}

/// The client is gone, or takes nothing any more.
struct Left;

pub(crate) async fn open(
    State(service): State<Service>,
    caller: Caller,
    Path(id): Path<String>,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Response {
    let agent = match service.agents.get(&caller, &id) {
        Ok(agent) => agent,
        Err(refusal) => return caller.answer(Err(refusal)),
    };
    let Ok(upgrade) = upgrade else {
        let fix = "a WebSocket is to be opened here";
        return caller.answer(Err(Refusal(StatusCode::UPGRADE_REQUIRED, fix)));
    };
    let Ok(permit) = Arc::clone(&service.conversations.0).try_acquire_owned() else {
        let full = "there are as many conversations as may be: try again later";
        return caller.answer(Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, full)));
    };
    let upgrade = upgrade.max_message_size(MAX_MESSAGE_BYTES).max_frame_size(MAX_MESSAGE_BYTES);
    upgrade.on_upgrade(async move |mut socket| {
        let _permit = permit;
        let conversation = async {
            tokio::select! {
                () = agent.gone.cancelled() => Some((close_code::AWAY, "the agent was deleted")),
                _ = converse(&mut socket, &service, &caller, &agent.id) => None,
            }
        };
        let end = match caller.admission.until_expired(conversation).await {
            Ok(end) => end,
            Err(Expired) => Some((close_code::POLICY, "the token has expired")),
        };
        if let Some((code, reason)) = end {
            let close = CloseFrame { code, reason: Utf8Bytes::from_static(reason) };
            // The peer may be gone already.
            let _ = send_message(&mut socket, Message::Close(Some(close))).await;
        }
    })
}

async fn converse(
    socket: &mut WebSocket,
    service: &Service,
    caller: &Caller,
    id: &str,
) -> Result<(), Left> {
    if !service.models.is_set() {
        return echo(socket).await;
    }
    send(socket, json!({ "type": "init", "state": "AVAILABLE" })).await?;
    let mut history = History::default();
    loop {
        match hear(socket).await? {
            Said::Message(content) => {
                // As it is now: its settings may have been changed.
                let Ok(agent) = service.agents.get(caller, id) else { return Ok(()) };
                history.push("user", content);
                answer(socket, service, caller, &agent, &mut history).await?;
            }
            Said::Stop => send(socket, json!({ "type": "state", "state": "AVAILABLE" })).await?,
            Said::Nonsense => complain(socket, "AVAILABLE", NONSENSE).await?,
        }
    }
}

const NONSENSE: &str = "send {\"type\":\"message\",\"content\":…} or {\"type\":\"stop\"}";

/// Streams the model's answer, and keeps it in mind.
async fn answer(
    socket: &mut WebSocket,
    service: &Service,
    caller: &Caller,
    agent: &Agent,
    history: &mut History,
) -> Result<(), Left> {
    send(socket, json!({ "type": "state", "state": "GENERATING" })).await?;
    let completion = service.models.complete(agent, &caller.user.id, &history.messages());
    let mut text = String::new();
    let reason = match stream(socket, completion, &mut text).await? {
        Ok(reason) => reason,
        Err(failure) => {
            crate::say(&failure.to_string());
            // So that it is not asked twice when it is asked again.
            history.0.pop_back();
            return complain(socket, "AVAILABLE", &failure.to_string()).await;
        }
    };
    history.push("assistant", text);
    let end = json!({ "type": "complete", "state": "AVAILABLE", "finishReason": reason });
    send(socket, end).await
}

/// Passes the parts on as they come, and hears meanwhile whether the client
/// stops it or goes away. Why it ended, at last.
async fn stream(
    socket: &mut WebSocket,
    mut completion: Completion,
    text: &mut String,
) -> Result<Result<String, Failure>, Left> {
    loop {
        // Either is asked again where it was given up, and nothing is lost.
        tokio::select! {
            said = hear(socket) => match said? {
                Said::Stop => {
                    drop(completion);
                    send(socket, json!({ "type": "state", "state": "STOPPING" })).await?;
                    return Ok(Ok("stopped".to_owned()));
                }
                Said::Message(_) => {
                    let busy = "the agent is answering: wait for \"complete\", or send {\"type\":\"stop\"}";
                    complain(socket, "GENERATING", busy).await?;
                }
                Said::Nonsense => complain(socket, "GENERATING", NONSENSE).await?,
            },
            part = completion.next() => match part {
                Ok(Part::Text(part)) => {
                    text.push_str(&part);
                    send(socket, json!({ "type": "delta", "content": part })).await?;
                }
                Ok(Part::End(reason)) => return Ok(Ok(reason)),
                Err(failure) => return Ok(Err(failure)),
            },
        }
    }
}

/// What was said so far, the oldest first: by whom, and what.
#[derive(Default)]
struct History(VecDeque<(&'static str, String)>);

impl History {
    fn push(&mut self, role: &'static str, content: String) {
        self.0.push_back((role, content));
        let mut bytes: usize = self.0.iter().map(|(_, content)| content.len()).sum();
        while bytes > MAX_HISTORY_BYTES {
            let Some((_, oldest)) = self.0.pop_front() else { return };
            bytes -= oldest.len();
        }
    }

    fn messages(&self) -> Vec<Value> {
        let message = |(role, content): &(_, _)| json!({ "role": role, "content": content });
        self.0.iter().map(message).collect()
    }
}

/// What a client can say.
enum Said {
    Message(String),
    Stop,
    Nonsense,
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Form {
    Message { content: String },
    Stop,
}

async fn hear(socket: &mut WebSocket) -> Result<Said, Left> {
    loop {
        return match socket.recv().await {
            Some(Ok(Message::Text(text))) => Ok(match serde_json::from_str(&text) {
                Ok(Form::Message { content }) if !content.is_empty() => Said::Message(content),
                Ok(Form::Stop) => Said::Stop,
                _ => Said::Nonsense,
            }),
            Some(Ok(Message::Binary(_))) => Ok(Said::Nonsense),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
            Some(Ok(Message::Close(_)) | Err(_)) | None => Err(Left),
        };
    }
}

async fn echo(socket: &mut WebSocket) -> Result<(), Left> {
    while let Some(Ok(message)) = socket.recv().await {
        if matches!(message, Message::Text(_) | Message::Binary(_)) {
            send_message(socket, message).await?;
        }
    }
    Ok(())
}

async fn complain(socket: &mut WebSocket, state: &str, cause: &str) -> Result<(), Left> {
    send(socket, json!({ "type": "error", "state": state, "error": cause })).await
}

async fn send(socket: &mut WebSocket, message: Value) -> Result<(), Left> {
    send_message(socket, Message::text(message.to_string())).await
}

async fn send_message(socket: &mut WebSocket, message: Message) -> Result<(), Left> {
    match tokio::time::timeout(SEND_WITHIN, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(Left),
    }
}
