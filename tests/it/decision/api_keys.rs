//! Keys for machines: where a request carries one, what it is worth, and that it
//! never goes on. Over 400 lines, since all of it is asked of the decision alone, with
//! the same keys.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis::{
    api_key::{ApiKey, KeyChange, KeyId, KeySays, NewKey, entry_of_file},
    app::{self, Lists},
    authz::Engine,
    clock::Timestamp,
    token::{Revocation, RevocationList},
};
use secrecy::ExposeSecret as _;

use crate::ask::{Ask, NOW, Out, ask, config, good};

/// A key that is good.
pub(crate) struct Made {
    pub(crate) text: String,
    pub(crate) key: ApiKey,
}

/// A key of a user, of whom the rest is as usual.
pub(crate) fn made(change: impl FnOnce(&mut ApiKey)) -> Made {
    let new = NewKey::make().unwrap();
    let says = KeySays {
        user_id: "77".to_owned(),
        name: "ci".to_owned(),
        role: "REGULAR".to_owned(),
        scopes: vec!["agents:run".to_owned()],
        created: Some(NOW - 100),
        ..KeySays::default()
    };
    let mut key = ApiKey { id: new.id, hash: new.hash, says, expires: None, revoked: None };
    change(&mut key);
    Made { text: new.text.expose_secret().to_owned(), key }
}

/// An engine that takes these keys, as those of the store.
pub(crate) fn engine_of(toml: &str, keys: &[&Made]) -> Engine {
    let lists = Lists::from(Arc::new(RevocationList::empty()));
    let changes: Vec<_> =
        keys.iter().map(|made| KeyChange::Key(Box::new(made.key.clone()))).collect();
    lists.keys.apply(&changes, |_, _, _| {});
    app::engine(config(toml), lists)
}

const TAKEN: &str = "[api_keys]\n";

fn basic(user: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{password}")))
}

fn agents() -> Ask {
    ask("GET", "/api/agents")
}

fn short(out: &Out) -> (u16, &'static str) {
    (out.status, out.reason)
}

#[test]
fn a_key_is_taken_from_each_of_its_places_and_goes_on_from_none() {
    let key = made(|_| {});
    let engine = engine_of(TAKEN, &[&key]);
    let text = &key.text;
    for (question, taken_off) in [
        (agents().with("x-api-key", text), "x-api-key"),
        (agents().listed("X-Api-Key", text), "x-api-key"),
        (agents().with("x-api-key", text).listed("x-api-key", text), "x-api-key"),
        (agents().bearer(text), "authorization"),
        (agents().with("Authorization", &format!("bearer  {text} ")), "authorization"),
        (agents().with("authorization", &basic("", text)), "authorization"),
        (agents().with("authorization", &basic("anybody", text)), "authorization"),
        (agents().with("authorization", basic("ab", text).trim_end_matches('=')), "authorization"),
        (agents().with("x-api-key", text).with("authorization", "Digest a=b"), "x-api-key"),
    ] {
        let out = question.of(&engine);
        assert_eq!(short(&out), (200, ""), "{taken_off}");
        assert!(out.removes(taken_off) && out.removes("x-api-key"), "{:?}", out.remove);
        for (name, value) in &out.set {
            assert!(!value.contains("pck_"), "{name}");
        }
        assert_eq!(out.sets("x-user-id"), Some("77"));
        assert_eq!(out.sets("x-user-name"), Some("ci"));
        assert_eq!(out.sets("x-user-role"), Some("REGULAR"));
        assert_eq!(out.sets("x-user-email"), None);
        assert_eq!(out.sets("authorization"), None);
    }
}

