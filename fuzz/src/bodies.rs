//! What is asked of an MCP server or a model, by bodies, headers and forms.

use portcullis::operation::{Body, Carried, LlmAsk, McpAsk, McpSource, McpTold, Unclear};

use super::json::Json;

/// How long a body may be here.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// Looks at a request with these headers: an error for one that is there twice, as the
/// engine has it.
fn carried<T>(
    method: &str,
    query: &str,
    headers: &[(&str, &str)],
    body: Body<'_>,
    look: impl FnOnce(&Carried<'_, '_>) -> T,
) -> T {
    // What is read may live as long as the headers do.
    let header = |name: &str| {
        let mut all = headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
        match (all.next(), all.next()) {
            (_, Some(_)) => Err(Unclear::Headers),
            (one, None) => Ok(one.map(|(_, value)| *value)),
        }
    };
    look(&Carried {
        http_method: method,
        query,
        body,
        told: McpTold::Nothing,
        max_body_bytes: MAX_BODY_BYTES,
        header: &header,
    })
}

/// As readers fold a name that do not look at the case.
fn folded(name: &str) -> String {
    name.to_lowercase().replace('\u{17f}', "s").replace('\u{212a}', "k")
}

/// The only member of this name, to whoever reads: the first, the last, in whatever case.
fn only<'j>(object: &'j Json, name: &str) -> Option<&'j Json> {
    let alike: Vec<_> =
        object.members().iter().filter(|(it, _)| folded(it) == folded(name)).collect();
    assert!(alike.len() <= 1, "{name} is there twice to some");
    alike.first().map(|(it, value)| {
        assert_eq!(it, name, "to some it is, to others not");
        value
    })
}

/// Nothing that two readers of JSON read differently.
fn clear(body: &[u8]) -> Json {
    let plain = Json::read(body).expect("it is no JSON to a plain reader");
    assert!(matches!(plain, Json::Object(_)) && !plain.repeats() && !plain.overflows());
    assert!(plain.depth() <= 65);
    let theirs: serde_json::Value = serde_json::from_slice(body).expect("no JSON to another");
    assert!(plain.is(&theirs));
    plain
}

/// A body of JSON: what is taken of it is what every reader takes.
pub fn body(data: &[u8]) {
    let json = [("content-type", "application/json")];
    let read = |look: &dyn Fn(&Carried<'_, '_>)| {
        carried("POST", "", &json, Body::Whole(data), |carried| look(carried));
    };
    read(&|carried| {
        if let Ok(Some(ask)) = LlmAsk::read(carried) {
            is_llm(&ask, &clear(data));
        }
    });
    read(&|carried| match McpAsk::read(McpSource::Body, carried) {
        Ok(Some(ask)) => is_mcp(&ask, &clear(data)),
        Ok(None) => {
            let body = clear(data);
            let has = |name| only(&body, name).is_some();
            assert!(!has("method") && has("id") && has("result") != has("error"));
        }
        Err(_) => {}
    });
}

fn is_llm(ask: &LlmAsk<'_>, body: &Json) {
    assert_eq!(only(body, "model").and_then(Json::text), Some(&*ask.model));
    assert!(!ask.model.contains(',') && !ask.model.contains(char::is_control));
    let stream = match only(body, "stream") {
        None | Some(Json::Null) => false,
        Some(Json::Bool(stream)) => *stream,
        other => panic!("stream is {other:?}"),
    };
    assert_eq!(ask.stream, stream);
    let others = ["models", "fallbacks", "extra_body", "route", "user_config"];
    for other in others {
        assert!(matches!(only(body, other), None | Some(Json::Null)), "{other} names a model");
    }
    let number = |name| match only(body, name) {
        None | Some(Json::Null) => None,
        Some(Json::Number(number)) => Some(number.parse::<u64>().expect("it is no whole number")),
        other => panic!("{name} is {other:?}"),
    };
    let answers = ["n", "best_of"].into_iter().filter_map(number).max().unwrap_or(1).max(1);
    let limits: &[&str] = if only(body, "input").is_some() {
        &["max_output_tokens"]
    } else {
        &["max_tokens", "max_completion_tokens", "max_tokens_to_sample"]
    };
    let limit = limits.iter().filter_map(|name| number(name)).max();
    assert_eq!(ask.max_tokens, limit.map(|limit| limit.saturating_mul(answers)));
}

