//! What a request asks an MCP server or a model for: read once, and only when a rule
//! or a condition wants to know.

use std::sync::OnceLock;

use serde_json::Value;

use super::{
    input::{CheckInput, Single},
    reason::Reason,
    rule::{Rule, Wants},
};
use crate::operation::{Body, Carried, LlmAsk, McpAsk, McpSource, Rank, Unclear};

/// What was found out of that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked<'a> {
    /// Of an MCP server.
    pub mcp: Option<McpAsk<'a>>,
    /// Of a model.
    pub llm: Option<LlmAsk<'a>>,
}

type Once<T> = OnceLock<Result<Option<T>, Unclear>>;

/// The questions of one request.
pub(super) struct Asks<'r, 'a> {
    /// Where it is told what is asked of an MCP server.
    mcp_source: McpSource,
    max_body_bytes: usize,
    input: &'r CheckInput<'a>,
    mcp: Once<McpAsk<'a>>,
    llm: Once<LlmAsk<'a>>,
    arguments: OnceLock<Option<Value>>,
}

impl<'r, 'a> Asks<'r, 'a> {
    pub(super) fn new(
        mcp_source: McpSource,
        max_body_bytes: usize,
        input: &'r CheckInput<'a>,
    ) -> Self {
        let (mcp, llm, arguments) = (OnceLock::new(), OnceLock::new(), OnceLock::new());
        Self { mcp_source, max_body_bytes, input, mcp, llm, arguments }
    }

    fn read<T>(
        &self,
        read: impl FnOnce(&Carried<'_, 'a>) -> Result<Option<T>, Unclear>,
    ) -> Result<Option<T>, Unclear> {
        let headers = &self.input.headers;
        let header = |name: &str| match headers.single(name) {
            Single::Absent => Ok(None),
            Single::One(value) => std::str::from_utf8(value)
                .map(|value| Some(value.trim_matches([' ', '\t'])))
                .map_err(|_| Unclear::Headers),
            Single::Repeated => Err(Unclear::Headers),
        };
        read(&Carried {
            http_method: self.input.method,
            query: self.input.path_and_query().1.unwrap_or_default(),
            body: self.input.body,
            told: self.input.mcp_told,
            max_body_bytes: self.max_body_bytes,
            header: &header,
        })
    }

    /// What is asked of an MCP server.
    pub(super) fn mcp(&self) -> Result<Option<&McpAsk<'a>>, Unclear> {
        let read = |carried: &Carried<'_, 'a>| McpAsk::read(self.mcp_source, carried);
        let ask = self.mcp.get_or_init(|| self.read(read));
        ask.as_ref().map(Option::as_ref).map_err(|unclear| *unclear)
    }

    /// What is asked of a model.
    pub(super) fn llm(&self) -> Result<Option<&LlmAsk<'a>>, Unclear> {
        let ask = self.llm.get_or_init(|| self.read(LlmAsk::read));
        ask.as_ref().map(Option::as_ref).map_err(|unclear| *unclear)
    }

    /// The arguments of a tool's call, where it has some.
    ///
    /// # Errors
    ///
    /// [`Unclear`], also where the body is not there to tell: they may be anything.
    pub(super) fn arguments(&self) -> Result<Option<&Value>, Unclear> {
        if self.mcp()?.and_then(McpAsk::tool).is_none() {
            return Ok(None);
        }
        let Body::Whole(body) = self.input.body else { return Err(Unclear::Nothing) };
        let read = || {
            let mut message: Value = serde_json::from_slice(body).ok()?;
            Some(message.get_mut("params")?.get_mut("arguments")?.take())
        };
        Ok(self.arguments.get_or_init(read).as_ref())
    }

    /// How closely a rule names what is asked for; none where it does not.
    ///
    /// # Errors
    ///
    /// [`Reason::BadMcp`] and [`Reason::BadBody`], where that cannot be told.
    pub(super) fn rank(&self, rule: &Rule) -> Result<Option<(Rank, Rank)>, Reason> {
        match &rule.wants {
            None => Ok(Some((Rank::default(), Rank::default()))),
            Some(Wants::Mcp(wanted)) => {
                let ask = self.mcp().map_err(Reason::BadMcp)?;
                Ok(ask.and_then(|ask| wanted.rank(ask)))
            }
            Some(Wants::Llm(wanted)) => {
                let ask = self.llm().map_err(Reason::BadBody)?;
                Ok(ask.and_then(|ask| wanted.rank(ask)).map(|rank| (rank, Rank::default())))
            }
        }
    }

    /// Whether no more is asked for than a rule lets anybody have.
    pub(super) fn is_within(&self, rule: &Rule) -> bool {
        match &rule.wants {
            Some(Wants::Llm(wanted)) => {
                matches!(self.llm(), Ok(Some(ask)) if wanted.admits(ask))
            }
            _ => true,
        }
    }

    /// What was found out.
    pub(super) fn into_asked(self) -> Asked<'a> {
        fn known<T>(once: Once<T>) -> Option<T> {
            once.into_inner()?.ok()?
        }
        Asked { mcp: known(self.mcp), llm: known(self.llm) }
    }
}
