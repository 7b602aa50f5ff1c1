//! Tokens, keys and what issuers publish.

use std::{sync::LazyLock, time::Duration};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm as Theirs, DecodingKey, crypto, jwk::JwkSet};
use portcullis::{
    api_key::{KeyId, KeyText, keys_of_file},
    authz::Engine,
    clock::Timestamp,
    issuers, sso,
    token::{Algorithm, KeySet, peek},
};
use serde_json::Value;
use url::Url;

use super::{
    json::Json,
    setting::{ED25519_X, ISSUER, JWKS, NOW, SECRET, b64, engine, sign, sign_eddsa},
};

/// How far clocks may differ, in the settings of these targets.
const LEEWAY: f64 = 30.0;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let keys = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(keys.path(), &*JWKS).expect("room for a file");
    engine(&format!(
        "[[issuers]]\nname = \"idp\"\nissuer = \"{ISSUER}\"\njwks_file = {:?}\n\
         audience = [\"https://api.example.com\"]\nalgorithms = [\"EdDSA\"]\n\
         role_map = {{ admins = \"ADMIN\" }}\n",
        keys.path()
    ))
});

/// A token in compact form, of a first byte that says who signs it: `h` the service, `e`
/// the issuer, anything else nobody, so that the rest is the token. In the first two cases
/// the header ends with its line, and the payload is the rest.
fn token_of(data: &[u8]) -> Option<String> {
    let (first, rest) = data.split_first()?;
    let parts = || {
        let mut parts = rest.splitn(2, |byte| *byte == b'\n');
        (parts.next().unwrap_or_default(), parts.next().unwrap_or_default())
    };
    match first {
        b'h' => Some(parts()).map(|(header, payload)| sign(header, payload)),
        b'e' => Some(parts()).map(|(header, payload)| sign_eddsa(header, payload)),
        _ => std::str::from_utf8(rest).ok().map(str::to_owned),
    }
}

/// What a token says, read by others: its header and its payload, where one of the keys
/// has signed it.
fn signed(token: &str) -> Option<(Json, Json)> {
    let mut parts = token.split('.');
    let [header, payload, signature] = [(); 3].map(|()| parts.next());
    let (header, payload, signature) = (header?, payload?, signature?);
    if parts.next().is_some() {
        return None;
    }
    let message = format!("{header}.{payload}");
    let read = |part: &str| Json::read(&URL_SAFE_NO_PAD.decode(part).ok()?);
    let (header, payload) = (read(header)?, read(payload)?);
    let (key, algorithm) = match header.get("alg")?.text()? {
        "HS256" => (DecodingKey::from_secret(SECRET.as_bytes()), Theirs::HS256),
        "EdDSA" => (DecodingKey::from_ed_components(&ED25519_X).ok()?, Theirs::EdDSA),
        _ => return None,
    };
    let is_signed = crypto::verify(signature, message.as_bytes(), &key, algorithm);
    is_signed.unwrap_or(false).then_some((header, payload))
}

/// Seconds since 1970, perhaps with a fraction.
fn time(value: Option<&Json>) -> Option<f64> {
    if let Some(Json::Number(number)) = value { number.parse().ok() } else { None }
}

/// Whether a claim of times lets a token be good now, as far as a double can tell.
fn is_in_time(payload: &Json) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "a time of today is whole in a double")]
    let now = NOW as f64;
    let ahead = |name| match payload.get(name) {
        None => false,
        some => time(some).is_none_or(|at| at > now + LEEWAY),
    };
    time(payload.get("exp")).is_some_and(|exp| now < exp + LEEWAY) && !ahead("nbf") && !ahead("iat")
}

