//! `Mcp-Method` and `Mcp-Name` (MCP 2026-07-28, Streamable HTTP).

use std::borrow::Cow;

use base64::{Engine as _, engine::general_purpose::STANDARD};

use super::{Carried, Unclear, is_name};

/// The first protocol whose requests have these headers.
const SINCE: &str = "2026-07-28";

/// What the headers tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Told<'a> {
    pub(super) method: &'a str,
    pub(super) name: Option<Cow<'a, str>>,
}

/// What they tell; none where they are not there. A server of an older protocol does
/// not look at them, so that they say nothing about what it does.
pub(super) fn told<'a>(carried: &Carried<'_, 'a>) -> Result<Option<Told<'a>>, Unclear> {
    let header = |name| (carried.header)(name).map_err(|_| Unclear::Headers);
    let (method, name) = (header("mcp-method")?, header("mcp-name")?);
    let Some(method) = method else {
        return if name.is_some() { Err(Unclear::Headers) } else { Ok(None) };
    };
    let version = (carried.header)("mcp-protocol-version").map_err(|_| Unclear::Protocol)?;
    if !version.is_some_and(|version| is_date(version) && version >= SINCE) {
        return Err(Unclear::Protocol);
    }
    let name = name.map(decoded).transpose()?;
    let is_plain = is_name(method) && name.as_deref().is_none_or(is_name);
    if is_plain { Ok(Some(Told { method, name })) } else { Err(Unclear::Name) }
}

/// A name that is no plain text in ASCII comes in Base64.
fn decoded(value: &str) -> Result<Cow<'_, str>, Unclear> {
    let Some(rest) = value.strip_prefix("=?") else {
        return if value.is_ascii() { Ok(value.into()) } else { Err(Unclear::Name) };
    };
    let coded = rest.strip_prefix("base64?").and_then(|rest| rest.strip_suffix("?="));
    let bytes = coded.and_then(|coded| STANDARD.decode(coded).ok()).ok_or(Unclear::Name)?;
    String::from_utf8(bytes).map(Cow::Owned).map_err(|_| Unclear::Name)
}

fn is_date(text: &str) -> bool {
    text.len() == SINCE.len()
        && text.bytes().zip(SINCE.bytes()).all(|(byte, form)| match form {
            b'-' => byte == b'-',
            _ => byte.is_ascii_digit(),
        })
}
