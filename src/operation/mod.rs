//! What a request asks an MCP server or a model for, by its body, its headers or what
//! Envoy tells: pure, and strict. What two readers could read differently is [`Unclear`],
//! since the upstream reads it once more.

mod envoy;
mod headers;
mod json;
mod llm;
mod mcp;
mod media;
mod method;
mod multipart;
mod pattern;
#[cfg(test)]
mod tests;

use std::fmt;

use media::Media;

pub use envoy::{ENVOY_MCP, McpMember, McpTelling, McpTold};
pub use llm::{LlmAsk, LlmRule};
pub use mcp::{McpAsk, McpRule, McpSource};
pub use pattern::{BadPattern, NamePattern, Rank};

/// The longest method and name, in bytes.
const MAX_NAME_BYTES: usize = 1024;

/// Why it is not clear what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Unclear {
    /// The question has no body, or no header that tells.
    Nothing,
    /// The body is not whole.
    Cut,
    /// The body is longer than is read.
    TooLong,
    /// The body is compressed.
    Encoded,
    /// The body is of a type that is not read.
    MediaType,
    /// The body is no JSON that all readers read alike.
    Json,
    /// The body is a list, or another value that is no object.
    NoObject,
    /// The object is no message of JSON-RPC 2.0.
    NoMessage,
    /// The name of what is asked for is missing, or no plain text.
    Name,
    /// A header says something else than the body, or is there twice.
    Headers,
    /// The headers that tell are of a later protocol than the request's.
    Protocol,
    /// The form is none that all readers read alike.
    Form,
    /// A member that is read is of another type.
    Value,
    /// Something beside the model names one, too.
    OtherModel,
    /// Envoy's MCP filter tells it with a reservation, or otherwise than it does.
    Filter,
}

impl Unclear {
    /// Every cause.
    pub const ALL: [Self; 15] = [
        Self::Nothing,
        Self::Cut,
        Self::TooLong,
        Self::Encoded,
        Self::MediaType,
        Self::Json,
        Self::NoObject,
        Self::NoMessage,
        Self::Name,
        Self::Headers,
        Self::Protocol,
        Self::Form,
        Self::Value,
        Self::OtherModel,
        Self::Filter,
    ];

    /// The cause in a log, with what to do about it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Nothing => {
                "the gateway tells nothing of what is asked for: let it send the body, or see \
                 mcp.source"
            }
            Self::Cut => {
                "the body is not whole, or not as it came: let the gateway send all of it, as \
                 bytes (Envoy: pack_as_bytes), and refuse what is longer"
            }
            Self::TooLong => "the body is longer than check.max_body_bytes",
            Self::Encoded => "the body is compressed: the client has to send it as it is",
            Self::MediaType => {
                "the body's Content-Type is not application/json, nor multipart/form-data where \
                 that is read"
            }
            Self::Json => {
                "the body is no JSON that all readers read alike: it is broken, too deep, has a \
                 member twice or in another case, half a surrogate pair, or a number that is too \
                 large"
            }
            Self::NoObject => "the body is no object: batches are not taken",
            Self::NoMessage => "the body is no message of JSON-RPC 2.0",
            Self::Name => "the method, tool or model is missing, or is no plain text",
            Self::Headers => {
                "Mcp-Method, Mcp-Name, the body and what Envoy tells of it differ, or are there \
                 twice"
            }
            Self::Protocol => {
                "Mcp-Method and Mcp-Name are there without an MCP-Protocol-Version of 2026-07-28 \
                 or later"
            }
            Self::Form => "the form is none that all readers read alike",
            Self::Value => "stream is no boolean, or a number is no whole one",
            Self::OtherModel => {
                "the query, a list or another member names a model, too: send one model, by \
                 `model` in the body"
            }
            Self::Filter => {
                "Envoy's MCP filter has not read all of the message, or tells what is not known: \
                 see max_request_body_size, and reject_duplicate_keys"
            }
        }
    }
}

/// What a request brings, as far as it is looked at here.
pub struct Carried<'h, 'a> {
    /// Its method.
    pub http_method: &'a str,
    /// Its query; empty where it has none.
    pub query: &'a str,
    /// Its body.
    pub body: Body<'a>,
    /// What Envoy's MCP filter tells of it.
    pub told: McpTold<'a>,
    /// The most of a body that is read, in bytes.
    pub max_body_bytes: usize,
    /// The one value of a header, as text; an error for one that is there twice.
    pub header: &'h dyn Fn(&str) -> Result<Option<&'a str>, Unclear>,
}

/// Without the headers.
impl fmt::Debug for Carried<'_, '_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Carried").field("body", &self.body).finish_non_exhaustive()
    }
}

/// A body as the gateway hands it on.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub enum Body<'a> {
    /// The gateway sends none, or there is none.
    #[default]
    Absent,
    /// A part of it.
    Cut,
    /// All of it.
    Whole(&'a [u8]),
}

/// Its length alone.
impl fmt::Debug for Body<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => f.write_str("Absent"),
            Self::Cut => f.write_str("Cut"),
            Self::Whole(body) => write!(f, "Whole({} bytes)", body.len()),
        }
    }
}

impl<'a> Carried<'_, 'a> {
    /// Whether requests of this method ask for nothing by a body.
    fn is_bodiless(&self) -> bool {
        matches!(self.http_method, "GET" | "HEAD" | "DELETE" | "OPTIONS")
    }

    /// Whether there is no body, as far as can be told: a server that reads one all the
    /// same would read what nobody has looked at.
    fn has_no_body(&self) -> bool {
        matches!(self.body, Body::Absent | Body::Whole(&[]))
            && matches!((self.header)("content-length"), Ok(None | Some("0")))
            && matches!((self.header)("transfer-encoding"), Ok(None))
    }

    /// The body, and what it is.
    fn whole_body(&self) -> Result<(&'a [u8], Media<'a>), Unclear> {
        let body = match self.body {
            Body::Absent => return Err(Unclear::Nothing),
            Body::Cut => return Err(Unclear::Cut),
            Body::Whole(body) if body.len() > self.max_body_bytes => return Err(Unclear::TooLong),
            Body::Whole(body) => body,
        };
        let length = (self.header)("content-length").map_err(|_| Unclear::Cut)?;
        if length.is_some_and(|length| length != body.len().to_string()) {
            return Err(Unclear::Cut);
        }
        Ok((body, self.media()?))
    }

    /// What the body is, by its headers.
    fn media(&self) -> Result<Media<'a>, Unclear> {
        let header = |name: &str, cause: Unclear| (self.header)(name).map_err(|_| cause);
        match header("content-encoding", Unclear::Encoded)? {
            None => {}
            Some(coding) if coding.eq_ignore_ascii_case("identity") => {}
            Some(_) => return Err(Unclear::Encoded),
        }
        let kind = header("content-type", Unclear::MediaType)?.ok_or(Unclear::MediaType)?;
        Media::read(kind)
    }
}

/// A method, a tool or a model: no reader trims it, cuts it off or takes it for
/// another one.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len())
        // Most are of these alone, which is soon seen.
        && (text.bytes().all(|byte| matches!(byte, b' '..=b'~')) || !text.chars().any(is_odd))
        && !text.starts_with(' ')
        && !text.ends_with(' ')
}

/// A blank that is none, a control, or a mark that nobody sees, which some readers drop.
fn is_odd(letter: char) -> bool {
    let is_mark = matches!(
        letter,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
    );
    letter.is_control() || is_mark || (letter.is_whitespace() && letter != ' ')
}
