//! A small agent service, as it stands behind a gateway: it checks once more
//! with [`portcullis::guard`], and answers with the identity headers that it
//! received, so that tests and people see what the gateway passed on.
//!
//! It is configured as portcullis is (`AUTH_JWT_SECRET` will do), and by:
//!
//! - `AGENTS_LISTEN`: the address, `127.0.0.1:8081` unless it is set;
//! - `LITELLM_BASE_URL`, `LITELLM_MASTER_KEY`: an OpenAI-compatible model
//!   server, for `/api/agents/models`.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{
        Path, Request, State, WebSocketUpgrade,
        ws::{CloseFrame, Message, Utf8Bytes, WebSocket, close_code},
    },
    http::{HeaderName, StatusCode},
    middleware,
    response::{IntoResponse, Response},
    routing::{any, get},
};
use portcullis::{
    config::{Config, Sources},
    guard::{Admission, Expired, GuardLayer},
};
use serde_json::{Value, json};

/// The most that is taken from the model server, in bytes.
const MAX_MODELS_BYTES: usize = 1024 * 1024;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let guard = GuardLayer::new(Config::load(&Sources::of_process(vec![]))?);
    // Layers are passed from the last to the first: what arrived is kept as it
    // was before the guard puts its own headers in place.
    let service = router(ModelServer::from_environment()?)
        .layer(guard)
        .layer(middleware::map_request(keep_what_arrived));

    let address = variable("AGENTS_LISTEN").unwrap_or_else(|| "127.0.0.1:8081".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    #[expect(clippy::print_stdout, reason = "who starts it wants to know where it listens")]
    {
        println!("agents: listening on {}", listener.local_addr()?);
    }
    axum::serve(listener, service).await?;
    Ok(())
}

fn router(models: ModelServer) -> Router {
    Router::new()
        .route("/api/healthcheck", get(|| async { "ok" }))
        .route("/api/agents", any(agents))
        .route("/api/agents/models", get(list_models))
        .route("/api/agents/{id}", any(agent))
        .route("/api/agents/{id}/react", any(react))
        .fallback(received)
        .with_state(Arc::new(models))
}

async fn agents(Extension(Arrived(arrived)): Extension<Arrived>) -> Json<Value> {
    Json(json!({ "agents": ["1", "2"], "received": arrived }))
}

async fn agent(
    Path(id): Path<String>,
    Extension(Arrived(arrived)): Extension<Arrived>,
) -> Json<Value> {
    Json(json!({ "agent": id, "received": arrived }))
}

async fn received(Extension(Arrived(arrived)): Extension<Arrived>) -> (StatusCode, Json<Value>) {
    (StatusCode::NOT_FOUND, Json(json!({ "received": arrived })))
}

/// What arrived at this service: the headers that could name a user, in
/// whatever spelling, and the names of all.
#[derive(Clone)]
struct Arrived(Value);

async fn keep_what_arrived(mut request: Request) -> Request {
    let mut identity = BTreeMap::<&str, Vec<String>>::new();
    for (name, value) in request.headers() {
        let folded = name.as_str().replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        if folded.starts_with("x-user") {
            let value = String::from_utf8_lossy(value.as_bytes()).into_owned();
            identity.entry(name.as_str()).or_default().push(value);
        }
    }
    let arrived = json!({
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "query": request.uri().query(),
        "identity": identity,
        "headers": request.headers().keys().map(HeaderName::as_str).collect::<Vec<_>>(),
    });
    request.extensions_mut().insert(Arrived(arrived));
    request
}

/// Echoes, until the token has expired.
async fn react(upgrade: WebSocketUpgrade, Extension(admission): Extension<Admission>) -> Response {
    upgrade.max_message_size(64 * 1024).on_upgrade(async move |mut socket| {
        if admission.until_expired(echo(&mut socket)).await == Err(Expired) {
            let reason = Utf8Bytes::from_static("the token has expired");
            let close = CloseFrame { code: close_code::POLICY, reason };
            // The peer may be gone already.
            let _ = socket.send(Message::Close(Some(close))).await;
        }
    })
}

async fn echo(socket: &mut WebSocket) {
    while let Some(Ok(message)) = socket.recv().await {
        let is_data = matches!(message, Message::Text(_) | Message::Binary(_));
        if is_data && socket.send(message).await.is_err() {
            return;
        }
    }
}

/// An OpenAI-compatible server of language models.
struct ModelServer {
    client: reqwest::Client,
    base_url: Option<String>,
    key: Option<String>,
}

impl ModelServer {
    fn from_environment() -> reqwest::Result<Self> {
        Ok(Self {
            client: reqwest::Client::builder().timeout(Duration::from_secs(5)).build()?,
            base_url: variable("LITELLM_BASE_URL"),
            key: variable("LITELLM_MASTER_KEY"),
        })
    }

    /// The models as the server lists them. The text of an error is for the
    /// client: it holds neither the key nor anything of the server's.
    async fn models(&self) -> Result<Value, &'static str> {
        let base = self.base_url.as_deref().ok_or("LITELLM_BASE_URL is not set")?;
        let base = base.trim_end_matches('/').trim_end_matches("/v1");
        let mut request = self.client.get(format!("{base}/v1/models"));
        if let Some(key) = &self.key {
            request = request.bearer_auth(key);
        }
        let mut response =
            request.send().await.map_err(|_| "the model server cannot be reached")?;
        if !response.status().is_success() {
            return Err("the model server answered with an error");
        }
        let mut body = Vec::new();
        while let Some(chunk) =
            response.chunk().await.map_err(|_| "the model server broke off its answer")?
        {
            if body.len() + chunk.len() > MAX_MODELS_BYTES {
                return Err("the model server's answer is too long");
            }
            body.extend_from_slice(&chunk);
        }
        let text =
            String::from_utf8(body).map_err(|_| "the model server did not answer in JSON")?;
        if self.key.as_ref().is_some_and(|key| text.contains(key.as_str())) {
            return Err("the model server's answer holds a secret");
        }
        serde_json::from_str(&text).map_err(|_| "the model server did not answer in JSON")
    }
}

async fn list_models(State(models): State<Arc<ModelServer>>) -> Response {
    match models.models().await {
        Ok(models) => Json(models).into_response(),
        Err(cause) => (StatusCode::BAD_GATEWAY, Json(json!({ "error": cause }))).into_response(),
    }
}

#[expect(clippy::disallowed_methods, reason = "the settings of this example")]
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}
