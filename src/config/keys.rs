//! `tokens.keys`: the service's own keys.

use std::{os::unix::ffi::OsStringExt as _, path::Path, time::Duration};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretSlice};
use url::Url;

use super::{
    forward, issuers::IssuerConfig, layers::Sources, reader::Section, tokens::TokensConfig,
};
use crate::{
    authz::{Forward, Policy},
    token::{Key, KeyError, KeyRing, is_a_known_default},
};

const MAKE_A_KEY: &str =
    "make one with `openssl rand -hex 32`, and give it as tokens.keys or as AUTH_JWT_SECRET";
const MAKE_A_PAIR: &str = "make one with `portcullis key-pair > es256.pem`";
/// A file that is younger may hold a key that nobody has been told of.
const NEW: Duration = Duration::from_secs(3600);

/// The keys; `None` when there was a problem. Without `needed`, there need not
/// be any.
pub(super) fn read(section: &mut Section<'_>, sources: &Sources, needed: bool) -> Option<KeyRing> {
    let tables = section.tables("keys");
    let count = tables.len();
    let given = count > 0;
    let mut first_is_new = false;
    let mut keys: Vec<Key> = Vec::with_capacity(count);
    for (at, table) in tables.into_iter().enumerate() {
        if table.has("private_key_file") {
            let pair = key_pair(table);
            first_is_new |= at == 0 && pair.as_ref().is_some_and(|(_, is_new)| *is_new);
            keys.extend(pair.map(|(key, _)| key));
        } else {
            keys.extend(secret_key(table));
        }
    }
    if !given && section.is_set("keys") {
        section.problem(
            "keys",
            "the list is empty",
            "name a key, or leave the list out for AUTH_JWT_SECRET",
        );
        return None;
    }
    if !given && (needed || sources.secret().is_some()) {
        keys.push(key_without_configuration(section, sources)?);
    }
    if keys.len() < count {
        return None;
    }
    // The keys that others can know by now.
    if first_is_new && keys.iter().filter(|key| key.public().is_some()).count() == 1 {
        section.warn(
            "keys",
            "the first key is new and the only one that is published: whoever has fetched the \
             keys before this one came refuses what it signs",
            "to change a key, add the new one behind the old one, and move it to the first place \
             after an hour; of the very first key, nothing is to be done",
        );
    }
    KeyRing::new(keys)
        .map_err(|error| section.problem("keys", error.to_string(), "give each key its own kid"))
        .ok()
}

/// A shared secret, of this service or of another issuer.
pub(super) fn secret_key(mut section: Section<'_>) -> Option<Key> {
    let kid = section.text("kid", "a name, such as \"2026-11\"");
    let secret = section.secret("secret", "secret_file");
    if secret.is_none() && !section.has("secret") && !section.has("secret_file") {
        let mend = "give it a secret or a secret_file, or a private_key_file";
        section.problem("", "the key has no secret", mend);
    }
    let key = secret.and_then(|secret| {
        warn_of_default(&section, "", &secret);
        Key::new(kid, &secret)
            .map_err(|error| section.problem("", error.to_string(), MAKE_A_KEY))
            .ok()
    });
    section.finish();
    key
}

/// A key by which everybody can verify, and whether its file is new.
fn key_pair(mut section: Section<'_>) -> Option<(Key, bool)> {
    const FILE: &str = "private_key_file";
    let kid = section.parsed("kid", "a name, such as \"2026-11\"", |text| {
        (!text.is_empty()).then(|| text.to_owned())
    });
    if !section.has("kid") {
        let cause = "the key has no kid, by which others find it among the public ones";
        section.problem("kid", cause, "name it, such as kid = \"2026-11\"");
    }
    let is_new = section.path(FILE).is_some_and(|file| is_new(&file));
    let pem = section.file(FILE).map(SecretSlice::from);
    let key = pem.and_then(|pem| {
        let key = match PrivateKeyDer::from_pem_slice(pem.expose_secret()) {
            Ok(PrivateKeyDer::Pkcs8(der)) => {
                let der = SecretSlice::from(der.secret_pkcs8_der().to_vec());
                Key::pair(kid.clone().unwrap_or_default(), &der)
            }
            _ => Err(KeyError::NoPair),
        };
        key.map_err(|error| section.problem(FILE, error.to_string(), MAKE_A_PAIR)).ok()
    });
    section.finish();
    kid.and(key).map(|key| (key, is_new))
}

fn is_new(file: &Path) -> bool {
    let changed = std::fs::metadata(file).and_then(|about| about.modified());
    changed.is_ok_and(|at| at.elapsed().is_ok_and(|age| age < NEW))
}

