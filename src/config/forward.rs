//! `forward`, of `[tokens]` and of a rule: how the credential goes on.

use serde_json::Value;
use url::Url;

use super::reader::Section;
use crate::authz::Forward;

const EXPECTED: &str = "\"as-is\", \"authorization-header\", \"none\", \"minted\", or { minted = { \
                        audience = \"https://tools.internal\" } }";

/// The issuer of the tokens that are made for upstreams.
pub(super) fn issuer(public_url: &Url) -> &str {
    public_url.as_str().trim_end_matches('/')
}

/// Reads it; `None` when it is not there, or there was a problem.
pub(super) fn read(section: &mut Section<'_>, public_url: Option<&Url>) -> Option<Forward> {
    let value: Value = section.get("forward", EXPECTED)?;
    let audience = || match &value {
        Value::String(text) if text == "minted" => public_url.map(issuer),
        Value::Object(table) if table.len() == 1 => {
            let minted = table.get("minted")?.as_object().filter(|minted| minted.len() == 1)?;
            minted.get("audience")?.as_str().filter(|audience| !audience.is_empty())
        }
        _ => None,
    };
    let forward = match value.as_str() {
        Some("as-is") => Some(Forward::AsIs),
        Some("authorization-header") => Some(Forward::AuthorizationHeader),
        Some("none") => Some(Forward::None),
        _ => audience().map(|audience| Forward::Minted(audience.into())),
    };
    // Without an address, that has been reported.
    let is_reported = value == "minted" && public_url.is_none();
    if forward.is_none() && !is_reported {
        section.problem("forward", "it is none of these", format!("write {EXPECTED}"));
    }
    forward
}
