//! Access logs: what of a request they tell.

use std::sync::LazyLock;

use regex::Regex;

use super::{chain::Chain, names, report::Report, tree::Node};

const FIX_PATH: &str = "write %PATH(NQ)%, which leaves the query out";

/// An operator such as `%REQ(X?Y):10%`, at the beginning of a text.
static OPERATOR: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"^%([A-Z_]+)(?:\(([^%]*)\))?(?::[0-9]+)?%").ok());

/// What a log tells that it should not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tells {
    /// The query, which may have a token.
    Query,
    /// A credential.
    Credential,
}

/// Looks at the logs of a connection manager, and at those of its requests to upstreams.
pub(super) fn look(manager: &Node<'_>, chain: &Chain<'_>, report: &mut Report) {
    for log in manager.list("access_log").iter().chain(&chain.upstream_logs()) {
        look_at_log(log, report);
    }
}

fn look_at_log(log: &Node<'_>, report: &mut Report) {
    let Some(typed) = log.typed("typed_config") else { return };
    let body = &typed.body;
    match typed.name.rsplit('.').next().unwrap_or_default() {
        "FileAccessLog" | "StdoutAccessLog" | "StderrAccessLog" => look_at_text(body, report),
        "HttpGrpcAccessLogConfig" => {
            report.warn(
                body,
                "it logs the path with its query, which may contain a WebSocket's token",
                "use a log format with %PATH(NQ)%",
            );
            let lists = ["additional_request_headers_to_log", "additional_response_headers_to_log"];
            for header in lists.iter().flat_map(|list| body.list(list)) {
                let name = header.as_text().unwrap_or_default();
                if names::is_credential(name) || name.eq_ignore_ascii_case("set-cookie") {
                    report.error(&header, format!("{name} is a credential"), "take it out");
                }
            }
        }
        "OpenTelemetryAccessLogConfig" | "FluentdAccessLogConfig" | "Config" => {
            look_at_operators(body, report);
        }
        _ => report.warn(
            body,
            "it is not known what this log contains of a request",
            "see that it tells no query and no credential",
        ),
    }
}

/// A log that is text, or JSON.
fn look_at_text(body: &Node<'_>, report: &mut Report) {
    let format = body.get("log_format");
    let source = format.as_ref().and_then(|format| format.get("text_format_source"));
    if let Some(source) = &source
        && source.get("inline_string").is_none()
    {
        report.warn(
            source,
            "the log's format is not in this file",
            "see that it tells no query and no credential",
        );
        return;
    }
    let formats = ["format", "json_format", "typed_json_format"];
    let is_said = |of: &Node<'_>| {
        ["text_format", "text_format_source", "json_format", "format", "typed_json_format"]
            .iter()
            .any(|field| of.get(field).is_some())
    };
    if !format.as_ref().is_some_and(is_said) && !formats.iter().any(|it| body.get(it).is_some()) {
        report.warn(
            body,
            "Envoy's own format logs the path with its query, which may contain a WebSocket's token",
            "write a log_format with %PATH(NQ)%",
        );
        return;
    }
    look_at_operators(body, report);
}

/// Every operator in a format.
pub(super) fn look_at_operators(body: &Node<'_>, report: &mut Report) {
    for (at, text) in body.texts() {
        for operator in operators(text) {
            match operator.tells() {
                None => {}
                Some(Tells::Query) => report.warn(
                    &at,
                    format!(
                        "{} has the query, which may contain a WebSocket's token",
                        operator.whole
                    ),
                    FIX_PATH,
                ),
                Some(Tells::Credential) => {
                    report.error(&at, format!("{} is a credential", operator.whole), "take it out");
                }
            }
        }
    }
}

struct Operator<'a> {
    whole: &'a str,
    name: &'a str,
    of: &'a str,
}

/// All operators in a text. One may begin within what looks like another, as `%H` does
/// in a time's format: each sign is tried.
fn operators(text: &str) -> impl Iterator<Item = Operator<'_>> {
    text.match_indices('%').filter_map(|(at, _)| {
        let found = OPERATOR.as_ref()?.captures(text.get(at..)?)?;
        let part = |n| found.get(n).map_or("", |part| part.as_str());
        Some(Operator { whole: part(0), name: part(1), of: part(2) })
    })
}

impl Operator<'_> {
    fn tells(&self) -> Option<Tells> {
        match self.name {
            "PATH" => (self.of.split(':').next() != Some("NQ")).then_some(Tells::Query),
            "REQ" | "REQUEST_HEADER" => {
                let mut names = self.of.split('?').map(str::trim);
                if names.clone().any(names::is_credential) {
                    return Some(Tells::Credential);
                }
                let paths = [":path", "x-envoy-original-path"];
                let is_path = |name: &str| paths.iter().any(|it| it.eq_ignore_ascii_case(name));
                // Envoy's own format writes `PATH` for `:PATH`.
                names
                    .any(|name| is_path(name) || name.eq_ignore_ascii_case("path"))
                    .then_some(Tells::Query)
            }
            "RESP" | "RESPONSE_HEADER" => {
                let mut names = self.of.split('?').map(str::trim);
                names
                    .any(|name| name.eq_ignore_ascii_case("set-cookie"))
                    .then_some(Tells::Credential)
            }
            "QUERY_PARAMS" => Some(Tells::Query),
            "QUERY_PARAM" => self.of.contains("token").then_some(Tells::Credential),
            "COOKIE" => Some(Tells::Credential),
            "CEL" => of_expression(&self.of.to_ascii_lowercase()),
            _ => None,
        }
    }
}

/// What an expression of CEL tells.
fn of_expression(text: &str) -> Option<Tells> {
    let headers = text.match_indices("request.headers").any(|(at, whole)| {
        let rest = text.get(at + whole.len()..).unwrap_or_default().trim_start();
        // One header, by its name; else all of them.
        let name = rest.strip_prefix(['[', '.']).unwrap_or_default();
        let name = name.trim_start_matches([' ', '"', '\'']);
        let end = name.find(['"', '\'', ']', ' ', '.', ')']).unwrap_or(name.len());
        let name = name.get(..end).unwrap_or_default();
        name.is_empty() || names::is_credential(name) || name == "contains"
    });
    if headers {
        return Some(Tells::Credential);
    }
    let query = ["request.path", "request.query", ":path"];
    query.iter().any(|part| text.contains(part)).then_some(Tells::Query)
}
