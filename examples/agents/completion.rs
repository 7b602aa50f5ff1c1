//! A chat completion as it is streamed: `data:` events with a piece of text
//! each, and `[DONE]` (OpenAI's API, "Streaming events" of chat completions).

use std::{collections::VecDeque, pin::Pin};

use reqwest::Response;
use serde::Deserialize;
use serde_json::Value;

use crate::{
    events::{Events, TooLong},
    models::Failure,
};

/// The most that is taken of an answer, in bytes of text.
const MAX_ANSWER_BYTES: usize = 128 * 1024;

type Call = Pin<Box<dyn Future<Output = Result<Response, Failure>> + Send>>;

/// A completion under way. Dropping it closes the connection to the model
/// server, so that the model stops.
pub(crate) struct Completion {
    source: Source,
    events: Events,
    ready: VecDeque<Vec<u8>>,
    finish_reason: Option<String>,
    /// How many bytes may yet come.
    left: usize,
}

enum Source {
    Asked(Call),
    Answers(Response),
}

/// What comes next.
#[derive(Debug)]
pub(crate) enum Part {
    Text(String),
    /// It is whole, for this reason.
    End(String),
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    error: Option<Value>,
}

#[derive(Deserialize)]
struct Choice {
    #[serde(default)]
    delta: Option<Delta>,
    finish_reason: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
}

impl Completion {
    pub(crate) fn new(
        call: impl Future<Output = Result<Response, Failure>> + Send + 'static,
    ) -> Self {
        Self {
            source: Source::Asked(Box::pin(call)),
            events: Events::default(),
            ready: VecDeque::new(),
            finish_reason: None,
            left: MAX_ANSWER_BYTES,
        }
    }

    /// The next part. It may be given up at any time, and asked for again:
    /// nothing is lost.
    pub(crate) async fn next(&mut self) -> Result<Part, Failure> {
        loop {
            while let Some(data) = self.ready.pop_front() {
                if let Some(part) = self.read(&data)? {
                    return Ok(part);
                }
            }
            match &mut self.source {
                Source::Asked(call) => self.source = Source::Answers(call.as_mut().await?),
                Source::Answers(response) => match response.chunk().await {
                    Ok(Some(bytes)) => {
                        let whole = self.events.take(&bytes);
                        self.ready.extend(whole.map_err(|TooLong| Failure::TooLong)?);
                    }
                    // Some servers say why it ends, and no more.
                    Ok(None) => {
                        return self.finish_reason.take().map(Part::End).ok_or(Failure::BrokeOff);
                    }
                    Err(_) => return Err(Failure::BrokeOff),
                },
            }
        }
    }

    fn read(&mut self, data: &[u8]) -> Result<Option<Part>, Failure> {
        if data == b"[DONE]" {
            let reason = self.finish_reason.take();
            return Ok(Some(Part::End(reason.unwrap_or_else(|| "stop".to_owned()))));
        }
        let chunk: Chunk = serde_json::from_slice(data).map_err(|_| Failure::NotJson)?;
        if chunk.error.is_some() {
            return Err(Failure::Server);
        }
        // One that counts tokens has no choices.
        let Some(choice) = chunk.choices.into_iter().next() else { return Ok(None) };
        self.finish_reason = choice.finish_reason.or(self.finish_reason.take());
        let text = choice.delta.and_then(|delta| delta.content).unwrap_or_default();
        self.left = self.left.checked_sub(text.len()).ok_or(Failure::TooLong)?;
        Ok((!text.is_empty()).then_some(Part::Text(text)))
    }
}