#[test]
fn two_credentials_are_ambiguous_of_whatever_kinds() {
    let (key, other) = (made(|_| {}), made(|_| {}));
    let engine = engine_of(TAKEN, &[&key, &other]);
    let (text, websocket) = (&key.text, format!("/api/agents?access-token={}", good()));
    for question in [
        agents().with("x-api-key", text).bearer(&good()),
        agents().with("x-api-key", text).bearer(text),
        agents().with("x-api-key", text).bearer(&other.text),
        agents().with("x-api-key", text).with("authorization", &basic("a", text)),
        agents().with("x-api-key", text).with("X-API-Key", &other.text),
        agents().with("x-api-key", text).listed("x-api-key", &other.text),
        agents().with("x-api-key", &format!("{text},{}", other.text)),
        agents().with("x-api-key", &format!("{text}, {text}")),
        agents().with("authorization", &format!("Bearer {text},Bearer {text}")),
        agents().with("authorization", &format!("{},Digest a=b", basic("a", text))),
        ask("GET", &websocket).with("upgrade", "websocket").with("x-api-key", text),
        ask("GET", &websocket).with("upgrade", "websocket").bearer(text),
    ] {
        assert_eq!(short(&question.of(&engine)), (400, "ambiguous_credential"));
    }
    // A cookie comes by itself: whoever says who they are is who they say.
    let cookie = agents().with("cookie", &format!("token={}", good())).with("x-api-key", text);
    assert_eq!(cookie.of(&engine).user, "77");
    // The password of Basic begins at the first colon.
    let colon = agents().with("authorization", &basic("anybody:at all", text));
    assert_eq!(short(&colon.of(&engine)), (401, "no_credential"));
    // An empty header is none, and another scheme is somebody else's.
    assert_eq!(agents().with("x-api-key", " ").bearer(&good()).of(&engine).user, "7");
    let digest = agents().with("x-api-key", text).with("authorization", "Digest a=b");
    assert_eq!(digest.of(&engine).user, "77");
}

#[test]
fn what_is_wrong_with_a_key_has_one_reason() {
    let key = made(|_| {});
    let expired = made(|key| key.expires = Some(Timestamp::from_secs(NOW)));
    let lasting = made(|key| key.expires = Some(Timestamp::from_secs(NOW + 1)));
    let revoked = made(|key| key.revoked = Some(Timestamp::from_secs(NOW - 1)));
    let near = made(|key| key.says.allow = vec!["10.0.0.0/8".parse().unwrap()]);
    let odd = made(|key| key.says.role = "GONE".to_owned());
    let stranger = made(|_| {});
    let engine = engine_of(TAKEN, &[&key, &expired, &lasting, &revoked, &near, &odd]);
    let text = &key.text;
    let with_secret_of_another = format!("{}{}", &text[..16], &stranger.text[16..]);
    // Its checksum is made anew, or it would be told by that.
    let forged = with_checksum(&with_secret_of_another[..59]);
    // A right secret under an id that is none: whatever that is compared with, it is nobody's.
    let nameless = with_checksum(&format!("{}{}", &stranger.text[..16], &text[16..59]));
    let slip = format!("{}{}", &text[..64], if text.ends_with('0') { '1' } else { '0' });
    for (text, expected) in [
        (text.as_str(), (200, "")),
        (&lasting.text, (200, "")),
        (&stranger.text, (401, "unknown_key_id")),
        (&nameless, (401, "unknown_key_id")),
        (&forged, (401, "bad_key")),
        (&odd.text, (401, "bad_key")),
        (&expired.text, (401, "key_expired")),
        (&revoked.text, (401, "key_revoked")),
        (&slip, (401, "malformed_key")),
        (&text[..64], (401, "malformed_key")),
        ("pck_", (401, "malformed_key")),
        (&format!("{text}.e30.x"), (401, "malformed_key")),
        (&near.text, (401, "key_address")),
    ] {
        for question in [agents().bearer(text), agents().with("x-api-key", text)] {
            let out = question.of(&engine);
            assert_eq!(short(&out), expected, "{text}");
            if out.status != 200 {
                assert!(out.body.contains("Invalid or expired API key"), "{}", out.body);
                let challenge = out.header("www-authenticate").unwrap();
                assert!(
                    challenge.starts_with("Bearer realm=\"portcullis\", error=\"invalid_token\"")
                );
                assert!(!challenge.contains(expected.1) && !out.body.contains(expected.1));
            }
        }
    }
    for (address, expected) in [
        ("10.1.2.3", 200),
        ("::ffff:10.1.2.3", 200),
        ("11.1.2.3", 401),
        ("10.1.2.3:80", 401),
        ("/run/socket", 401),
        ("", 401),
    ] {
        let out = agents().bearer(&near.text).from(address).of(&engine);
        assert_eq!(out.status, expected, "{address}");
    }
    let at_all = agents().with("x-api-key", "sk-something").of(&engine);
    assert_eq!(short(&at_all), (401, "malformed_key"), "the header is for keys alone");
}