fn is_mcp(ask: &McpAsk<'_>, body: &Json) {
    assert_eq!(only(body, "jsonrpc").and_then(Json::text), Some("2.0"));
    assert_eq!(only(body, "method").and_then(Json::text), Some(&*ask.method));
    assert!(only(body, "result").is_none() && only(body, "error").is_none());
    let params = only(body, "params");
    let named = match &*ask.method {
        "tools/call" | "prompts/get" => params.and_then(|it| only(it, "name")),
        "resources/read" => params.and_then(|it| only(it, "uri")),
        _ => None,
    };
    assert_eq!(ask.name.as_deref(), named.and_then(Json::text));
    assert!(ask.method != "tools/call" || ask.tool().is_some());
    let is_plain = |text: &str| !text.contains(char::is_control) && text.trim() == text;
    assert!(is_plain(&ask.method) && ask.name.as_deref().is_none_or(is_plain));
}

/// A request to an MCP server or a model, with its headers: the method and the query in
/// the first line, then a header a line, then an empty line and the body.
pub fn operation(data: &[u8]) {
    let end = data.windows(2).position(|two| two == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&data[..end], Body::Whole(&data[end + 2..])),
        None => (data, Body::Absent),
    };
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let (method, query) = lines.next().unwrap_or_default().split_once(' ').unwrap_or(("POST", ""));
    let headers: Vec<(&str, &str)> = lines.filter_map(|line| line.split_once(": ")).collect();
    carried(method, query, &headers, body, |carried| {
        for source in [McpSource::Body, McpSource::Headers, McpSource::Envoy] {
            if let Ok(Some(ask)) = McpAsk::read(source, carried) {
                is_asked(&ask, source, &headers, body);
            }
        }
        let Ok(Some(ask)) = LlmAsk::read(carried) else { return };
        let Body::Whole(body) = body else { panic!("a model of no body") };
        assert!(body.len() <= MAX_BODY_BYTES);
        let names_model = |pair: &str| {
            let name: String = url::form_urlencoded::parse(pair.as_bytes())
                .map(|(name, _)| name.into_owned())
                .next()
                .unwrap_or_default();
            folded(name.trim()) == "model"
        };
        assert!(!query.split('&').any(names_model), "the query names a model");
        let kind = only_header(&headers, "content-type").unwrap_or_default().to_lowercase();
        assert!(
            only_header(&headers, "content-encoding")
                .is_none_or(|coding| coding.eq_ignore_ascii_case("identity"))
        );
        if kind.starts_with("application/json") {
            is_llm(&ask, &clear(body));
        } else {
            assert!(kind.starts_with("multipart/form-data"));
            let all = only_header(&headers, "content-type").unwrap_or_default();
            let at = all.to_ascii_lowercase().find("boundary=").expect("no boundary") + 9;
            let boundary = all[at..].trim().trim_matches('"');
            assert_eq!(lenient(body, boundary, "model"), [ask.model.as_bytes()]);
            let stream = lenient(body, boundary, "stream");
            assert_eq!(ask.stream, stream == [b"true"]);
            assert!(stream.is_empty() || stream == [b"true"] || stream == [b"false"]);
        }
    });
}

/// The value of a header that is there once.
fn only_header<'h>(headers: &[(&'h str, &'h str)], name: &str) -> Option<&'h str> {
    let mut all = headers.iter().filter(|(it, _)| it.eq_ignore_ascii_case(name));
    let first = all.next().map(|(_, value)| value.trim());
    assert!(all.next().is_none(), "{name} is there twice");
    first
}

