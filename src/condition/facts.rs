//! What a condition may read, and how it is read.

use std::{borrow::Cow, fmt};

use serde_json::Value;

use crate::clock::Timestamp;

/// What a variable belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Object {
    /// The request itself.
    Request,
    /// Its headers, a map.
    Headers,
    /// The parameters of its query, a map of lists.
    Query,
    /// The variables of the rule's `path_template`.
    Path,
    /// Whose the token is.
    User,
    /// What the token says, a map.
    Claims,
    /// Where the request came from.
    Source,
    /// Where the gateway took it.
    Destination,
    /// What the gateway's route says, by `check.context`.
    Context,
    /// What is asked of an MCP server.
    Mcp,
    /// What is asked of a model.
    Llm,
}

impl Object {
    /// Those that a condition names, in the order in which they are told of.
    pub(super) const ROOTS: [Self; 9] = [
        Self::Request,
        Self::Path,
        Self::User,
        Self::Claims,
        Self::Source,
        Self::Destination,
        Self::Context,
        Self::Mcp,
        Self::Llm,
    ];

    /// As a condition writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Request => "request",
            Self::Headers => "request.headers",
            Self::Query => "request.query",
            Self::Path => "path",
            Self::User => "user",
            Self::Claims => "claims",
            Self::Source => "source",
            Self::Destination => "destination",
            Self::Context => "context",
            Self::Mcp => "mcp",
            Self::Llm => "llm",
        }
    }

    /// The object of this name.
    pub(super) fn named(name: &str) -> Option<Self> {
        // Asked at every step of a condition that goes through a list.
        Some(match name {
            "request" => Self::Request,
            "path" => Self::Path,
            "user" => Self::User,
            "claims" => Self::Claims,
            "source" => Self::Source,
            "destination" => Self::Destination,
            "context" => Self::Context,
            "mcp" => Self::Mcp,
            "llm" => Self::Llm,
            _ => return None,
        })
    }

    /// Whether it is a map: whose names can be gone through, and asked for.
    pub(super) fn is_map(self) -> bool {
        self.fields().is_none()
    }

    /// What it always has, or may have; none for a map, whose names are a
    /// matter of the request or of the configuration.
    pub(super) fn fields(self) -> Option<&'static [&'static str]> {
        match self {
            Self::Request => Some(&[
                "method", "host", "path", "segments", "query", "headers", "scheme", "protocol",
                "id", "time",
            ]),
            Self::User => Some(&["id", "name", "email", "role", "scopes", "issuer"]),
            Self::Source => Some(&["address", "principal"]),
            Self::Destination => Some(&["principal"]),
            Self::Mcp => Some(&["method", "tool", "arguments"]),
            Self::Llm => Some(&["model", "stream"]),
            Self::Headers | Self::Query | Self::Path | Self::Claims | Self::Context => None,
        }
    }
}

/// A value that was read.
#[derive(Clone, Debug, PartialEq)]
pub enum Fact<'f> {
    /// Text.
    Text(Cow<'f, str>),
    /// A list of texts.
    Texts(Vec<Cow<'f, str>>),
    /// A moment.
    Time(Timestamp),
    /// A value of a token.
    Json(&'f Value),
}

impl<'f> Fact<'f> {
    /// Text that is borrowed.
    #[must_use]
    pub fn text(text: &'f str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

/// As a condition would write it.
impl fmt::Display for Fact<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Texts(texts) => write!(f, "{texts:?}"),
            Self::Time(time) => write!(f, "{} (seconds since 1970)", time.as_secs()),
            Self::Json(value) => write!(f, "{value}"),
        }
    }
}

/// Why a value that is there cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unreadable(pub &'static str);

/// The values of one request, each made when it is asked for.
pub trait Facts: Sync {
    /// The value of this name; none when there is no such.
    ///
    /// # Errors
    ///
    /// [`Unreadable`] for one that has no one reading.
    fn get(&self, of: Object, name: &str) -> Result<Option<Fact<'_>>, Unreadable>;

    /// The names that a map has.
    ///
    /// # Errors
    ///
    /// [`Unreadable`], as that of one of its values.
    fn names(&self, of: Object) -> Result<Vec<Cow<'_, str>>, Unreadable>;
}

impl<F: Facts> Facts for &F {
    fn get(&self, of: Object, name: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        (**self).get(of, name)
    }

    fn names(&self, of: Object) -> Result<Vec<Cow<'_, str>>, Unreadable> {
        (**self).names(of)
    }
}

/// One value that a condition reads: its object, its name, and the way from it
/// to a value within.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Read {
    pub(super) of: Object,
    pub(super) name: Box<str>,
    pub(super) way: Box<[Box<str>]>,
}

impl fmt::Display for Read {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.of.as_str(), self.name)?;
        self.way.iter().try_for_each(|name| write!(f, ".{name}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_object_that_is_told_of_is_found_by_its_name() {
        for object in Object::ROOTS {
            assert_eq!(Object::named(object.as_str()), Some(object));
        }
        assert_eq!(Object::named("request.headers"), None);
        assert_eq!(Object::named(""), None);
    }
}
