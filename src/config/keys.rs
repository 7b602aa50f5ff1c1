//! `tokens.keys`: the service's own keys.

use std::{os::unix::ffi::OsStringExt as _, path::Path, time::Duration};

use rustls::pki_types::{PrivateKeyDer, pem::PemObject as _};
use secrecy::{ExposeSecret as _, SecretSlice};

use super::{layers::Sources, reader::Section};
use crate::token::{Key, KeyError, KeyRing, is_a_known_default};

pub(super) const MAKE_A_KEY: &str =
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
            "the first key is new, and it is the only published one: a service that fetched the \
             keys before it was added refuses the tokens that it signs",
            "to replace a key, add the new one after the old one, and move it to the first place \
             after an hour; if this is your very first key, there is nothing to do",
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
        let fix = "give it a secret or a secret_file, or a private_key_file";
        section.problem("", "the key has no secret", fix);
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
        let cause = "the key has no kid, which others need to find it among the public keys";
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
            "the key is the default in Texera's auth.conf, so anybody can sign tokens with it",
            "set another key there (`openssl rand -hex 32`), and give it here",
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