fn is_asked(ask: &McpAsk<'_>, source: McpSource, headers: &[(&str, &str)], body: Body<'_>) {
    // Whoever is told by the headers is told the same.
    if let Some(method) = only_header(headers, "mcp-method") {
        assert_eq!(ask.method, method);
        let name = only_header(headers, "mcp-name");
        if let Some(name) = name.filter(|name| !name.starts_with("=?")) {
            assert_eq!(ask.name.as_deref(), Some(name));
        }
        assert_eq!(ask.name.is_some(), name.is_some());
    }
    match body {
        Body::Whole(body) => is_mcp(ask, &clear(body)),
        _ => assert_eq!(source, McpSource::Headers, "a message of no body"),
    }
}

/// A form, of a first line with the boundary: the field that is found is the only one of
/// its name to the most lenient reader there could be.
pub fn form(data: &[u8]) {
    let at = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    let Ok(boundary) = std::str::from_utf8(&data[..at]) else { return };
    let body = data.get(at + 1..).unwrap_or_default();
    let kind = format!("multipart/form-data; boundary={boundary}");
    let headers = [("content-type", kind.as_str())];
    carried("POST", "", &headers, Body::Whole(body), |carried| {
        let Ok(Some(ask)) = LlmAsk::read(carried) else { return };
        let boundary = boundary.trim_matches([' ', '\t']).trim_matches('"');
        assert_eq!(lenient(body, boundary, "model"), [ask.model.as_bytes()]);
    });
}

/// The contents of all parts of this name, and of what some readers take for it: cut at
/// any line that begins with the boundary, with either line end, names with or without
/// quotes, in any case, encoded or not, with brackets or dots behind them.
fn lenient<'b>(body: &'b [u8], boundary: &str, wanted: &str) -> Vec<&'b [u8]> {
    let delimiter = format!("--{boundary}");
    let mut cuts = Vec::new();
    for at in 0..body.len() {
        let begins_line = at == 0 || body[at - 1] == b'\n' || body[at - 1] == b'\r';
        if begins_line && body[at..].starts_with(delimiter.as_bytes()) {
            cuts.push(at);
        }
    }
    let mut found = Vec::new();
    for (number, at) in cuts.iter().enumerate() {
        let begin = at + delimiter.len();
        let end = cuts.get(number + 1).copied().unwrap_or(body.len());
        // The last one ends the form.
        let Some(part) = body.get(begin..end) else { continue };
        if part.starts_with(b"--") {
            continue;
        }
        let find = |what: &[u8]| {
            part.windows(what.len()).position(|it| it == what).map(|it| (it, what.len()))
        };
        let ends = [find(b"\r\n\r\n"), find(b"\n\n"), find(b"\r\r"), find(b"\n\r\n")];
        let Some((at, length)) = ends.into_iter().flatten().min() else { continue };
        let head = String::from_utf8_lossy(&part[..at]).to_lowercase();
        let content = &part[at + length..];
        let content = content.strip_suffix(b"\n").unwrap_or(content);
        let content = content.strip_suffix(b"\r").unwrap_or(content);
        if names(&head).iter().any(|name| name == wanted) {
            found.push(content);
        }
    }
    found
}

/// The names that readers find in the head of a part.
fn names(head: &str) -> Vec<String> {
    let mut all = Vec::new();
    for line in head.split(['\n', '\r']) {
        let Some((header, value)) = line.split_once(':') else { continue };
        if header.trim() != "content-disposition" {
            continue;
        }
        for parameter in value.split(';') {
            let Some((key, text)) = parameter.split_once('=') else { continue };
            if !matches!(key.trim(), "name" | "name*") {
                continue;
            }
            // A charset and a language stand before it, in the extended form.
            let text = if key.trim() == "name*" { text.rsplit('\'').next() } else { Some(text) };
            let text = text.unwrap_or_default().trim().trim_matches('"').trim();
            let plain = percent_decoded(text).replace('\\', "");
            let base = plain.split(['[', '.']).next().unwrap_or_default();
            all.push(folded(base));
        }
    }
    all
}

fn percent_decoded(text: &str) -> String {
    // The crate that is here for `application/x-www-form-urlencoded` decodes that, too.
    let kept = text.replace('+', "%2b").replace('&', "%26").replace('=', "%3d");
    url::form_urlencoded::parse(kept.as_bytes())
        .map(|(name, _)| name.into_owned())
        .next()
        .unwrap_or_default()
}
