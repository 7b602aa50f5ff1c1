//! What Envoy's own MCP filter (`envoy.filters.http.mcp`) tells, as dynamic metadata.
//!
//! It reads more than JSON, and what it says of a message that it has read in part, or
//! let through unread, looks like the rest but for one member more, another in each
//! version. So a member that is not known is taken for a reservation.

use super::{Unclear, method::parameter};

/// The namespace of its metadata.
pub const ENVOY_MCP: &str = "envoy.filters.http.mcp";

/// What it says in the place of a method of what has a `result` or an `error`, and may
/// have a method beside that.
const ANSWER: &str = "__jsonrpc_response";

/// What the filter tells of a request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum McpTold<'a> {
    /// Nothing; also where the transport brings no metadata.
    #[default]
    Nothing,
    /// Something that is not taken, and why.
    Unclear(Unclear),
    /// A message.
    Message {
        /// Its method.
        method: &'a str,
        /// The tool, the prompt or the resource that it names.
        name: Option<&'a str>,
    },
}

/// A value of the metadata, as far as it is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum McpMember<'a> {
    /// A text.
    Text(&'a str),
    /// A boolean.
    Flag(bool),
    /// An object.
    Object,
    /// A number, a list or nothing.
    Other,
}

/// Takes the metadata's members, one after the other, in any order.
#[derive(Clone, Debug, Default)]
pub struct McpTelling<'a> {
    version: Option<McpMember<'a>>,
    id: Option<McpMember<'a>>,
    method: Option<McpMember<'a>>,
    params: Option<McpMember<'a>>,
    is_request: Option<McpMember<'a>>,
    status: Option<McpMember<'a>>,
    name: Option<McpMember<'a>>,
    uri: Option<McpMember<'a>>,
    is_odd: bool,
}

impl<'a> McpTelling<'a> {
    /// Takes one.
    pub fn member(&mut self, key: &str, value: McpMember<'a>) {
        let place = match key {
            "jsonrpc" => &mut self.version,
            "id" => &mut self.id,
            "method" => &mut self.method,
            "params" => &mut self.params,
            "is_mcp_request" => &mut self.is_request,
            // Since 1.39.
            "status" => &mut self.status,
            // `is_exceeding_limit`, since 1.40 `passthrough_reason`, and others to come.
            _ => {
                self.is_odd = true;
                return;
            }
        };
        self.is_odd |= place.replace(value).is_some();
    }

    /// Takes one of `params`, of which more may be there than is looked at.
    pub fn parameter(&mut self, key: &str, value: McpMember<'a>) {
        let place = match key {
            "name" => &mut self.name,
            "uri" => &mut self.uri,
            _ => return,
        };
        self.is_odd |= place.replace(value).is_some();
    }