/// A token that is accepted was signed by a key of its issuer, is in its time, and says
/// to every reader who that is.
pub fn token(data: &[u8]) {
    let Some(token) = token_of(data) else { return };
    let engine = &*ENGINE;
    let now = Timestamp::from_secs(NOW);
    // Of whatever nobody has vouched for.
    let _ = peek(&token);
    let _ = engine.verifier.issuer_named_by(&token);
    let _ = engine.verifier.is_signed_in_lower_case(&token);
    let _ = engine.verifier.session_of(&token, now);
    let verified = engine.verifier.verify(&token, now);
    // Told from memory, it is told alike.
    let again = engine.verifier.verify(&token, now);
    let shown = |it: &Result<_, _>| match it {
        Ok(verified) => format!("{verified:?}"),
        Err(refusal) => format!("{refusal:?}"),
    };
    assert_eq!(shown(&verified), shown(&again));
    let Ok(verified) = verified else { return };
    let (header, payload) = signed(&token).expect("no key has signed it");
    assert!(!header.repeats() && !payload.repeats(), "it can be read in two ways");
    for name in ["crit", "jwk", "jku", "x5c", "x5u", "b64", "zip", "enc", "cty"] {
        assert!(header.get(name).is_none(), "{name} is passed over");
    }
    assert!(is_in_time(&payload), "it is not in its time");
    let claims = &verified.claims;
    let text = |name: &str| payload.get(name).and_then(Json::text);
    let is_own = claims.issued_by.is_none();
    assert_eq!(
        header.get("alg").and_then(Json::text),
        Some(if is_own { "HS256" } else { "EdDSA" })
    );
    let kid = header.get("kid").map(|kid| kid.text().expect("a kid that is no text"));
    assert!(is_own || kid.is_none_or(|kid| kid == "1"));
    let id = match payload.get(if is_own { "userId" } else { "sub" }) {
        Some(Json::Text(id) | Json::Number(id)) => id.clone(),
        _ => panic!("it says not who that is"),
    };
    if is_own {
        assert_eq!(claims.user_id.as_str(), id);
        assert_eq!(Some(claims.name.as_str()), text("sub"));
        let role = engine.verifier.roles().name(claims.role);
        assert_eq!(Some(role), text("role"));
        // Without an audience of its own, it has to refuse one that is for somebody.
        assert!(payload.get("aud").is_none() && payload.get("iss").is_none());
    } else {
        assert_eq!(claims.user_id.as_str(), format!("idp:{id}"));
        assert_eq!(text("iss"), Some(ISSUER));
        let api = Json::Text("https://api.example.com".into());
        let is_for_us = match payload.get("aud") {
            Some(Json::List(all)) => all.contains(&api),
            other => other == Some(&api),
        };
        assert!(is_for_us, "it is for somebody else");
    }
}

/// The members of a token, held to two other readers of JSON.
pub fn claims(data: &[u8]) {
    let token = format!("e30.{}.", b64(data));
    let own = peek(&token).map(|(_, payload)| payload);
    let (plain, theirs) = (Json::read(data), serde_json::from_slice::<Value>(data));
    let Ok(own) = own else {
        let is_good = plain.as_ref().is_some_and(|it| {
            matches!(it, Json::Object(_))
                && !it.repeats()
                && !it.overflows()
                && it.depth() <= 32
                && it.members().len() <= 256
        });
        assert!(!is_good || theirs.is_err(), "good JSON is refused: {plain:?}");
        return;
    };
    let plain = plain.expect("it is no JSON to a plain reader");
    assert!(!plain.repeats(), "a member is there twice");
    assert!(plain.is(&own), "{own} is {plain:?} to a plain reader");
    assert_eq!(theirs.ok(), Some(own));
    assert!(plain.depth() <= 33 && plain.members().len() <= 256);
}

static KEYS: LazyLock<KeySet> =
    LazyLock::new(|| KeySet::read(JWKS.as_bytes(), &[Algorithm::EdDsa]).expect("a set").0);