/// The first 59 characters of a key with their checksum.
fn with_checksum(rest: &str) -> String {
    const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
    let mut sum = crc32(rest.as_bytes());
    let mut digits = [b'0'; 6];
    for digit in digits.iter_mut().rev() {
        *digit = DIGITS[(sum % 62) as usize];
        sum /= 62;
    }
    format!("{rest}{}", String::from_utf8(digits.to_vec()).unwrap())
}

/// CRC-32, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            if sum & 1 == 1 { (sum >> 1) ^ 0xedb8_8320 } else { sum >> 1 }
        })
    })
}

#[test]
fn where_no_key_is_taken_none_is_and_none_is_ever_a_token() {
    let key = made(|_| {});
    let text = &key.text;
    let query = format!("/api/agents?access-token={text}");
    let of = |toml: &str, question: &Ask| short(&question.of(&engine_of(toml, &[&key])));
    let bearer = "api_keys.accept = [\"bearer\"]";
    assert_eq!(of(bearer, &agents().bearer(text)), (200, ""));
    assert_eq!(of(bearer, &agents().with("x-api-key", text)), (401, "malformed_key"));
    assert_eq!(of(bearer, &agents().with("x-api-key", "mine")), (401, "no_credential"));
    assert_eq!(
        of(bearer, &agents().with("authorization", &basic("a", text))),
        (401, "malformed_key")
    );
    let header = "api_keys.accept = [\"x-api-key\"]";
    assert_eq!(of(header, &agents().bearer(text)), (401, "malformed_key"));
    let websocket = ask("GET", &query).with("upgrade", "websocket");
    let cookie = agents().with("cookie", &format!("token={text}"));
    for question in [&websocket, &cookie, &agents().with("authorization", &basic(text, ""))] {
        assert_eq!(of(TAKEN, question), (401, "malformed_key"));
    }
    // Without the table, nothing has changed.
    assert_eq!(of("", &agents().bearer(text)), (401, "malformed_token"));
    assert_eq!(of("", &agents().with("x-api-key", text)), (401, "no_credential"));
    let out = agents().with("x-api-key", "mine").bearer(&good()).of(&engine_of("", &[]));
    assert!(!out.removes("x-api-key"), "it is the upstream's own");
}

#[test]
fn a_rule_says_which_credentials_it_takes() {
    let key = made(|_| {});
    let toml = "[api_keys]\n\
        [[rules]]\nname = \"tokens\"\npath = \"/tokens\"\nroles = [\"REGULAR\"]\ncredentials = [\"token\"]\n\
        [[rules]]\nname = \"keys\"\npath = \"/keys\"\ncredentials = [\"api-key\"]\n\
        [[rules]]\nname = \"both\"\npath = \"/both\"\ncredentials = [\"api-key\", \"token\"]\n\
        [[rules]]\nname = \"any\"\npath = \"/any\"\naccess = \"authenticated\"\n\
        [[rules]]\nname = \"run\"\npath = \"/run\"\nscopes = [\"agents:run\"]\n\
        [[rules]]\nname = \"own\"\npath = \"/own\"\nissuers = [\"own\"]\nwhen = \"user.id == '77' && !has(claims.sub)\"\n\
        [[rules]]\nname = \"stop\"\npath = \"/stop\"\nscopes = [\"agents:run\", \"agents:stop\"]\n";
    let engine = engine_of(toml, &[&key]);
    for (path, by_key, by_token) in [
        ("/tokens", (403, "credential_kind"), (200, "")),
        ("/keys", (200, ""), (403, "credential_kind")),
        ("/both", (200, ""), (200, "")),
        ("/any", (200, ""), (200, "")),
        ("/run", (200, ""), (403, "insufficient_scope")),
        ("/own", (200, ""), (403, "condition")),
        ("/stop", (403, "insufficient_scope"), (403, "insufficient_scope")),
    ] {
        assert_eq!(
            short(&ask("GET", path).with("x-api-key", &key.text).of(&engine)),
            by_key,
            "{path}"
        );
        assert_eq!(short(&ask("GET", path).bearer(&good()).of(&engine)), by_token, "{path}");
    }
}

