//! `[[issuers]]`: whose tokens are good beside the service's own.

use std::{sync::Arc, time::Duration};

use url::Url;

use super::{
    identity::{no_role, role_map},
    keys::secret_key,
    reader::Section,
};
use crate::{
    issuers::{Fetch, KeySource, may_be_asked},
    token::{
        Algorithm, ClaimWay, ClaimWays, IssuerKeys, IssuerSettings, KeySet, KeySetError, LeftOut,
        Role, Roles,
    },
};

const DAY: Duration = Duration::from_secs(24 * 3600);
const HOUR: Duration = Duration::from_secs(3600);
/// Names that mean somebody else: this service itself, and the guests of single
/// sign-on, whose ids begin so.
const RESERVED: [&str; 2] = ["own", "sso"];
/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 64;
const AN_ISSUER: &str = "the `iss` of its tokens, such as \"https://idp.example.com/realms/acme\"";
const A_WAY: &str = "a claim, or the way to one, such as \"realm_access.roles\"";

/// One of `[[issuers]]`.
#[derive(Debug)]
pub struct IssuerConfig {
    /// What is known of it.
    pub settings: IssuerSettings,
    /// Its keys.
    pub keys: KeysFrom,
}

/// Where its keys come from.
#[derive(Debug)]
pub enum KeysFrom {
    /// They are in the configuration.
    Here(Arc<IssuerKeys>),
    /// They are fetched.
    Network(Box<KeySource>),
}

/// Reads all of them; those with a problem are left out.
pub(super) fn read(
    root: &mut Section<'_>,
    roles: Option<&Roles>,
    own_issuer: Option<&str>,
) -> Vec<IssuerConfig> {
    let tables = root.tables("issuers");
    let read: Vec<IssuerConfig> =
        tables.into_iter().filter_map(|table| issuer(table, roles)).collect();
    for (at, one) in read.iter().enumerate() {
        let settings = &one.settings;
        let others = || read.iter().take(at).map(|other| &other.settings);
        if others().any(|other| other.name == settings.name) {
            let cause = format!("two issuers have the name {:?}", settings.name);
            root.problem("issuers", cause, "give each its own");
        }
        let is_own = settings.issuer.is_some() && settings.issuer.as_deref() == own_issuer;
        if is_own || others().any(|other| other.issuer == settings.issuer) {
            let cause = match &settings.issuer {
                Some(iss) => format!("two issuers have the iss {iss:?}"),
                None => "two issuers have no iss".to_owned(),
            };
            root.problem("issuers", cause, "give each its own issuer, since it selects the keys");
        }
        let mixes = |other: &IssuerSettings| {
            other.id_prefix.starts_with(&settings.id_prefix)
                || settings.id_prefix.starts_with(&other.id_prefix)
        };
        if !settings.id_prefix.is_empty() && others().any(mixes) {
            let cause =
                format!("an id of {:?} can be the same as one of another issuer", settings.name);
            root.warn(
                "issuers",
                cause,
                "give each an id_prefix that no other id_prefix begins with",
            );
        }
    }
    read
}

