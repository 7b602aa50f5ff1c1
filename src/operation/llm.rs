//! What is asked of a model, in the forms of OpenAI and Anthropic.

use std::borrow::Cow;

use super::{
    Carried, Unclear, is_name,
    json::{self, Kept, Wanted},
    mcp::shares,
    media::Media,
    multipart,
    pattern::{NamePattern, Rank, closest},
};

/// A request to a model.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmAsk<'a> {
    /// The model.
    pub model: Cow<'a, str>,
    /// Whether the answer is to come in pieces.
    pub stream: bool,
    /// The most tokens of an answer that it asks for, where it says.
    pub max_tokens: Option<u64>,
}

impl<'a> LlmAsk<'a> {
    /// What a request asks for; none for one without a body, by its method.
    ///
    /// # Errors
    ///
    /// [`Unclear`].
    pub fn read(carried: &Carried<'_, 'a>) -> Result<Option<Self>, Unclear> {
        if carried.is_bodiless() {
            return if carried.has_no_body() { Ok(None) } else { Err(Unclear::MediaType) };
        }
        let (body, media) = carried.whole_body()?;
        let ask = match media {
            Media::Json => Self::of_json(body)?,
            Media::Form(boundary) => {
                let model = multipart::field(body, boundary, "model")?.ok_or(Unclear::Name)?;
                let stream = match multipart::field(body, boundary, "stream")? {
                    None | Some("false") => false,
                    Some("true") => true,
                    Some(_) => return Err(Unclear::Value),
                };
                Self { model: model.into(), stream, max_tokens: None }
            }
        };
        if is_name(&ask.model) { Ok(Some(ask)) } else { Err(Unclear::Name) }
    }

    fn of_json(body: &'a [u8]) -> Result<Self, Unclear> {
        static WANTED: [Wanted; 6] = [
            Wanted::alone("model"),
            Wanted::alone("stream"),
            Wanted::alone("max_tokens"),
            Wanted::alone("max_completion_tokens"),
            Wanted::alone("max_output_tokens"),
            Wanted::alone("max_tokens_to_sample"),
        ];
        let [model, stream, limits @ ..] = &WANTED;
        let mut members = json::members(body, &WANTED)?;
        let Some(Kept::Text(model)) = members.take(model) else { return Err(Unclear::Name) };
        let stream = match members.take(stream) {
            None | Some(Kept::Null) => false,
            Some(Kept::Bool(stream)) => stream,
            Some(_) => return Err(Unclear::Value),
        };
        let mut max_tokens = None;
        for limit in limits {
            match members.take(limit) {
                None | Some(Kept::Null) => {}
                Some(Kept::Number(tokens)) => max_tokens = max_tokens.max(Some(tokens)),
                Some(_) => return Err(Unclear::Value),
            }
        }
        Ok(Self { model, stream, max_tokens })
    }
}

/// What of that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LlmRule {
    /// The models; none for any.
    pub models: Vec<NamePattern>,
    /// The most tokens of an answer that may be asked for.
    pub max_tokens: Option<u64>,
}

impl LlmRule {
    /// How closely it names the model; none where it does not.
    #[must_use]
    pub fn rank(&self, ask: &LlmAsk<'_>) -> Option<Rank> {
        if self.models.is_empty() {
            return Some(Rank::default());
        }
        closest(&self.models, &ask.model)
    }

    /// Whether both name a model as closely.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        shares(&self.models, &other.models)
    }

    /// Whether no more is asked for than may be. Who does not say how much asks for
    /// as much as there is.
    #[must_use]
    pub fn admits(&self, ask: &LlmAsk<'_>) -> bool {
        self.max_tokens.is_none_or(|most| ask.max_tokens.is_some_and(|tokens| tokens <= most))
    }
}