#[test]
fn a_key_never_goes_on_whatever_it_is_worth_and_whatever_becomes_of_tokens() {
    let (key, stranger) = (made(|_| {}), made(|_| {}));
    let public = "[[rules]]\nname = \"open\"\npath = \"/open\"\naccess = \"public\"\n\
                  [[rules]]\nname = \"agents\"\npath = \"/api/agents\"\naccess = \"authenticated\"\n";
    for forward in ["\"as-is\"", "\"none\"", "\"authorization-header\""] {
        let engine =
            engine_of(&format!("tokens.forward = {forward}\n[api_keys]\n{public}"), &[&key]);
        for path in ["/open", "/api/agents"] {
            for text in [&key.text, &stranger.text, "pck_x"] {
                for (name, value) in [
                    ("x-api-key", text.to_owned()),
                    ("authorization", format!("Bearer {text}")),
                    ("authorization", basic("a", text)),
                    ("authorization", basic(text, "")),
                    ("authorization", format!("Token {text}")),
                    ("authorization", format!("Digest a=b, Bearer {text}")),
                ] {
                    let out = ask("GET", path).with(name, &value).of(&engine);
                    if out.status != 200 {
                        continue;
                    }
                    assert!(out.removes(name), "{forward} {path} {name}: {value}");
                    assert_eq!(out.sets("authorization"), None, "{forward} {path} {value}");
                }
                // An address is in every log, and not every proxy can change it.
                for path in [
                    format!("{path}?a=1&access-token={text}"),
                    format!("{path}?access%2Dtoken={text}"),
                ] {
                    assert_ne!(ask("GET", &path).of(&engine).status, 200, "{forward} {path}");
                }
                let cookie =
                    ask("GET", path).with("cookie", &format!("a=1; token={text}")).of(&engine);
                assert!(cookie.status != 200 || cookie.sets("cookie") == Some("a=1"));
            }
        }
        // A cookie beside a key is somebody else's.
        let both = agents().with("x-api-key", &key.text).with("cookie", "a=1; token=x").of(&engine);
        assert_eq!((both.status, both.sets("cookie")), (200, Some("a=1")), "{forward}");
        // A token goes on as it does, also one in which the letters stand.
        let token = good();
        let out = ask("GET", "/open?q=pck_x").bearer(&token).of(&engine);
        assert_eq!(out.removes("authorization"), forward == "\"none\"", "{forward}");
    }
}

#[test]
fn keys_of_somebody_elses_making_are_known_by_their_hash() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("litellm-keys.txt");
    std::fs::write(&file, format!("# theirs\n{} 5 ADMIN\n", sha2_hex("sk-1234"))).unwrap();
    let table = |header: &str| {
        format!(
            "[api_keys]\nforeign = {{ header = \"{header}\", prefix = \"sk-\", sha256_file = {file:?} }}\n"
        )
    };
    let engine = engine_of(&table("Authorization"), &[]);
    let out = agents().bearer("sk-1234").of(&engine);
    assert_eq!((short(&out), &*out.user), ((200, ""), "5"));
    assert!(out.removes("authorization"));
    assert_eq!(short(&agents().bearer("sk-12345").of(&engine)), (401, "unknown_key_id"));
    assert_eq!(short(&agents().with("x-api-key", "sk-1234").of(&engine)), (401, "malformed_key"));
    let token = agents().bearer(&good()).of(&engine);
    assert_eq!(token.user, "7", "tokens are taken as before");
    assert!(!token.removes("authorization"), "and go on as before");

    let engine = engine_of(&table("x-litellm-api-key"), &[]);
    let out = agents().with("x-litellm-api-key", "sk-1234").of(&engine);
    assert_eq!((short(&out), &*out.user), ((200, ""), "5"));
    assert!(out.removes("x-litellm-api-key"));
    let both = agents().with("x-litellm-api-key", "sk-1234").bearer(&good());
    assert_eq!(short(&both.of(&engine)), (400, "ambiguous_credential"));
    assert_eq!(short(&agents().bearer("sk-1234").of(&engine)), (401, "malformed_token"));

    let engine = engine_of(&table("x-api-key"), &[]);
    assert_eq!(agents().with("x-api-key", "sk-1234").of(&engine).user, "5");

    // Revoked by its id, as any other.
    let lists = Lists::from(Arc::new(RevocationList::empty()));
    let id = KeyId::from_bits(u64::from_str_radix(&sha2_hex("sk-1234")[..16], 16).unwrap());
    lists.keys.apply(&[KeyChange::Revoked(id, Timestamp::from_secs(NOW))], |_, _, _| {});
    let engine = app::engine(config(&table("authorization")), lists);
    assert_eq!(short(&agents().bearer("sk-1234").of(&engine)), (401, "key_revoked"));
    // Its id is told of one that is known, and of no other: that would tell what it is.
    let key_id = |text: &str| {
        engine.decide(&agents().bearer(text).input(), Timestamp::from_secs(NOW)).key_id
    };
    assert_eq!((key_id("sk-1234"), key_id("sk-12345")), (Some(id), None));
}