    /// What they tell together.
    #[must_use]
    pub fn told(self) -> McpTold<'a> {
        use McpMember::{Flag, Object, Text};
        let is_read = self.version == Some(Text("2.0"))
            && self.is_request == Some(Flag(true))
            && matches!(self.status, None | Some(Text("mcp_ok")))
            && matches!(self.params, None | Some(Object))
            && !self.is_odd;
        let method = match self.method {
            _ if !is_read => return McpTold::Unclear(Unclear::Filter),
            Some(Text(method)) if method != ANSWER => method,
            _ => return McpTold::Unclear(Unclear::NoMessage),
        };
        match parameter(method, self.name, self.uri) {
            None => McpTold::Message { method, name: None },
            Some(Some(Text(name))) => McpTold::Message { method, name: Some(name) },
            Some(_) => McpTold::Unclear(Unclear::Name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::{Body, Carried, McpAsk, McpSource, McpTold, Unclear, tests::carried},
        McpMember::{self, Flag, Object, Other, Text},
        McpTelling,
    };

    const JSON: (&str, &str) = ("content-type", "application/json");
    const CALL: McpTold<'_> = McpTold::Message { method: "tools/call", name: Some("a") };

    fn told(members: &[(&str, McpMember<'static>)]) -> McpTold<'static> {
        let mut telling = McpTelling::default();
        for (key, value) in members {
            match key.strip_prefix("params.") {
                Some(key) => telling.parameter(key, *value),
                None => telling.member(key, *value),
            }
        }
        telling.told()
    }

    /// What the filter tells of a call, with these members in the place of its own.
    fn call(changed: &[(&str, McpMember<'static>)]) -> McpTold<'static> {
        let call = [
            ("jsonrpc", Text("2.0")),
            ("id", Other),
            ("method", Text("tools/call")),
            ("params", Object),
            ("params.name", Text("a")),
            ("is_mcp_request", Flag(true)),
        ];
        let own = call.iter().filter(|(key, _)| changed.iter().all(|(other, _)| other != key));
        told(&own.chain(changed).copied().collect::<Vec<_>>())
    }

    #[test]
    fn what_is_told_is_taken_where_it_is_all_known() {
        assert_eq!(told(&[]), McpTold::Unclear(Unclear::Filter));
        assert_eq!(call(&[]), CALL);
        for more in [
            ("status", Text("mcp_ok")),
            ("id", Text("1")),
            ("params.uri", Text("u")),
            ("params.uri", Other),
            ("params._meta", Object),
        ] {
            assert_eq!(call(&[more]), CALL, "{more:?}");
        }
        for (change, cause) in [
            (("is_mcp_request", Flag(false)), Unclear::Filter),
            (("is_mcp_request", Text("true")), Unclear::Filter),
            (("status", Text("mcp_parse_error")), Unclear::Filter),
            (("status", Flag(true)), Unclear::Filter),
            (("is_exceeding_limit", Flag(true)), Unclear::Filter),
            (("is_exceeding_limit", Flag(false)), Unclear::Filter),
            (("passthrough_reason", Text("mcp_parse_error")), Unclear::Filter),
            (("to_come", Other), Unclear::Filter),
            (("jsonrpc", Text("1.0")), Unclear::Filter),
            (("jsonrpc", Other), Unclear::Filter),
            (("params", Text("{}")), Unclear::Filter),
            (("method", Other), Unclear::NoMessage),
            (("method", Flag(true)), Unclear::NoMessage),
            // It may call a tool all the same.
            (("method", Text("__jsonrpc_response")), Unclear::NoMessage),
            (("params.name", Other), Unclear::Name),
            (("params.name", Object), Unclear::Name),
        ] {
            assert_eq!(call(&[change]), McpTold::Unclear(cause), "{change:?}");
        }
        for key in ["method", "jsonrpc", "is_mcp_request", "params", "params.name", "id"] {
            let twice = [(key, Text("a")), (key, Text("a"))];
            assert_eq!(call(&twice), McpTold::Unclear(Unclear::Filter), "{key}");
        }
        let listed = [("method", Text("tools/list")), ("params", Object), ("params.name", Other)];
        assert_eq!(call(&listed), McpTold::Message { method: "tools/list", name: None });
        let read = [("method", Text("resources/read")), ("params.uri", Text("file:///x"))];
        let name = Some("file:///x");
        assert_eq!(call(&read), McpTold::Message { method: "resources/read", name });
        let nameless = [("method", Text("resources/read"))];
        assert_eq!(call(&nameless), McpTold::Unclear(Unclear::Name));
    }

    fn read(
        method: &str,
        headers: &[(&str, &str)],
        body: Body<'_>,
        told: McpTold<'static>,
    ) -> Result<Option<String>, Unclear> {
        carried(method, headers, body, |carried| {
            let carried = Carried { told, ..*carried };
            let ask = McpAsk::read(McpSource::Envoy, &carried)?;
            Ok(ask.map(|ask| format!("{} {}", ask.method, ask.name.as_deref().unwrap_or("-"))))
        })
    }

    #[test]
    fn metadata_headers_and_a_body_say_the_same_or_nothing() {
        let of = |headers: &[(&str, &str)], body: Body<'_>, told: McpTold<'static>| {
            read("POST", headers, body, told)
        };
        let same = || Ok(Some("tools/call a".to_owned()));
        assert_eq!(of(&[JSON], Body::Absent, CALL), same());
        assert_eq!(of(&[JSON], Body::Absent, McpTold::Nothing), Err(Unclear::Nothing));
        let unclear = McpTold::Unclear(Unclear::Filter);
        assert_eq!(of(&[JSON], Body::Absent, unclear), Err(Unclear::Filter));
        let blank = McpTold::Message { method: "tools/call", name: Some(" a") };
        assert_eq!(of(&[JSON], Body::Absent, blank), Err(Unclear::Name));
        let nameless = McpTold::Message { method: "tools/call", name: None };
        assert_eq!(of(&[JSON], Body::Absent, nameless), Err(Unclear::Name));
        // The filter takes the bytes for JSON in UTF-8, whatever these say.
        assert_eq!(of(&[], Body::Absent, CALL), Err(Unclear::MediaType));
        let other = ("content-type", "application/json; charset=utf-7");
        assert_eq!(of(&[other], Body::Absent, CALL), Err(Unclear::MediaType));
        let coding = ("content-encoding", "br");
        assert_eq!(of(&[JSON, coding], Body::Absent, CALL), Err(Unclear::Encoded));

        let now = ("mcp-protocol-version", "2026-07-28");
        let (method, name) = (("mcp-method", "tools/call"), ("mcp-name", "a"));
        assert_eq!(of(&[JSON, now, method, name], Body::Absent, CALL), same());
        for lie in [("mcp-name", "b"), ("mcp-name", "A")] {
            let headers = [JSON, now, method, lie];
            assert_eq!(of(&headers, Body::Absent, CALL), Err(Unclear::Headers), "{lie:?}");
        }
        let listed = ("mcp-method", "tools/list");
        assert_eq!(of(&[JSON, now, listed], Body::Absent, CALL), Err(Unclear::Headers));
        assert_eq!(of(&[JSON, method, name], Body::Absent, CALL), Err(Unclear::Protocol));

        for (body, expected) in [
            (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"a"}}"#, same()),
            (
                r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"b"}}"#,
                Err(Unclear::Headers),
            ),
            (r#"{"jsonrpc":"2.0","id":1,"result":{}}"#, Err(Unclear::Headers)),
            (r#"{"jsonrpc":"2.0","id":1,"method":"x","method":"tools/call"}"#, Err(Unclear::Json)),
        ] {
            assert_eq!(of(&[JSON], Body::Whole(body.as_bytes()), CALL), expected, "{body}");
        }
        assert_eq!(of(&[JSON], Body::Cut, CALL), Err(Unclear::Cut));

        for method in ["GET", "DELETE"] {
            let of = |told| read(method, &[], Body::Absent, told);
            assert_eq!(of(McpTold::Nothing), Ok(None));
            assert_eq!(of(CALL), Err(Unclear::NoMessage));
        }
        assert_eq!(read("PUT", &[JSON], Body::Absent, McpTold::Nothing), Err(Unclear::Nothing));
    }
}
