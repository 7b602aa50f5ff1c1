//! Cases: who asks for what, and what is to come of it. In YAML or TOML.

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Deserializer, de::Error as _};
use serde_json::{Map, Value};

/// The largest file of cases, in bytes.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// A file of cases.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    defaults: Defaults,
    cases: Vec<Case>,
}

/// What holds where a case does not say otherwise.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Defaults {
    #[serde(default)]
    request: Request,
    #[serde(rename = "as")]
    who: Option<Who>,
    token: Option<String>,
    #[serde(default)]
    context: BTreeMap<String, String>,
    #[serde(default)]
    expect: Expect,
}

/// A case, with the defaults of its file in it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) name: String,
    #[serde(default)]
    pub(super) request: Request,
    /// As whom it is asked.
    #[serde(rename = "as")]
    pub(super) who: Option<Who>,
    /// A token as it is, in the place of `as`.
    pub(super) token: Option<String>,
    /// What the gateway's route says (`context_extensions`).
    #[serde(default)]
    pub(super) context: BTreeMap<String, String>,
    pub(super) expect: Expect,
}

/// What is asked for.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Request {
    pub(super) method: Option<String>,
    pub(super) host: Option<String>,
    pub(super) scheme: Option<String>,
    pub(super) path: Option<String>,
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// What Envoy alone tells.
    pub(super) source: Option<Source>,
}

/// Where a request comes from.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Source {
    pub(super) address: Option<String>,
    pub(super) principal: Option<String>,
}

/// Who asks.
#[derive(Clone, Debug)]
pub(super) enum Who {
    /// `anonymous`: nobody.
    Nobody,
    /// Somebody with a good token.
    Somebody(Box<Somebody>),
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        if value == "anonymous" {
            return Ok(Self::Nobody);
        }
        serde_json::from_value(value).map(Self::Somebody).map_err(|error| {
            D::Error::custom(format!("`as` is neither \"anonymous\" nor a table: {error}"))
        })
    }
}

/// What their token says.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Somebody {
    pub(super) role: Option<String>,
    pub(super) id: Option<Value>,
    pub(super) name: Option<String>,
    pub(super) email: Option<String>,
    #[serde(default)]
    pub(super) scopes: Vec<String>,
    /// The name of an issuer; without it, this service.
    pub(super) issuer: Option<String>,
    /// Comes with a key for machines in the place of a token.
    #[serde(default)]
    pub(super) key: bool,
    /// More claims, over all that would be there.
    #[serde(default)]
    pub(super) claims: Map<String, Value>,
}

/// What is to come of it; what is not said may be anything.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Expect {
    pub(super) decision: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) rule: Option<String>,
    pub(super) status: Option<u16>,
    /// Headers that are set for the upstream, or in the answer of a denial.
    #[serde(default)]
    pub(super) headers: BTreeMap<String, String>,
    /// Headers that are taken off.
    #[serde(default)]
    pub(super) removed: Vec<String>,
    /// The shadow rules that would have denied, all of them.
    pub(super) shadow: Option<Vec<String>>,
}

impl Expect {
    fn says_nothing(&self) -> bool {
        self.decision.is_none()
            && self.reason.is_none()
            && self.rule.is_none()
            && self.status.is_none()
            && self.headers.is_empty()
            && self.removed.is_empty()
            && self.shadow.is_none()
    }
}

/// The cases of a file, which is TOML by its name, and else YAML (of which JSON is
/// a part).
///
/// # Errors
///
/// What is wrong with it, for a person.
pub(super) fn read(file: &Path) -> Result<Vec<Case>, String> {
    let about = std::fs::metadata(file).map_err(|error| error.to_string())?;
    if about.len() > MAX_BYTES {
        return Err("it is larger than 8 MiB".to_owned());
    }
    let text = std::fs::read_to_string(file).map_err(|error| error.to_string())?;
    let File { defaults, cases } = if file.extension().is_some_and(|name| name == "toml") {
        toml::from_str(&text).map_err(|error| error.to_string())?
    } else {
        serde_saphyr::from_str(&text).map_err(|error| error.to_string())?
    };
    let whole: Vec<Case> = cases.into_iter().map(|case| filled(case, &defaults)).collect();
    if let Some(case) = whole.iter().find(|case| case.expect.says_nothing()) {
        return Err(format!("the case {:?} expects nothing, so it cannot fail", case.name));
    }
    if let Some(case) = whole.iter().find(|case| case.request.path.is_none()) {
        return Err(format!("the case {:?} has no request.path", case.name));
    }
    Ok(whole)
}

/// The case with what its file says for all.
fn filled(case: Case, defaults: &Defaults) -> Case {
    let Defaults { request, who, token, mut context, expect } = defaults.clone();
    context.extend(case.context);
    let own_credential = case.who.is_some() || case.token.is_some();
    let mut headers = request.headers;
    headers.extend(case.request.headers);
    let mut expected = expect.headers;
    expected.extend(case.expect.headers);
    Case {
        name: case.name,
        request: Request {
            method: case.request.method.or(request.method),
            host: case.request.host.or(request.host),
            scheme: case.request.scheme.or(request.scheme),
            path: case.request.path.or(request.path),
            headers,
            source: case.request.source.or(request.source),
        },
        context,
        who: case.who.or(who.filter(|_| !own_credential)),
        token: case.token.or(token.filter(|_| !own_credential)),
        expect: Expect {
            decision: case.expect.decision.or(expect.decision),
            reason: case.expect.reason.or(expect.reason),
            rule: case.expect.rule.or(expect.rule),
            status: case.expect.status.or(expect.status),
            headers: expected,
            removed: [expect.removed, case.expect.removed].concat(),
            shadow: case.expect.shadow.or(expect.shadow),
        },
    }
}
