//! `[check]`: the gRPC listener, and what its decisions depend on.

use std::{collections::BTreeMap, fmt, net::SocketAddr, path::PathBuf};

use http::HeaderName;

use super::{
    reader::Section,
    tls::{self, Clients},
};
use crate::{
    authz::{PathAllow, SignIn, Upgrades},
    operation::McpSource,
    tls::Tls,
};

/// Where a listener listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// An IP address and port.
    Tcp(SocketAddr),
    /// The path of a Unix domain socket.
    Unix(PathBuf),
}

impl Listen {
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Some(Self::Unix(path.into())),
            Some(_) => None,
            None => text.parse().ok().map(Self::Tcp),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// `[check]`.
#[derive(Clone, Debug)]
pub struct CheckConfig {
    /// Where the gateway asks.
    pub listen: Listen,
    /// What it shows the gateway, and asks of it.
    pub tls: Option<Tls>,
    /// The longest question, in bytes.
    pub max_message_bytes: usize,
    /// Forms of paths that are let through.
    pub path_allow: PathAllow,
    /// Whether some upstream takes `/Admin` for `/admin`.
    pub case_insensitive: bool,
    /// Whether some upstream takes `/admin.json` for `/admin`.
    pub ignore_extension: bool,
    /// The protocols that a request may upgrade to.
    pub upgrades: Upgrades,
    /// Headers that never reach the upstream, in lower case.
    pub remove_headers: Vec<String>,
    /// Where a browser is sent that has yet to sign in.
    pub sign_in: Option<SignIn>,
    /// What conditions may ask of the gateway's route, with its defaults.
    pub context: Vec<(String, String)>,
    /// The most of a body that is read, in bytes.
    pub max_body_bytes: usize,
    /// Where it is told what is asked of an MCP server (`[mcp]`).
    pub mcp_source: McpSource,
}

impl CheckConfig {
    pub(super) fn read(mut section: Section<'_>, mut mcp: Section<'_>) -> Self {
        let listen = section
            .parsed("listen", "an address (\"0.0.0.0:9191\") or \"unix:/path\"", Listen::parse)
            .unwrap_or(Listen::Tcp(SocketAddr::from(([0, 0, 0, 0], 9191))));
        let max_message_bytes =
            section.get("max_message_bytes", "a number of bytes").unwrap_or(1 << 20);
        if max_message_bytes < 1024 {
            section.problem(
                "max_message_bytes",
                "every check message is longer than that",
                "write at least 1024",
            );
        }
        let tls = tls::read(&mut section, b"h2", Clients::MayBeAsked);
        if tls.is_some() && matches!(listen, Listen::Unix(_)) {
            section.problem(
                "tls",
                "TLS is not used on a Unix socket",
                "remove it, or listen on an address",
            );
        }
        let config = Self {
            listen,
            tls,
            max_message_bytes,
            path_allow: path_allow(&mut section),
            case_insensitive: section.get("case_insensitive", "true or false").unwrap_or(false),
            ignore_extension: section.get("ignore_extension", "true or false").unwrap_or(false),
            upgrades: Upgrades::new(section.parsed_list(
                "upgrades",
                "a protocol such as \"websocket\"",
                protocol,
            )),
            remove_headers: section.parsed_list("remove_headers", "a header's name", |name| {
                header_name(name).filter(|name| !is_vital(name))
            }),
            sign_in: section.parsed(
                "sign_in_url",
                "an http(s) URL without a fragment",
                SignIn::new,
            ),
            context: context(&mut section),
            max_body_bytes: max_body_bytes(&mut section, max_message_bytes),
            mcp_source: mcp_source(&mut mcp),
        };
        section.finish();
        mcp.finish();
        config
    }
}

/// `mcp.source`.
fn mcp_source(mcp: &mut Section<'_>) -> McpSource {
    let expected = "\"body\", \"headers\" or \"envoy\"";
    let source = mcp.parsed("source", expected, |source| match source {
        "body" => Some(McpSource::Body),
        "headers" => Some(McpSource::Headers),
        "envoy" => Some(McpSource::Envoy),
        _ => None,
    });
    if source == Some(McpSource::Envoy) {
        mcp.warn(
            "source",
            "Envoy's MCP filter lets an ambiguous message through, and reads it in one way: of two \
             `method` members, 1.38.3 may take the first, 1.39.3 and 1.40.0 take the last; a \
             batch terminates 1.37.0",
            "use it only for MCP servers that are known to read messages as Envoy does, and from \
             1.39.3 on with reject_duplicate_keys; or let Envoy send the body, and use \"body\"",
        );
    }
    source.unwrap_or_default()
}

/// `max_body_bytes`: a body comes in a question, beside all else.
fn max_body_bytes(section: &mut Section<'_>, max_message_bytes: usize) -> usize {
    let most = section.get("max_body_bytes", "a number of bytes").unwrap_or(64 * 1024);
    // Where nobody has said it, shorter questions have shorter bodies.
    if !section.is_set("max_body_bytes") {
        return most.min(max_message_bytes / 2);
    }
    if most == 0 || most > max_message_bytes / 2 {
        section.problem(
            "max_body_bytes",
            "no body could be read, or a body would not fit into a check message",
            "write at most half of check.max_message_bytes",
        );
    }
    most
}

/// `context`: names, as a condition can write them, and their defaults.
fn context(section: &mut Section<'_>) -> Vec<(String, String)> {
    let expected = "a table of strings, such as { plan = \"free\" }";
    let named: BTreeMap<String, String> = section.get("context", expected).unwrap_or_default();
    let is_name = |name: &str| {
        name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            && name.bytes().next().is_some_and(|first| !first.is_ascii_digit())
    };
    if let Some(name) = named.keys().find(|name| !is_name(name)) {
        let cause = format!("a condition cannot use the name {name:?}");
        section.problem("context", cause, "use letters, digits and `_`");
    }
    named.into_iter().collect()
}

/// The name of a protocol, perhaps with its version (RFC 9110, section 7.8).
fn protocol(text: &str) -> Option<String> {
    let (name, version) = text.split_once('/').unwrap_or((text, "1"));
    let is_token = |part: &str| HeaderName::try_from(part).is_ok();
    (is_token(name) && is_token(version)).then(|| text.to_owned())
}

/// Without these a request is none any more.
pub(super) fn is_vital(name: &str) -> bool {
    matches!(
        name,
        "host" | "content-length" | "transfer-encoding" | "connection" | "upgrade" | "te"
    )
}

/// A header's name in lower case.
pub(super) fn header_name(text: &str) -> Option<String> {
    HeaderName::try_from(text).ok().map(|name| name.as_str().to_owned())
}

fn path_allow(section: &mut Section<'_>) -> PathAllow {
    const FORMS: [&str; 5] =
        ["encoded-slash", "semicolon", "encoded-percent", "encoded-hash", "encoded-question-mark"];
    let listed =
        section.parsed_list("path_allow", &format!("one of {}", FORMS.join(", ")), |form| {
            FORMS.into_iter().find(|known| *known == form)
        });
    let is_listed = |form| listed.contains(&form);
    PathAllow {
        encoded_slash: is_listed("encoded-slash"),
        semicolon: is_listed("semicolon"),
        encoded_percent: is_listed("encoded-percent"),
        encoded_hash: is_listed("encoded-hash"),
        encoded_question_mark: is_listed("encoded-question-mark"),
    }
}