fn issuer(mut section: Section<'_>, roles: Option<&Roles>) -> Option<IssuerConfig> {
    let name = name(&mut section);
    let issuer = section
        .parsed("issuer", AN_ISSUER, |text| (!text.trim().is_empty()).then(|| text.to_owned()));
    let ways: Vec<&'static str> =
        ["jwks_uri", "jwks_file", "keys"].into_iter().filter(|key| section.has(key)).collect();
    if ways.len() > 1 {
        let cause = format!("{} are both given", ways.join(" and "));
        section.problem("", cause, "keep only one of jwks_uri, jwks_file and keys");
    }
    let has_secrets = ways.first() == Some(&"keys");
    if issuer.is_none() && !has_secrets && !section.has("issuer") {
        section.problem("issuer", "the issuer has no iss", format!("write {AN_ISSUER}"));
    }
    let algorithms = algorithms(&mut section, has_secrets);
    let audience: Vec<String> = section
        .get("audience", "a list, such as [\"https://api.example.com\"]")
        .unwrap_or_default();
    if audience.is_empty() && !has_secrets {
        section.problem(
            "audience",
            "without it, a token made for any other service would be accepted here",
            "write the `aud` of tokens for this service: audience = [\"https://api.example.com\"]",
        );
    }
    let types: Vec<String> = section
        .get("typ", "a list, such as [\"JWT\", \"at+jwt\"]")
        .unwrap_or_else(|| ["JWT", "at+jwt"].map(str::to_owned).to_vec());
    let types = types.iter().map(|typ| {
        let typ = typ.to_ascii_lowercase();
        typ.strip_prefix("application/").unwrap_or(&typ).to_owned()
    });
    let id_tokens = section.get("id_tokens", "true or false").unwrap_or(false);
    let claims = claims(section.table("claims"));
    let has_map = section.has("role_map");
    let map = role_map(&mut section, roles);
    let default_role = default_role(&mut section, roles);
    let own_prefix = format!("{}:", name.as_deref().unwrap_or_default());
    let id_prefix =
        section.text("id_prefix", "what stands before its users' ids").unwrap_or(own_prefix);
    if id_prefix == "sso:" {
        let cause = "the ids of guests from single sign-on begin with it";
        section.problem("id_prefix", cause, "choose another prefix");
    }
    if id_prefix.is_empty() {
        section.warn(
            "id_prefix",
            "a user of this issuer counts as the user with the same id of another issuer",
            "leave it out, unless this issuer is the only one",
        );
    }
    let max_lifetime = span(&mut section, "max_lifetime", DAY);
    let keys = match ways.first() {
        Some(&"keys") => secrets(&mut section),
        Some(&"jwks_file") => key_file(&mut section, &algorithms),
        _ => network(&mut section, name.as_deref(), issuer.as_deref(), &algorithms),
    };
    section.finish();
    Some(IssuerConfig {
        settings: IssuerSettings {
            name: name?.into(),
            issuer,
            audience,
            algorithms,
            types: types.collect(),
            id_tokens,
            claims: claims?,
            role_map: has_map.then_some(map),
            default_role,
            id_prefix,
            max_lifetime,
        },
        keys: keys?,
    })
}

fn name(section: &mut Section<'_>) -> Option<String> {
    if !section.has("name") {
        section.problem("name", "the issuer has no name", "name it: name = \"acme\"");
    }
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    section.parsed(
        "name",
        "a name of letters, digits, \"-\", \"_\" and \".\", and neither \"own\" nor \"sso\"",
        |text| {
            let fits = (1..=MAX_NAME_BYTES).contains(&text.len())
                && text.bytes().all(plain)
                && !RESERVED.contains(&text);
            fits.then(|| text.to_owned())
        },
    )
}

fn algorithms(section: &mut Section<'_>, has_secrets: bool) -> Vec<Algorithm> {
    if !section.has("algorithms") {
        return if has_secrets {
            vec![Algorithm::Hs256]
        } else {
            vec![Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa]
        };
    }
    let known: Vec<&str> = Algorithm::PUBLIC.iter().map(|algorithm| algorithm.name()).collect();
    let expected = if has_secrets {
        "HS256, since it has keys".to_owned()
    } else {
        format!("one of {}", known.join(", "))
    };
    let listed = section.parsed_list("algorithms", &expected, |text| {
        Algorithm::parse(text).filter(|algorithm| (*algorithm == Algorithm::Hs256) == has_secrets)
    });
    if listed.is_empty() {
        section.problem("algorithms", "no token would be accepted", format!("list {expected}"));
    }
    listed
}

fn claims(mut section: Section<'_>) -> Option<ClaimWays> {
    let mut way = |key, usual: &str| {
        if section.has(key) {
            section.parsed(key, A_WAY, |text| ClaimWay::new(text))
        } else {
            ClaimWay::new(usual)
        }
    };
    let (id, name) = (way("id", "sub"), way("name", "preferred_username"));
    let (email, role) = (way("email", "email"), way("role", "realm_access.roles"));
    let scope = way("scope", "scope");
    section.finish();
    Some(ClaimWays { id: id?, name: name?, email: email?, role: role?, scope: scope? })
}

