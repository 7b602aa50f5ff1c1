//! WebSockets through a real Envoy.

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message, client::IntoClientRequest as _};

use crate::stack::{MODES, NEWEST, Stack, token};

async fn websocket(stack: &Stack, react: &str, query: &str) -> Result<String, u16> {
    let url = format!("ws://127.0.0.1:{}{react}{query}", stack.port);
    let request = url.into_client_request().unwrap();
    let (mut socket, _) = match tokio_tungstenite::connect_async(request).await {
        Ok(open) => open,
        Err(Error::Http(response)) => return Err(response.status().as_u16()),
        Err(other) => panic!("{other}"),
    };
    socket.send(Message::text("hello")).await.unwrap();
    Ok(socket.next().await.unwrap().unwrap().into_text().unwrap().to_string())
}

#[tokio::test]
async fn a_websocket_opens_and_echoes_with_a_token_in_its_query_alone() {
    for mode in MODES {
        let stack = tokio::task::spawn_blocking(move || Stack::start(NEWEST, mode)).await.unwrap();
        let react = stack.new_agent("any");
        let good = token(&json!({}));
        assert_eq!(
            websocket(&stack, &react, &format!("?access-token={good}")).await.as_deref(),
            Ok("hello")
        );
        assert_eq!(
            websocket(&stack, &react, &format!("?a=1&access-token={good}&b=2")).await.as_deref(),
            Ok("hello")
        );
        assert_eq!(websocket(&stack, &react, "").await, Err(401));
        assert_eq!(websocket(&stack, &react, "?access-token=junk").await, Err(401));
        let inactive = token(&json!({ "role": "INACTIVE" }));
        assert_eq!(websocket(&stack, &react, &format!("?access-token={inactive}")).await, Err(403));
        assert_eq!(
            websocket(&stack, &react, &format!("?access-token={good}&access-token={good}")).await,
            Err(400)
        );
        // No token in any log: Envoy's access log, portcullis', the agents'.
        stack.gateway.line(&react);
        let logs =
            [stack.gateway.log(), stack.portcullis.as_ref().unwrap().log(), stack.agents.log()]
                .concat();
        assert!(!logs.contains(&good) && !logs.contains("access-token"), "{logs}");
        assert!(
            logs.contains("\"decision\":\"allow\"") && logs.contains("\"user_id\":\"7\""),
            "{logs}"
        );
    }
}