fn warn_of_default(section: &Section<'_>, key: &str, secret: &SecretSlice<u8>) {
    if is_a_known_default(secret) {
        section.warn(
            key,
            "the key is the default of Texera's auth.conf, so that everybody can sign tokens with it",
            "set another one there (`openssl rand -hex 32`), and give it here",
        );
    }
}

fn key_without_configuration(section: &Section<'_>, sources: &Sources) -> Option<Key> {
    let Some(secret) = sources.secret() else {
        section.problem("keys", "there is no key to verify tokens with", MAKE_A_KEY);
        return None;
    };
    let secret = SecretSlice::from(secret.into_vec());
    warn_of_default(section, "keys", &secret);
    Key::new(None, &secret)
        .map_err(|error| section.problem("keys", format!("AUTH_JWT_SECRET: {error}"), MAKE_A_KEY))
        .ok()
}

/// What is looked at together.
pub(super) struct Uses<'a> {
    pub(super) keys: &'a KeyRing,
    /// Whether people sign in here.
    pub(super) signs_in: bool,
    pub(super) tokens: &'a TokensConfig,
    pub(super) policy: Option<&'a Policy>,
    pub(super) issuers: &'a [IssuerConfig],
    pub(super) public_url: &'a Url,
    pub(super) is_for_upstream: bool,
}

/// Reports what the keys are needed for and do not serve.
pub(super) fn check_use(root: &mut Section<'_>, uses: &Uses<'_>) {
    let Uses { keys, signs_in, tokens, policy, issuers, public_url, is_for_upstream } = *uses;
    let is_public_url_set = root.table("http").is_set("public_url");
    if !is_for_upstream {
        check_others(root, issuers, public_url, keys);
    }
    if signs_in && keys.is_empty() {
        let cause = "people sign in here, and there is no key to sign their tokens with";
        root.problem("tokens", cause, MAKE_A_KEY);
    }
    let of_rules =
        policy.into_iter().flat_map(Policy::rules).filter_map(|rule| rule.forward.as_ref());
    let audiences: Vec<&str> = of_rules
        .chain([&tokens.forward])
        .filter_map(|forward| match forward {
            Forward::Minted(audience) => Some(&**audience),
            _ => None,
        })
        .collect();
    if !audiences.is_empty() && !is_public_url_set {
        root.warn(
            "http",
            format!("upstreams get tokens of the issuer {public_url}, which is the default"),
            "set http.public_url to the address by which they reach the public keys",
        );
    }
    let own_issuer = tokens.settings.issuer.as_deref();
    let own_audience = tokens.settings.audience.as_deref();
    if own_issuer == Some(forward::issuer(public_url))
        && own_audience.is_some_and(|own| audiences.contains(&own))
    {
        root.problem(
            "tokens",
            "the own tokens and those for upstreams have one issuer and one audience, so that an \
             upstream would take the one for the other",
            "give tokens.audience or the upstreams' audience another name",
        );
    }
    if !audiences.is_empty() && !keys.has_pair() {
        root.problem(
            "tokens",
            "tokens are to be minted for upstreams, and there is no key that these could verify by",
            "make one with `portcullis key-pair > es256.pem`, and name it in tokens.keys: { kid = \
             \"2026-11\", private_key_file = \"es256.pem\" }",
        );
    }
    // Theirs is what a token without `iss` is taken for.
    let nameless = issuers.iter().find(|issuer| issuer.settings.issuer.is_none());
    if let Some(nameless) =
        nameless.filter(|_| !keys.is_empty() && tokens.settings.issuer.is_none())
    {
        let name = &nameless.settings.name;
        let cause = format!(
            "a token without iss is taken for one of {name:?}, and this service's own have none"
        );
        let mend = "set tokens.issuer, which the own tokens then have as iss";
        if signs_in {
            root.problem("tokens", cause, mend);
        } else {
            root.warn("tokens", cause, mend);
        }
    }
}

/// Reports an issuer that is this service itself, as upstreams know it: whoever
/// gets a token for an upstream could use it as its client.
fn check_others(root: &Section<'_>, issuers: &[IssuerConfig], public_url: &Url, keys: &KeyRing) {
    let own = Some(forward::issuer(public_url));
    let is_own = |issuer: &&IssuerConfig| issuer.settings.issuer.as_deref() == own;
    if let Some(issuer) = issuers.iter().find(is_own).filter(|_| keys.has_pair()) {
        let name = &issuer.settings.name;
        let cause = format!("{name:?} is this service itself: its iss is http.public_url");
        root.problem("issuers", cause, "take it out; it is for upstreams that check once more");
    }
}
