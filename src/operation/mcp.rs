//! What is asked of an MCP server.

use std::borrow::Cow;

use super::{
    Body, Carried, McpTold, Unclear, headers, is_name,
    json::{self, Kept, Wanted},
    media::Media,
    method::{CALL, parameter},
    pattern::{NamePattern, Rank, closest},
};

/// Where it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum McpSource {
    /// In the body, which the gateway sends.
    #[default]
    Body,
    /// In `Mcp-Method` and `Mcp-Name`.
    Headers,
    /// By Envoy's own MCP filter, in dynamic metadata.
    Envoy,
}

/// A request or a notification to an MCP server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpAsk<'a> {
    /// Its method.
    pub method: Cow<'a, str>,
    /// The tool, the prompt or the resource that it names.
    pub name: Option<Cow<'a, str>>,
}

impl<'a> McpAsk<'a> {
    /// What a request asks for; none for one that asks for nothing of its own, such as a
    /// session's `GET`, and for an answer to the server.
    ///
    /// # Errors
    ///
    /// [`Unclear`].
    pub fn read(source: McpSource, carried: &Carried<'_, 'a>) -> Result<Option<Self>, Unclear> {
        let told = headers::told(carried)?;
        if carried.is_bodiless() {
            let is_told = source == McpSource::Envoy && carried.told != McpTold::Nothing;
            let asks = !carried.has_no_body() || told.is_some() || is_told;
            return if asks { Err(Unclear::NoMessage) } else { Ok(None) };
        }
        let ask = match (source, carried.body) {
            (McpSource::Headers, Body::Absent) => {
                let told = told.ok_or(Unclear::Nothing)?;
                return Self { method: told.method.into(), name: told.name }.whole().map(Some);
            }
            (McpSource::Envoy, _) => Some(Self::of_filter(carried)?),
            _ => Self::of_body(carried)?,
        };
        let Some(told) = told else {
            return match source {
                McpSource::Headers => Err(Unclear::Nothing),
                McpSource::Body | McpSource::Envoy => Ok(ask),
            };
        };
        let is_same = |ask: &Self| ask.method == told.method && ask.name == told.name;
        ask.filter(is_same).ok_or(Unclear::Headers).map(Some)
    }

    /// What Envoy's filter tells, which looks at neither of these headers, and a body
    /// that the gateway sends beside it.
    fn of_filter(carried: &Carried<'_, 'a>) -> Result<Self, Unclear> {
        let ask = carried.told.ask()?.ok_or(Unclear::Nothing)?;
        if carried.media()? != Media::Json {
            return Err(Unclear::MediaType);
        }
        match carried.body {
            Body::Absent => Ok(ask),
            _ => Self::of_body(carried)?.filter(|body| *body == ask).ok_or(Unclear::Headers),
        }
    }

    fn of_body(carried: &Carried<'_, 'a>) -> Result<Option<Self>, Unclear> {
        static PARAMS: [Wanted; 2] = [Wanted::alone("name"), Wanted::alone("uri")];
        static WANTED: [Wanted; 6] = [
            Wanted::alone("jsonrpc"),
            Wanted::alone("id"),
            Wanted::alone("method"),
            Wanted { name: "params", within: &PARAMS },
            Wanted::alone("result"),
            Wanted::alone("error"),
        ];
        let [version, id, method, params, result, error] = &WANTED;
        let [name, uri] = &PARAMS;
        let (body, media) = carried.whole_body()?;
        if media != Media::Json {
            return Err(Unclear::MediaType);
        }
        let mut members = json::members(body, &WANTED)?;
        if members.take(version) != Some(Kept::Text("2.0".into())) {
            return Err(Unclear::NoMessage);
        }
        let answers = [result, error].map(|member| members.take(member).is_some());
        let method = match members.take(method) {
            Some(Kept::Text(method)) if answers == [false, false] => method,
            None if answers[0] != answers[1] && members.take(id).is_some() => return Ok(None),
            _ => return Err(Unclear::NoMessage),
        };
        let params = members.take(params);
        if !matches!(params, None | Some(Kept::Object | Kept::Null | Kept::Other)) {
            return Err(Unclear::NoMessage);
        }
        let (name, uri) = (members.take(name), members.take(uri));
        let name = match parameter(&method, name, uri) {
            None => None,
            Some(Some(Kept::Text(name))) => Some(name),
            Some(_) => return Err(Unclear::Name),
        };
        Self { method, name }.whole().map(Some)
    }

    /// Itself, if its names are names, and it has the one that it needs.
    pub(super) fn whole(self) -> Result<Self, Unclear> {
        let is_plain = is_name(&self.method)
            && self.method.bytes().all(|byte| byte.is_ascii_graphic())
            && self.name.as_deref().is_none_or(is_name)
            && (self.method != CALL || self.name.is_some());
        if is_plain { Ok(self) } else { Err(Unclear::Name) }
    }

    /// The tool that it calls.
    #[must_use]
    pub fn tool(&self) -> Option<&str> {
        self.name.as_deref().filter(|_| self.method == CALL)
    }
}

impl<'a> McpTold<'a> {
    /// What is asked for; none where nothing is told.
    fn ask(self) -> Result<Option<McpAsk<'a>>, Unclear> {
        match self {
            Self::Nothing => Ok(None),
            Self::Unclear(cause) => Err(cause),
            Self::Message { method, name } => {
                let ask = McpAsk { method: method.into(), name: name.map(Into::into) };
                ask.whole().map(Some)
            }
        }
    }
}

/// What of that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct McpRule {
    /// The methods; none for any, and for calls where it names tools.
    pub methods: Vec<NamePattern>,
    /// The tools; none for any.
    pub tools: Vec<NamePattern>,
}

impl McpRule {
    /// How closely it names what is asked for; none where it does not.
    #[must_use]
    pub fn rank(&self, ask: &McpAsk<'_>) -> Option<(Rank, Rank)> {
        let tool = match (self.tools.is_empty(), ask.tool()) {
            (true, _) => Rank::default(),
            (false, None) => return None,
            (false, Some(tool)) => closest(&self.tools, tool)?,
        };
        let method = if self.methods.is_empty() {
            Rank::default()
        } else {
            closest(&self.methods, &ask.method)?
        };
        Some((tool, method))
    }

    /// Whether both name something as closely.
    #[must_use]
    pub fn collides(&self, other: &Self) -> bool {
        shares(&self.tools, &other.tools) && shares(&self.methods, &other.methods)
    }
}

/// Whether two lists have a pattern in common, or both have none.
pub(super) fn shares(some: &[NamePattern], others: &[NamePattern]) -> bool {
    (some.is_empty() && others.is_empty()) || some.iter().any(|one| others.contains(one))
}
