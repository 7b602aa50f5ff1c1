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
        // Some servers take it from there, before that of the body.
        if query_names(carried.query, "model") {
            return Err(Unclear::OtherModel);
        }
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
        // A list of models, to some.
        if ask.model.contains(',') {
            return Err(Unclear::OtherModel);
        }
        if is_name(&ask.model) { Ok(Some(ask)) } else { Err(Unclear::Name) }
    }

    fn of_json(body: &'a [u8]) -> Result<Self, Unclear> {
        static WANTED: [Wanted; 17] = [
            Wanted::alone("model"),
            Wanted::alone("stream"),
            Wanted::alone("input"),
            Wanted::alone("max_output_tokens"),
            Wanted::alone("max_tokens"),
            Wanted::alone("max_completion_tokens"),
            Wanted::alone("max_tokens_to_sample"),
            Wanted::alone("n"),
            Wanted::alone("best_of"),
            Wanted::alone("models"),
            Wanted::alone("fallbacks"),
            Wanted::alone("context_window_fallbacks"),
            Wanted::alone("content_policy_fallbacks"),
            Wanted::alone("extra_body"),
            Wanted::alone("user_config"),
            Wanted::alone("router_settings_override"),
            Wanted::alone("route"),
        ];
        let [model, stream, input, of_input, of_chat @ ..] = &WANTED;
        let ([limit, completion, sample, n, best_of], others) =
            of_chat.split_first_chunk().ok_or(Unclear::Json)?;
        let mut members = json::members(body, &WANTED)?;
        // By these, routers run another model, or one of several.
        for other in others {
            if !matches!(members.take(other), None | Some(Kept::Null)) {
                return Err(Unclear::OtherModel);
            }
        }
        let Some(Kept::Text(model)) = members.take(model) else { return Err(Unclear::Name) };
        let stream = match members.take(stream) {
            None | Some(Kept::Null) => false,
            Some(Kept::Bool(stream)) => stream,
            Some(_) => return Err(Unclear::Value),
        };
        // Each kind of request has its own, and a server does not look at others'.
        let has_input = members.take(input).is_some();
        let mut number = |member| match members.take(member) {
            None | Some(Kept::Null) => Ok(None),
            Some(Kept::Number(number)) => Ok(Some(number)),
            Some(_) => Err(Unclear::Value),
        };
        let of_input = number(of_input)?;
        let of_chat = [number(limit)?, number(completion)?, number(sample)?];
        let answers = number(n)?.max(number(best_of)?).unwrap_or(1).max(1);
        let limit = if has_input { of_input } else { of_chat.into_iter().max().flatten() };
        let max_tokens = limit.map(|limit| limit.saturating_mul(answers));
        Ok(Self { model, stream, max_tokens })
    }
}

/// Whether a query has a parameter of this name, in whatever case and encoding, and with
/// whatever around it that a reader may take off.
fn query_names(query: &str, wanted: &str) -> bool {
    query.split(['&', ';']).any(|pair| {
        let name = pair.split('=').next().unwrap_or_default();
        let name = percent_encoding::percent_decode_str(name).decode_utf8_lossy();
        let is_blank =
            |letter: char| letter == '+' || letter.is_whitespace() || letter.is_control();
        json::is_alike(name.trim_matches(is_blank), wanted)
    })
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
