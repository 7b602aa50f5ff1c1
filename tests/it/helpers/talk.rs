//! A client that talks to an agent over its WebSocket.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::{net::TcpStream, time::timeout};
use tokio_tungstenite::{
    MaybeTlsStream, WebSocketStream,
    tungstenite::{Error, Message},
};

use crate::support::PATIENCE;

pub(crate) struct Talk {
    socket: WebSocketStream<MaybeTlsStream<TcpStream>>,
    /// All that came, as it came.
    pub(crate) heard: String,
}

impl Talk {
    /// Opens it at this port and path, or tells the status of the refusal.
    pub(crate) async fn open(port: u16, path: &str, token: &str) -> Result<Self, u16> {
        let url = format!("ws://127.0.0.1:{port}{path}?access-token={token}");
        match tokio_tungstenite::connect_async(url).await {
            Ok((socket, _)) => Ok(Self { socket, heard: String::new() }),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(other) => panic!("{other}"),
        }
    }

    /// Opens one that has to open, with a model to talk to.
    pub(crate) async fn begin(port: u16, path: &str, token: &str) -> Self {
        let mut talk = Self::open(port, path, token).await.unwrap();
        assert_eq!(talk.hear().await, json!({ "type": "init", "state": "AVAILABLE" }));
        talk
    }

    pub(crate) async fn send(&mut self, message: Message) {
        self.socket.send(message).await.unwrap();
    }

    pub(crate) async fn say(&mut self, content: &str) {
        let message = json!({ "type": "message", "content": content });
        self.send(Message::text(message.to_string())).await;
    }

    pub(crate) async fn hear_message(&mut self) -> Option<Message> {
        let message = timeout(PATIENCE, self.socket.next()).await.expect("nothing comes");
        message.and_then(Result::ok)
    }

    pub(crate) async fn hear(&mut self) -> Value {
        match self.hear_message().await {
            Some(Message::Text(text)) => {
                self.heard.push_str(&text);
                serde_json::from_str(&text).unwrap()
            }
            other => panic!("{other:?}"),
        }
    }

    /// Says this, and hears the pieces of the answer and what comes at last.
    pub(crate) async fn ask(&mut self, content: &str) -> (Vec<String>, Value) {
        self.say(content).await;
        assert_eq!(self.hear().await, json!({ "type": "state", "state": "GENERATING" }));
        let mut pieces = Vec::new();
        loop {
            let message = self.hear().await;
            if message["type"] != "delta" {
                return (pieces, message);
            }
            pieces.push(message["content"].as_str().unwrap().to_owned());
        }
    }

    /// Says this, and hears why there is no answer.
    pub(crate) async fn ask_in_vain(&mut self, content: &str) -> String {
        let (_, last) = self.ask(content).await;
        assert_eq!((&last["type"], &last["state"]), (&json!("error"), &json!("AVAILABLE")));
        last["error"].as_str().unwrap().to_owned()
    }

    /// The code and the reason of the close frame that comes now.
    pub(crate) async fn hear_close(&mut self) -> (u16, String) {
        match self.hear_message().await {
            Some(Message::Close(Some(close))) => (close.code.into(), close.reason.to_string()),
            other => panic!("{other:?}"),
        }
    }

    /// Leaves as one does, with a close frame.
    pub(crate) async fn close(mut self) {
        self.socket.close(None).await.unwrap();
    }
}