/// ID tokens and logout tokens: one that is accepted is signed, for us, in its time, and
/// of this sign-in; and none is both.
pub fn id_token(data: &[u8]) {
    let Some(token) = token_of(data) else { return };
    let expected = sso::fuzzing::Expected {
        issuer: ISSUER,
        client_id: "portcullis",
        nonce: "n-0S6_WzA2Mj",
        now: Timestamp::from_secs(NOW),
        leeway: Duration::from_secs(30),
    };
    let id = sso::fuzzing::id_token(&token, &KEYS, expected);
    let logout = sso::fuzzing::logout_token(&token, &KEYS, expected);
    assert!(id.is_err() || logout.is_err(), "an ID token signs somebody out");
    if id.is_err() && logout.is_err() {
        return;
    }
    let (header, payload) = signed(&token).expect("no key has signed it");
    assert_eq!(header.get("alg").and_then(Json::text), Some("EdDSA"));
    assert!(!payload.repeats() && is_in_time_of_sso(&payload, logout.is_ok()));
    let text = |name: &str| payload.get(name).and_then(Json::text);
    assert_eq!(text("iss"), Some(ISSUER));
    let us = Json::Text("portcullis".into());
    let audience = match payload.get("aud") {
        Some(Json::List(all)) => all.clone(),
        other => other.cloned().into_iter().collect(),
    };
    assert!(audience.contains(&us), "it is for somebody else");
    if let Ok(claims) = id {
        assert_eq!(text("nonce"), Some("n-0S6_WzA2Mj"));
        assert!(text("sub").is_some_and(|sub| (1..=255).contains(&sub.len())));
        assert!(payload.get("azp").map_or(audience.len() == 1, |azp| *azp == us));
        assert!(payload.is(&Value::Object(claims)));
    }
    if let Ok(token) = logout {
        assert!(payload.get("nonce").is_none() && text("jti").is_some());
        let event = "http://schemas.openid.net/event/backchannel-logout";
        let event = payload.get("events").and_then(|events| events.get(event));
        assert!(matches!(event, Some(Json::Object(_))), "it tells of no logout");
        assert_eq!(token.subject.as_deref(), text("sub"));
        assert_eq!(token.session_id.as_deref(), text("sid"));
        assert!(token.subject.is_some() || token.session_id.is_some());
    }
}

/// The same for what a provider says: a logout token need not say when it ends, and may
/// be five minutes old.
fn is_in_time_of_sso(payload: &Json, is_logout: bool) -> bool {
    #[allow(clippy::cast_precision_loss, reason = "a time of today is whole in a double")]
    let now = NOW as f64;
    if !is_logout {
        return is_in_time(payload);
    }
    let exp =
        payload.get("exp").is_none_or(|it| time(Some(it)).is_some_and(|at| now < at + LEEWAY));
    let iat = time(payload.get("iat"));
    exp && iat.is_some_and(|at| at <= now + LEEWAY && now <= at + LEEWAY + 300.0)
}

/// What issuers and providers say of themselves: nothing is asked without TLS, unless it
/// may be, and none passes for another one.
pub fn discovery(data: &[u8]) {
    let Some((&choice, document)) = data.split_first() else { return };
    let issuer = if choice & 1 == 0 { ISSUER } else { "http://localhost:8080/realms/a" };
    let insecure = choice & 2 != 0;
    // A member that nobody asks for is not looked at: one of half a surrogate pair, or of
    // a number that is too large, makes the whole none to other readers.
    let whole: Option<Value> = serde_json::from_slice(document).ok();
    let named = |name: &str| whole.as_ref()?.get(name)?.as_str().map(str::to_owned);
    let is_private = |url: &Url| {
        url.scheme() == "https"
            || (url.scheme() == "http" && (insecure || issuers::is_loopback(url)))
    };
    if let Ok(url) = issuers::fuzzing::jwks_uri(document, issuer, insecure) {
        assert!(is_private(&url), "{url} is asked for keys");
        if whole.is_some() {
            assert_eq!(named("issuer").as_deref(), Some(issuer));
            let written = named("jwks_uri").and_then(|text| Url::parse(&text).ok());
            assert_eq!(written, Some(url));
        }
    }
    if let Ok(urls) = sso::fuzzing::endpoints(document, issuer) {
        assert!(whole.is_none() || named("issuer").as_deref() == Some(issuer));
        assert!(urls.len() >= 3);
        for url in urls {
            let fits = url.scheme() == "https" || (choice & 1 == 1 && url.scheme() == "http");
            assert!(fits, "{url} is asked");
        }
    }
}