fn default_role(section: &mut Section<'_>, roles: Option<&Roles>) -> Option<Role> {
    let given = section.text("default_role", "a role");
    let role = roles?.get(given.as_deref().unwrap_or("INACTIVE"));
    if let (None, Some(name)) = (role, &given) {
        no_role(section, "default_role", name, roles?);
    }
    role
}

fn span(section: &mut Section<'_>, key: &'static str, usual: Duration) -> Duration {
    if !section.has(key) {
        return usual;
    }
    let span = section.duration(key);
    if span.is_zero() {
        section.problem(key, "it is zero", "write a duration such as \"1h\"");
    }
    span
}

fn secrets(section: &mut Section<'_>) -> Option<KeysFrom> {
    let tables = section.tables("keys");
    let count = tables.len();
    let keys: Vec<_> = tables.into_iter().filter_map(secret_key).collect();
    if count == 0 {
        section.problem("keys", "the list is empty", "write { kid = \"…\", secret_file = \"…\" }");
    }
    if keys.len() != count {
        return None;
    }
    KeySet::of_secrets(keys)
        .map_err(|error| section.problem("keys", error.to_string(), "give each key its own kid"))
        .ok()
        .map(|set| KeysFrom::Here(Arc::new(IssuerKeys::fixed(set))))
}

fn key_file(section: &mut Section<'_>, algorithms: &[Algorithm]) -> Option<KeysFrom> {
    let text = section.file("jwks_file")?;
    match KeySet::read(&text, algorithms) {
        Ok((set, left_out)) => {
            for LeftOut { key, cause } in left_out {
                let cause = format!("the key {key:?} is not used: {cause}");
                section.warn("jwks_file", cause, "remove it, or ask the issuer for another key");
            }
            Some(KeysFrom::Here(Arc::new(IssuerKeys::fixed(set))))
        }
        Err(error) => {
            let fix = match error {
                KeySetError::NoneFits => "list the algorithms of these keys in algorithms",
                _ => "save the document at the issuer's jwks_uri in it: {\"keys\": […]}",
            };
            section.problem("jwks_file", error.to_string(), fix);
            None
        }
    }
}

fn network(
    section: &mut Section<'_>,
    name: Option<&str>,
    issuer: Option<&str>,
    algorithms: &[Algorithm],
) -> Option<KeysFrom> {
    let insecure_http = section.get("insecure_http", "true or false").unwrap_or(false);
    let has_uri = section.has("jwks_uri");
    let jwks_uri = section.parsed("jwks_uri", "an https URL", |text| Url::parse(text).ok());
    let asked =
        if has_uri { jwks_uri.clone() } else { issuer.and_then(|iss| Url::parse(iss).ok()) };
    let key = if has_uri { "jwks_uri" } else { "issuer" };
    match &asked {
        None if has_uri => {}
        None if issuer.is_some() => section.problem(
            "issuer",
            "it is not a URL, so the issuer's keys cannot be found with it",
            "also set jwks_uri, jwks_file or keys",
        ),
        Some(url) if !may_be_asked(url, insecure_http) => section.problem(
            key,
            "anybody who can change the traffic to it can sign in as any user",
            "use https, or write insecure_http = true if nobody else can reach that traffic",
        ),
        _ => {}
    }
    let refresh = span(section, "refresh", HOUR);
    let stale_for = span(section, "stale_for", DAY);
    if stale_for < refresh {
        section.problem(
            "stale_for",
            "the keys would expire before they are fetched again",
            "write at least the value of refresh",
        );
    }
    let authorities = section.file("ca_file");
    if section.has("ca_file") && authorities.is_none() {
        return None;
    }
    if let Some(pem) = &authorities
        && Fetch::new(true, Some(pem)).is_err()
    {
        let fix = "name a PEM file of the authority that signed the issuer's certificate";
        section.problem("ca_file", "it contains no PEM certificate, or a broken one", fix);
        return None;
    }
    Some(KeysFrom::Network(Box::new(KeySource {
        name: name?.to_owned(),
        issuer: issuer?.to_owned(),
        jwks_uri: asked.filter(|_| has_uri),
        algorithms: algorithms.to_vec(),
        refresh,
        stale_for,
        authorities,
        insecure_http,
    })))
}