#[test]
fn a_key_that_only_a_shadow_looks_at_is_nobodys() {
    let key = made(|_| {});
    let shadow = "[[rules]]\nname = \"later\"\npath_prefix = \"/\"\nroles = [\"ADMIN\"]\nmode = \"shadow\"\n";
    let own = "[[rules]]\nname = \"own\"\npath = \"/api/agents\"\naccess = \"authenticated\"\n";
    for rules in [format!("{TAKEN}{own}"), format!("{TAKEN}{own}{shadow}")] {
        let engine = engine_of(&rules, &[&key]);
        let told = |path: &str| {
            let ask = ask("GET", path).bearer(&key.text);
            engine.decide(&ask.input(), Timestamp::from_secs(NOW)).key_id
        };
        assert_eq!((told("/nowhere"), told("/api/agents")), (None, Some(key.key.id)), "{rules}");
    }
}

fn sha2_hex(text: &str) -> String {
    let hash = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    hash.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_keys_of_a_user_who_is_cut_off_are_void_for_ever() {
    let (key, later) = (made(|_| {}), made(|key| key.says.created = Some(NOW)));
    let unknown = made(|key| key.says.created = None);
    let lists = Lists::from(Arc::new(RevocationList::empty()));
    for made in [&key, &later, &unknown] {
        lists.keys.apply(&[KeyChange::Key(Box::new(made.key.clone()))], |_, _, _| {});
    }
    lists.keys.cut_off("77", Timestamp::from_secs(NOW - 100));
    // The cut-offs of tokens are forgotten, and make everybody's of that time void.
    lists.revoked.take(vec![Revocation::Everybody(Timestamp::from_secs(NOW - 1))]);
    let engine = app::engine(config(TAKEN), lists.clone());
    assert_eq!(short(&agents().bearer(&key.text).of(&engine)), (401, "key_revoked"));
    assert_eq!(short(&agents().bearer(&unknown.text).of(&engine)), (401, "key_revoked"));
    assert_eq!(short(&agents().bearer(&later.text).of(&engine)), (200, ""));
    lists.revoked.cut_off_user("77", Timestamp::from_secs(NOW));
    assert_eq!(short(&agents().bearer(&later.text).of(&engine)), (401, "key_revoked"));
    // So does the configuration's own list.
    let toml = format!("tokens.revoked.users = {{ 77 = \"{NOW}\" }}\n[api_keys]\n");
    let engine = engine_of(&toml, &[&later]);
    assert_eq!(short(&agents().bearer(&later.text).of(&engine)), (401, "key_revoked"));
}

#[test]
fn a_key_of_a_file_is_known_and_one_that_is_revoked_in_the_store_is_not() {
    let key = made(|_| {});
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("keys.toml");
    std::fs::write(&file, entry_of_file(&key.key)).unwrap();
    let toml = format!("api_keys.file = {file:?}");
    let lists = Lists::from(Arc::new(RevocationList::empty()));
    let engine = app::engine(config(&toml), lists.clone());
    assert_eq!(agents().bearer(&key.text).of(&engine).user, "77");
    lists.keys.apply(&[KeyChange::Revoked(key.key.id, Timestamp::from_secs(NOW))], |_, _, _| {});
    assert_eq!(short(&agents().bearer(&key.text).of(&engine)), (401, "key_revoked"));
}

#[test]
fn an_upstream_gets_an_identity_that_it_can_verify_in_the_place_of_a_key() {
    let key = made(|key| key.expires = Some(Timestamp::from_secs(NOW + 30)));
    let room = tempfile::tempdir().unwrap();
    let pair = room.path().join("pair.pem");
    let made = crate::support::output(crate::support::portcullis().arg("key-pair"), "");
    std::fs::write(&pair, made.stdout).unwrap();
    let toml = format!(
        "tokens.keys = [{{ kid = \"own\", private_key_file = {pair:?} }}]\n[api_keys]\n\
         [[rules]]\nname = \"agents\"\npath = \"/api/agents\"\naccess = \"authenticated\"\n\
         forward = {{ minted = {{ audience = \"https://up\" }} }}\n"
    );
    let engine = engine_of(&toml, &[&key]);
    let of = || {
        let out = agents().with("x-api-key", &key.text).of(&engine);
        let bearer = out.sets("authorization").unwrap().to_owned();
        assert!(!out.removes("authorization") && out.removes("x-api-key"));
        bearer
    };
    let (one, again) = (of(), of());
    assert_eq!(one, again, "one signature a minute");
    let (_, claims) = portcullis::token::peek(one.strip_prefix("Bearer ").unwrap()).unwrap();
    assert_eq!(claims["sub"], "77");
    assert_eq!(claims["name"], "ci");
    assert_eq!(claims["scope"], "agents:run");
    assert_eq!(claims["aud"], "https://up");
    assert!(claims["exp"].as_i64().unwrap() <= NOW + 60);
    assert!(claims.get("jti").is_some(), "{claims}");
}

/// Whoever reads where the hashes are kept has none of the keys.
#[test]
fn what_is_kept_of_a_key_opens_nothing() {
    let key = made(|key| key.expires = Some(Timestamp::from_secs(NOW + 3000)));
    let room = tempfile::tempdir().unwrap();
    let pair = room.path().join("pair.pem");
    let pem = crate::support::output(crate::support::portcullis().arg("key-pair"), "");
    std::fs::write(&pair, pem.stdout).unwrap();
    let toml = format!(
        "tokens.keys = [{{ kid = \"own\", private_key_file = {pair:?} }}]\ntokens.forward = {{ minted = {{ audience = \"https://up\" }} }}\n[api_keys]\n"
    );
    let engine = engine_of(&toml, &[&key]);
    for _ in 0..3 {
        assert_eq!(agents().with("x-api-key", &key.text).of(&engine).status, 200);
    }
    let hash = key.key.hash.to_hex();
    let (id, end) = (key.key.id, NOW + 3000);
    for name in [
        format!("key.{id}.{end}.{}", &hash[..32]),
        format!("key.{end}.{}", &hash[..32]),
        hash.clone(),
        format!("pck_{id}_{hash}"),
    ] {
        let out = agents().bearer(&name).of(&engine);
        assert_eq!(out.status, 401, "{name}");
    }
}

#[test]
fn a_key_that_is_here_and_in_the_store_is_no_better_than_either() {
    let key = made(|_| {});
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("keys.toml");
    std::fs::write(&file, entry_of_file(&key.key)).unwrap();
    let toml = format!("api_keys.file = {file:?}");
    for (expires, revoked, expected) in [
        (None, None, (200, "")),
        (None, Some(NOW - 1), (401, "key_revoked")),
        (Some(NOW), None, (401, "key_expired")),
    ] {
        let at = |secs: Option<i64>| secs.map(Timestamp::from_secs);
        let in_store = ApiKey { expires: at(expires), revoked: at(revoked), ..key.key.clone() };
        let lists = Lists::from(Arc::new(RevocationList::empty()));
        lists.keys.apply(&[KeyChange::Key(Box::new(in_store))], |_, _, _| {});
        let engine = app::engine(config(&toml), lists);
        assert_eq!(short(&agents().bearer(&key.text).of(&engine)), expected);
    }
}

#[test]
fn no_key_is_taken_before_it_is_known_which_were_revoked() {
    let key = made(|_| {});
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("keys.toml");
    std::fs::write(&file, entry_of_file(&key.key)).unwrap();
    let lists = Lists::default();
    lists.revoked.set_loaded();
    let engine = app::engine(config(&format!("api_keys.file = {file:?}")), lists.clone());
    assert_eq!(short(&agents().bearer(&key.text).of(&engine)), (503, "not_ready"));
    assert_eq!(short(&agents().bearer(&good()).of(&engine)), (200, ""));
    lists.keys.want(true);
    lists.keys.set_loaded();
    assert_eq!(short(&agents().bearer(&key.text).of(&engine)), (200, ""));
    // As by a reload that takes the table out and puts it in again.
    lists.keys.want(false);
    lists.keys.want(true);
    assert_eq!(short(&agents().bearer(&key.text).of(&engine)), (503, "not_ready"));
    lists.keys.need_not_wait();
    assert_eq!(short(&agents().bearer(&key.text).of(&engine)), (200, ""));
}

#[test]
fn a_header_of_keys_never_goes_on_wherever_they_are_taken() {
    let key = made(|_| {});
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("theirs.txt");
    std::fs::write(&file, format!("{} 5 REGULAR\n", sha2_hex("sk-1234"))).unwrap();
    let toml = |accept: &str, header: &str| {
        format!(
            "[api_keys]\naccept = [\"{accept}\"]\nforeign = {{ header = \"{header}\", prefix = \"sk-\", sha256_file = {file:?} }}\n"
        )
    };
    // Theirs in `x-api-key`, from which none of ours is taken.
    let engine = engine_of(&toml("bearer", "x-api-key"), &[&key]);
    let out = agents().with("x-api-key", "sk-1234").of(&engine);
    assert_eq!((out.status, &*out.user), (200, "5"));
    assert!(out.removes("x-api-key"));
    let engine = engine_of("api_keys.accept = [\"bearer\"]", &[&key]);
    let beside = ask("GET", "/api/healthcheck").with("x-api-key", &key.text).bearer(&good());
    assert!(beside.of(&engine).removes("x-api-key"));
    let own = ask("GET", "/api/healthcheck").with("x-api-key", "mine").bearer(&good());
    assert!(!own.of(&engine).removes("x-api-key"), "it is the upstream's");
    // Two keys in two headers.
    let engine = engine_of(&toml("x-api-key", "x-litellm-api-key"), &[&key]);
    for other in ["sk-1234", "sk-other"] {
        let two = agents().with("x-api-key", &key.text).with("x-litellm-api-key", other);
        assert_eq!(short(&two.of(&engine)), (400, "ambiguous_credential"));
    }
}

#[test]
fn what_is_no_basic_authentication_holds_no_key() {
    let key = made(|_| {});
    let engine = engine_of(TAKEN, &[&key]);
    let both = STANDARD.encode(format!("a:{}", key.text));
    for (value, expected) in [
        (format!("Basic {both}"), (200, "")),
        (format!("Token {both}"), (401, "no_credential")),
        (format!("Basic{both}"), (401, "no_credential")),
        (format!("Basic-{both}"), (401, "no_credential")),
    ] {
        let out = agents().with("authorization", &value).of(&engine);
        assert_eq!(short(&out), expected, "{value}");
    }
}

#[test]
fn a_key_has_up_to_eight_kibibytes() {
    let engine = engine_of(TAKEN, &[]);
    for (length, expected) in
        [(8192, (401, "malformed_key")), (8193, (400, "credential_too_large"))]
    {
        let text = format!("pck_{}", "x".repeat(length - 4));
        assert_eq!(short(&agents().with("x-api-key", &text).of(&engine)), expected, "{length}");
    }
}