/// Sets of keys: what is taken is a public key of an algorithm that is accepted, and the
/// same to another reader of such sets.
pub fn jwks(data: &[u8]) {
    let accepted = [Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa, Algorithm::Ps384];
    let Ok((set, _)) = KeySet::read(data, &accepted) else { return };
    let plain = Json::read(data).expect("it is no JSON to a plain reader");
    assert!(!plain.repeats(), "a member is there twice");
    let Some(Json::List(listed)) = plain.get("keys") else { panic!("it has no keys") };
    assert!((1..=100).contains(&listed.len()) && set.len() <= listed.len());
    for (kid, algorithms) in set.described() {
        assert!(algorithms.iter().all(|it| accepted.contains(it)));
        let is_it = |key: &&Json| key.get("kid").and_then(Json::text) == kid;
        let known: Vec<&Json> = listed.iter().filter(is_it).collect();
        assert!(!known.is_empty(), "nobody has published {kid:?}");
        // One of those that bear its name is a key that can be taken.
        let private = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];
        let is_public = |key: &&&Json| private.iter().all(|name| key.get(name).is_none());
        let is_for_signing = |key: &&&Json| {
            key.get("use").is_none_or(|it| it.text() == Some("sig"))
                && key.get("kty").and_then(Json::text) != Some("oct")
        };
        let mut fit = known.iter().filter(is_public).filter(is_for_signing);
        assert!(fit.next().is_some(), "{kid:?} is no public key for signatures");
    }
    // Where the other reader understands a set at all, it has as many keys.
    if let Ok(theirs) = serde_json::from_slice::<JwkSet>(data) {
        let good = theirs.keys.iter().filter(|key| DecodingKey::from_jwk(key).is_ok()).count();
        assert!(set.len() <= good, "{} keys are {good} to another reader", set.len());
    }
    // What nobody has signed is signed by none of them.
    for header in [r#"{"alg":"RS256","kid":"1"}"#, r#"{"alg":"EdDSA"}"#, r#"{"alg":"ES256"}"#] {
        let token = format!("{}.e30.{}", b64(header), b64([0; 64]));
        let expected = sso::fuzzing::Expected {
            issuer: ISSUER,
            client_id: "portcullis",
            nonce: "",
            now: Timestamp::from_secs(NOW),
            leeway: Duration::ZERO,
        };
        assert!(sso::fuzzing::id_token(&token, &set, expected).is_err());
    }
}

/// Keys for machines: a key has one spelling, and a file of keys says what it says.
pub fn api_key(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Some(key) = KeyText::parse(text) {
        let id = key.id.to_string();
        assert_eq!(KeyId::parse(&id), Some(key.id));
        assert_eq!(text.get(..16), Some(format!("pck_{id}_").as_str()));
        let digits = text[16..].bytes().all(|byte| byte.is_ascii_alphanumeric());
        assert!(text.len() == 65 && (digits || !key.is_sound));
        if key.is_sound {
            // As GitHub's keys have theirs: the CRC of what stands before it.
            let value = |byte: u8| match byte {
                b'0'..=b'9' => u64::from(byte - b'0'),
                b'A'..=b'Z' => u64::from(byte - b'A') + 10,
                _ => u64::from(byte - b'a') + 36,
            };
            let number = text[59..].bytes().fold(0, |all, byte| all * 62 + value(byte));
            assert_eq!(number, u64::from(crc32(&text.as_bytes()[..59])));
        }
    }
    if let Some(id) = KeyId::parse(text) {
        assert_eq!(id.to_string(), text, "an id has two spellings");
    }
    // A file is read entry by entry; whoever reads it at once finds the same keys.
    let is_role = |role: &str| ["REGULAR", "ADMIN"].contains(&role);
    let Ok(table) = keys_of_file(text, is_role) else { return };
    let whole: toml::Table = toml::from_str(text.trim_start()).expect("it is no TOML as a whole");
    let keys = whole.get("keys").and_then(toml::Value::as_array).cloned().unwrap_or_default();
    let of = |key: &toml::Value, name: &str| key.get(name)?.as_str().map(str::to_owned);
    let mut listed: Vec<Option<String>> = keys.iter().map(|key| of(key, "id")).collect();
    let mut found: Vec<Option<String>> = table.ids().map(|id| Some(id.to_string())).collect();
    listed.sort_unstable();
    found.sort_unstable();
    assert_eq!(listed, found);
    assert!(keys.iter().all(|key| of(key, "role").is_some_and(|role| is_role(&role))));
}

/// Bit by bit (ISO 3309).
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 }
        })
    })
}
