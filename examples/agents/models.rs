//! An OpenAI-compatible server of language models: a LiteLLM proxy, for one.
//!
//! It is asked with the master key, so that nothing of what it says in an
//! error goes to a client: a [`Failure`] has a text of its own.

use std::{fmt, time::Duration};

use axum::http::HeaderValue;
use reqwest::{RequestBuilder, Response, Url, header::CONTENT_TYPE, redirect};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use thiserror::Error;

use crate::{completion::Completion, store::Agent};

/// The most that is taken of a list of models, in bytes.
const MAX_MODELS_BYTES: usize = 1024 * 1024;
/// The most that is looked at of an error, in bytes.
const MAX_ERROR_BYTES: usize = 16 * 1024;
/// How long a connection may take, and a list of models.
const LIST_WITHIN: Duration = Duration::from_secs(5);
/// How long the model may be silent, before its answer and within it.
const SILENT_AT_MOST: Duration = Duration::from_secs(60);
/// How long a whole answer may take.
const CHAT_WITHIN: Duration = Duration::from_secs(600);

/// Why the model server has no answer: the cause, and the fix.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub(crate) enum Failure {
    #[error("LITELLM_BASE_URL is not set")]
    NotSet,
    #[error("the model server cannot be reached: try again later")]
    Unreachable,
    #[error("the model server refuses the key of this service: LITELLM_MASTER_KEY has to be its")]
    Key,
    #[error(
        "the model server refuses the request: modelType has to be one of /api/agents/models, \
         and the settings such as the model takes"
    )]
    Request,
    #[error("the model server has too much to do: try again later")]
    Busy,
    #[error("the model server answered with an error: try again later")]
    Server,
    #[error("the model server broke off its answer: try again")]
    BrokeOff,
    #[error("the model server's answer is too long: set maxTokens")]
    TooLong,
    #[error(
        "the model server did not answer in JSON: LITELLM_BASE_URL has to be an OpenAI-compatible API"
    )]
    NotJson,
    #[error(
        "the model server did not answer with a stream: LITELLM_BASE_URL has to be an OpenAI-compatible API"
    )]
    NotAStream,
    #[error("the model server's answer holds a secret, and is withheld")]
    Secret,
}

/// Why the model server cannot be asked as it is configured.
#[derive(Debug, Error)]
pub(crate) enum Unusable {
    #[error("LITELLM_BASE_URL has to be an address such as http://litellm:4000")]
    BaseUrl,
    #[error("LITELLM_MASTER_KEY has to be one line of visible characters")]
    Key,
    #[error("no client for HTTP: {0}")]
    Client(#[from] reqwest::Error),
}

/// The model server, or that there is none.
#[derive(Clone)]
pub(crate) struct ModelServer {
    client: reqwest::Client,
    /// Without a slash at its end, and without `/v1`.
    base: Option<String>,
    key: Option<SecretString>,
}

impl fmt::Debug for ModelServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Its address may hold a password.
        f.debug_struct("ModelServer").field("is_set", &self.is_set()).finish_non_exhaustive()
    }
}

impl ModelServer {
    pub(crate) fn new(base: Option<&str>, key: Option<&str>) -> Result<Self, Unusable> {
        let base = base.map(|base| {
            let url = Url::parse(base).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
            let is_plain = url.is_some_and(|url| url.query().is_none() && url.fragment().is_none());
            let base = base.trim_end_matches('/').trim_end_matches("/v1").to_owned();
            is_plain.then_some(base).ok_or(Unusable::BaseUrl)
        });
        if key.is_some_and(|key| HeaderValue::try_from(key).is_err()) {
            return Err(Unusable::Key);
        }
        let client = reqwest::Client::builder()
            .connect_timeout(LIST_WITHIN)
            .read_timeout(SILENT_AT_MOST)
            // Before a LiteLLM proxy closes it, after 5 seconds: a question must
            // not meet that.
            .pool_idle_timeout(Duration::from_secs(3))
            // The key goes where it was said to go, and nowhere else.
            .redirect(redirect::Policy::none())
            .build()?;
        Ok(Self { client, base: base.transpose()?, key: key.map(SecretString::from) })
    }

    pub(crate) fn is_set(&self) -> bool {
        self.base.is_some()
    }

    /// The models as the server lists them.
    pub(crate) async fn list(&self) -> Result<Value, Failure> {
        let base = self.base.as_deref().ok_or(Failure::NotSet)?;
        let request = self.client.get(format!("{base}/v1/models")).timeout(LIST_WITHIN);
        let body = whole(self.send(request).await?, MAX_MODELS_BYTES).await?;
        let text = String::from_utf8(body).map_err(|_| Failure::NotJson)?;
        if self.key.as_ref().is_some_and(|key| text.contains(key.expose_secret())) {
            return Err(Failure::Secret);
        }
        serde_json::from_str(&text).map_err(|_| Failure::NotJson)
    }

    /// Asks an agent's model to go on from these messages; nothing is asked
    /// before the completion is. `user` is for the server's own books.
    pub(crate) fn complete(&self, agent: &Agent, user: &str, messages: &[Value]) -> Completion {
        let system = agent.settings.get("systemPrompt");
        let system = system.map(|prompt| json!({ "role": "system", "content": prompt }));
        let mut body = json!({
            "model": agent.model_type,
            "messages": system.iter().chain(messages).collect::<Vec<_>>(),
            "stream": true,
            "user": user,
        });
        for (setting, parameter) in [("temperature", "temperature"), ("maxTokens", "max_tokens")] {
            if let (Some(value), Some(body)) = (agent.settings.get(setting), body.as_object_mut()) {
                body.insert(parameter.into(), value.clone());
            }
        }
        let this = self.clone();
        Completion::new(async move {
            let base = this.base.as_deref().ok_or(Failure::NotSet)?;
            let request = this.client.post(format!("{base}/v1/chat/completions"));
            let request = request.header(CONTENT_TYPE, "application/json").body(body.to_string());
            let response = this.send(request.timeout(CHAT_WITHIN)).await?;
            let kind = response.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok());
            let is_stream = kind.is_some_and(|kind| kind.starts_with("text/event-stream"));
            is_stream.then_some(response).ok_or(Failure::NotAStream)
        })
    }

    /// Sends a request with the key, and gives back an answer that is none of
    /// an error.
    async fn send(&self, mut request: RequestBuilder) -> Result<Response, Failure> {
        if let Some(key) = &self.key {
            request = request.bearer_auth(key.expose_secret());
        }
        let response = request.send().await.map_err(|_| Failure::Unreachable)?;
        match response.status().as_u16() {
            200 => Ok(response),
            401 | 403 => Err(Failure::Key),
            // So a LiteLLM proxy without a database says that it has no such key.
            400 if error_type(response).await.as_deref() == Some("no_db_connection") => {
                Err(Failure::Key)
            }
            400 | 404 | 413 | 422 => Err(Failure::Request),
            429 => Err(Failure::Busy),
            _ => Err(Failure::Server),
        }
    }
}

/// The `type` of an error as OpenAI's API tells it.
async fn error_type(response: Response) -> Option<String> {
    let body = whole(response, MAX_ERROR_BYTES).await.ok()?;
    let body: Value = serde_json::from_slice(&body).ok()?;
    body.get("error")?.get("type")?.as_str().map(str::to_owned)
}

/// A body of at most so many bytes.
async fn whole(mut response: Response, most: usize) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|_| Failure::BrokeOff)? {
        if body.len() + chunk.len() > most {
            return Err(Failure::TooLong);
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
