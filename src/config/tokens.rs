//! `[tokens]`: the keys, what a token must fulfil, and where it is carried.

use std::{collections::BTreeMap, time::Duration};

use url::Url;

use super::{forward, keys, layers::Sources, reader::Section, shape};
use crate::{
    authz::{Forward, Origin, QueryOn},
    clock::Timestamp,
    token::{KeyRing, MAX_LEEWAY, RevocationList, Roles, TokenRef, UserId, VerifierSettings},
};

/// `[tokens]`.
#[derive(Debug)]
pub struct TokensConfig {
    /// The keys; none when there was a problem.
    pub keys: Option<KeyRing>,
    /// What a token must fulfil.
    pub settings: VerifierSettings,
    /// What is refused before its time, for as long as it is named.
    pub revoked: RevocationList,
    /// How long a token lives that this service issues.
    pub lifetime: Duration,
    /// The query parameter.
    pub query_parameter: String,
    /// When the query may carry the token.
    pub query_on: QueryOn,
    /// The cookie.
    pub cookie: CookieConfig,
    /// How the credential goes on to the upstream.
    pub forward: Forward,
}

/// `tokens.cookie`.
#[derive(Clone, Debug)]
pub struct CookieConfig {
    /// Its name, without the prefix that it gets on https.
    pub name: String,
    /// Its domain; none for the host alone.
    pub domain: Option<String>,
    /// Whether checks read it.
    pub accept: bool,
    /// Further origins whose pages may use it.
    pub origins: Vec<Origin>,
}

impl TokensConfig {
    /// Without `needs_keys`, there need not be any.
    pub(super) fn read(
        mut section: Section<'_>,
        sources: &Sources,
        roles: Option<&Roles>,
        public_url: Option<&Url>,
        needs_keys: bool,
    ) -> Self {
        let keys = keys::read(&mut section, sources, needs_keys);
        let settings = VerifierSettings {
            issuer: section.text("issuer", "the `iss` of your tokens"),
            audience: section.text("audience", "the `aud` of your tokens"),
            leeway: section.duration("leeway"),
            max_lifetime: section.duration("max_lifetime"),
            assume_lifetime: section
                .has("assume_lifetime")
                .then(|| section.duration("assume_lifetime")),
            shape: shape::read(&mut section, roles),
        };
        if settings.assume_lifetime.is_some_and(|assumed| assumed < settings.max_lifetime) {
            section.warn(
                "assume_lifetime",
                "a token without `iat` that lives longer than this counts as issued later than it \
                 was, so that a cut-off may miss it",
                "write how long your tokens live, and the same as tokens.max_lifetime",
            );
        }
        if settings.leeway > MAX_LEEWAY {
            let most = humantime::format_duration(MAX_LEEWAY);
            section.problem(
                "leeway",
                "clocks do not differ that much",
                format!("write at most {most}"),
            );
        }
        let lifetime = section.duration("lifetime");
        if settings.max_lifetime.is_zero() {
            section.problem("max_lifetime", "no token would be accepted", "write a duration");
        } else if lifetime > settings.max_lifetime || lifetime.is_zero() {
            section.problem(
                "lifetime",
                "the tokens that it issues would not be accepted",
                "write more than zero, and at most tokens.max_lifetime",
            );
        }
        let config = Self {
            keys,
            settings,
            revoked: revoked(section.table("revoked")),
            lifetime,
            query_parameter: section
                .parsed("query_parameter", "a name of letters, digits, \"-\" and \"_\"", plain_name)
                .unwrap_or_default(),
            query_on: section
                .parsed("query_parameter_on", "\"websocket\", \"always\" or \"never\"", |on| {
                    Some(match on {
                        "websocket" => QueryOn::Websocket,
                        "always" => QueryOn::Always,
                        "never" => QueryOn::Never,
                        _ => return None,
                    })
                })
                .unwrap_or(QueryOn::Never),
            cookie: cookie(section.table("cookie")),
            forward: forward::read(&mut section, public_url).unwrap_or(Forward::None),
        };
        section.finish();
        config
    }
}

fn plain_name(text: &str) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (!text.is_empty() && text.bytes().all(plain)).then(|| text.to_owned())
}

/// `tokens.revoked`: tokens by their `jti`, and users by the time up to which
/// all that they were issued is void.
fn revoked(mut section: Section<'_>) -> RevocationList {
    const USERS: &str = "a table of times, such as { \"7\" = \"2026-11-25T12:00:00Z\" }";
    let list = RevocationList::empty();
    let forever = Timestamp::from_millis(i64::MAX);
    let ids = section
        .parsed_list("ids", "the `jti` of a token", |id| (!id.is_empty()).then(|| id.to_owned()));
    for id in ids {
        list.revoke_token(TokenRef::by_id(&id), forever);
        // Or that of an issuer, behind its name.
        if let Some((issuer, id)) = id.split_once('/') {
            list.revoke_token(TokenRef::by_id_of(Some(issuer), id), forever);
        }
    }
    let users: BTreeMap<String, String> = section.get("users", USERS).unwrap_or_default();
    for (user, time) in users {
        match (UserId::new(user.as_str()), Timestamp::parse(&time)) {
            (Some(_), Some(at)) => list.cut_off_user(&user, at),
            (None, _) => section.problem("users", "a user has no id", format!("write {USERS}")),
            (_, None) => {
                let cause = format!("the time of user {user:?} is not a time");
                section.problem("users", cause, format!("write {USERS}"));
            }
        }
    }
    section.finish();
    list
}

fn cookie(mut section: Section<'_>) -> CookieConfig {
    let config = CookieConfig {
        name: section
            .parsed("name", "a name of letters, digits, \"-\" and \"_\"", plain_name)
            .unwrap_or_default(),
        domain: section
            .text("domain", "a domain, or \"\" for the host alone")
            .filter(|domain| !domain.is_empty()),
        accept: section.get("accept", "true or false").unwrap_or(false),
        origins: section.parsed_list(
            "origins",
            "an origin such as \"https://a.example.com\"",
            Origin::parse,
        ),
    };
    let domain = config.domain.as_deref().map(|domain| domain.trim_start_matches('.'));
    if let Some(domain) = domain.filter(|domain| is_public_suffix(domain)) {
        section.warn(
            "domain",
            format!(
                "anybody can have a site below {domain}, so browsers reject cookies for that domain"
            ),
            "write a domain of your own, such as \"example.com\", or \"\" for only this host",
        );
    }
    section.finish();
    config
}

/// Whether it is no one's own (the Public Suffix List). Of `localhost`, browsers
/// know that it is this machine's.
fn is_public_suffix(domain: &str) -> bool {
    let domain = domain.to_ascii_lowercase();
    domain != "localhost"
        && domain.parse::<std::net::IpAddr>().is_err()
        && psl::suffix(domain.as_bytes())
            .is_some_and(|suffix| suffix.as_bytes() == domain.as_bytes())
}
