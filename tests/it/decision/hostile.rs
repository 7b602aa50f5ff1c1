//! Hostile questions by the hundred thousand, held to models that share no code
//! with the engine. `PROPTEST_CASES` raises the number: `tests/run --soak` asks
//! ten million of each. Over 400 lines, since the models share what they make questions of.

use std::sync::LazyLock;

use portcullis::{
    authz::{CheckInput, Engine, Header, Headers},
    clock::Timestamp,
};
use proptest::{collection::vec, prelude::*, sample::select};
use serde_json::{Value, json};

use crate::{
    ask::{NOW, engine},
    jwt,
};

/// At least a hundred thousand cases of each, and none kept on the disk.
pub(crate) fn many() -> ProptestConfig {
    let config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    ProptestConfig { cases: config.cases.max(100_000), ..config }
}

/// Guarded below `/admin`, and open to everybody elsewhere.
const RULES: &str = r#"
[[rules]]
name = "admin"
path_prefix = "/admin"
roles = ["ADMIN"]
[[rules]]
name = "one"
path_template = "/users/{id}/keys"
roles = ["ADMIN"]
[[rules]]
name = "open"
path_prefix = "/"
access = "public"
"#;

static STRICT: LazyLock<Engine> = LazyLock::new(|| engine(RULES));
static LAX: LazyLock<Engine> = LazyLock::new(|| {
    engine(&format!(
        "check.path_allow = [\"encoded-slash\", \"semicolon\", \"encoded-percent\", \
         \"encoded-hash\", \"encoded-question-mark\"]\n{RULES}"
    ))
});

fn is_let_in(engine: &Engine, path: &str) -> bool {
    let input = CheckInput {
        method: "GET",
        scheme: "https",
        host: "app.example.com",
        path,
        headers: Headers::default(),
        ..CheckInput::default()
    };
    engine.decide(&input, Timestamp::from_secs(NOW)).is_allowed()
}

/// Percent-decodes, as servers do that leave what is broken as it is.
fn decoded(text: &[u8]) -> Vec<u8> {
    let digit = |byte: Option<&u8>| char::from(*byte?).to_digit(16);
    let (mut out, mut at) = (Vec::with_capacity(text.len()), 0);
    while at < text.len() {
        match (text[at], digit(text.get(at + 1)), digit(text.get(at + 2))) {
            (b'%', Some(high), Some(low)) => {
                out.push(u8::try_from(high * 16 + low).unwrap());
                at += 3;
            }
            (byte, ..) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    out
}

/// Without what stands behind this byte: parameters end with their segment,
/// all else ends the path.
fn cut_at(path: &[u8], byte: u8) -> Vec<u8> {
    let until = |text: &[u8]| text.split(|it| *it == byte).next().unwrap().to_vec();
    if byte == b';' {
        path.split(|it| *it == b'/').map(until).collect::<Vec<_>>().join(&b'/')
    } else {
        until(path)
    }
}

/// Without empty segments and dot segments, as file systems read it; a slash at
/// the end stays one.
fn cleaned(path: &[u8]) -> Vec<u8> {
    let mut out: Vec<&[u8]> = vec![b""];
    for segment in path.split(|byte| *byte == b'/') {
        match segment {
            b".." if out.len() > 1 => drop(out.pop()),
            b"" | b"." | b".." => {}
            other => out.push(other),
        }
    }
    if path.ends_with(b"/") {
        out.push(b"");
    }
    out.join(&b'/')
}

/// The ways in which servers read a path: whatever one of them makes of it.
fn readings(path: &str) -> Vec<Vec<u8>> {
    let raw = path.split('?').next().unwrap().as_bytes();
    let once = decoded(raw);
    let twice = decoded(&once);
    let mut all = vec![raw.to_vec(), once.clone(), twice.clone(), decoded(&twice)];
    // Parameters, a late query or fragment, the end of a C string.
    for byte in [b';', b'?', b'#', 0] {
        let more: Vec<_> = all.iter().map(|path| cut_at(path, byte)).collect();
        all.extend(more);
        all.extend([decoded(&cut_at(raw, byte)), cut_at(&once, byte)]);
    }
    // Servers on other systems, and those that normalise letters.
    let more: Vec<_> = all
        .iter()
        .flat_map(|path| {
            let slashes = path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte });
            let text = String::from_utf8_lossy(path);
            let wide =
                text.replace(['／', '∕', '⁄'], "/").replace(['．', '。'], ".").replace('‥', "..");
            [slashes.collect(), wide.into_bytes()]
        })
        .collect();
    all.extend(more);
    let clean: Vec<_> = all.iter().map(|path| cleaned(path)).collect();
    all.extend(clean);
    all
}

/// Whether the rules guard what a server would serve for this.
fn is_guarded(path: &[u8]) -> bool {
    let segments: Vec<&[u8]> = path.split(|byte| *byte == b'/').skip(1).collect();
    let without_end = segments.strip_suffix(&[&b""[..]]).unwrap_or(&segments);
    // Below `/users` the rule is for the very path, not for it with a slash.
    segments.first() == Some(&&b"admin"[..])
        || (without_end.len() == segments.len()
            && matches!(segments[..], [b"users", id, b"keys"] if !id.is_empty()))
}

/// What stands in the place of a character, in the ways of attackers; by the
/// choice, mostly itself.
fn spelled(character: char, choice: u8) -> String {
    let hex = |byte: u8| format!("%{byte:02x}");
    let code = u8::try_from(character).unwrap();
    let wide = || char::from_u32(0xFEE0 + u32::from(code)).unwrap().to_string();
    match choice {
        0..160 => character.to_string(),
        160..200 => hex(code),
        200..210 => hex(code).to_ascii_uppercase(),
        210..220 => format!("%25{code:02x}"),
        220..230 => format!("%2525{code:02x}"),
        230..240 => format!("%c0%{:02x}", 0x80 | code),
        240..248 => wide(),
        _ => wide().bytes().map(hex).collect(),
    }
}

/// What is put between the segments of a path.
const BETWEEN: [&str; 26] = [
    "/",
    "/",
    "/",
    "/",
    "/",
    "//",
    "/./",
    "/x/../",
    "/%2e/",
    "/x/%2e%2e/",
    "/x/.%2E/",
    "\\",
    "%2f",
    "%5c",
    "%252f",
    "/;/",
    ";x=1/",
    "/..;/",
    "/x/..;x/",
    "/%00/",
    "%00",
    "/%3f/",
    "?/",
    "/%23/",
    "／",
    "%ef%bc%8f",
];

/// A guarded path, spelled by these choices.
fn hostile_spelling(choices: [u8; 32]) -> String {
    const PATHS: [&[&str]; 3] = [&["admin"], &["admin", "x"], &["users", "7", "keys"]];
    let mut choices = choices.into_iter();
    let mut choice = || choices.next().unwrap_or_default();
    let segments = PATHS[usize::from(choice()) % PATHS.len()];
    let between = |choice: u8| BETWEEN[usize::from(choice) % BETWEEN.len()];
    // At the ends, mostly nothing.
    let mut end = || Some(choice()).filter(|it| *it > 190).map_or("", between);
    let (mut path, behind) = (format!("/{}", end()), end());
    for (at, segment) in segments.iter().enumerate() {
        if at > 0 {
            path.push_str(between(choice()));
        }
        for character in segment.chars() {
            path.push_str(&spelled(character, choice()));
        }
    }
    path + behind
}

/// Pieces of which a path is put together without a plan.
const PIECES: [&str; 34] = [
    "/", "/", "/", "admin", "admin", "users", "keys", "x", "7", "..", ".", "%2e", "%2E%2e", "%2f",
    "%252e", "%5c", "\\", ";", ";a=b", "?", "#", "%3f", "%23", "%00", "%", "%2", "%zz", "%61dmin",
    "adm%69n", "é", "%c3%a9", "%c0%af", " ", "*",
];

proptest! {
    #![proptest_config(many())]

    #[test]
    fn no_spelling_of_a_guarded_path_is_open(choices in any::<[u8; 32]>()) {
        let path = hostile_spelling(choices);
        for engine in [&*STRICT, &*LAX] {
            if is_let_in(engine, &path) {
                let guarded = readings(&path).into_iter().find(|reading| is_guarded(reading));
                let shown = guarded.map(|reading| String::from_utf8_lossy(&reading).into_owned());
                prop_assert_eq!(shown, None, "{} is open", path);
            }
        }
    }

    #[test]
    fn no_mixture_of_pieces_is_open_and_read_as_guarded(
        pieces in vec(select(&PIECES[..]), 0..9),
        flips in vec((any::<prop::sample::Index>(), b' '..=b'~'), 0..2),
    ) {
        let mut path = format!("/{}", pieces.concat()).into_bytes();
        for (at, byte) in flips {
            let at = at.index(path.len());
            // Within ASCII, so that it stays text.
            if path[at].is_ascii() {
                path[at] = byte;
            }
        }
        let path = String::from_utf8(path).unwrap();
        for engine in [&*STRICT, &*LAX] {
            if is_let_in(engine, &path) {
                let guarded = readings(&path).into_iter().find(|reading| is_guarded(reading));
                let shown = guarded.map(|reading| String::from_utf8_lossy(&reading).into_owned());
                prop_assert_eq!(shown, None, "{} is open", path);
            }
        }
    }
}

/// What an attacker does to a token that they were given, or make up.
#[derive(Clone, Debug)]
enum Tamper {
    /// Another character at a place.
    Character(prop::sample::Index, char),
    /// Characters that are put in.
    Insert(prop::sample::Index, &'static str),
    /// A piece that is left out.
    Cut(prop::sample::Index, prop::sample::Index),
    /// Another header, with the old signature.
    Header(Value),
    /// Other claims, with the old signature.
    Claims(Value),
    /// Signed anew by a key of the attacker's.
    Sign(Value, Value, &'static str),
}

fn any_header() -> impl Strategy<Value = Value> {
    let algorithms = ["HS256", "none", "None", "hs256", "HS384", "RS256", "ES256", "", "HS256 "];
    let more = [
        ("typ", "JWT"),
        ("typ", "at+jwt"),
        ("kid", "a"),
        ("kid", ""),
        ("crit", "exp"),
        ("jku", "x"),
    ];
    (select(algorithms.to_vec()), vec(select(more.to_vec()), 0..3)).prop_map(|(algorithm, more)| {
        let mut header = json!({ "alg": algorithm });
        for (name, value) in more {
            header[name] = json!(value);
        }
        header
    })
}

fn any_claims() -> impl Strategy<Value = Value> {
    let values = select(vec![
        json!(NOW + 60),
        json!(NOW - 3600),
        json!("7"),
        json!(7),
        json!("ADMIN"),
        json!("admin"),
        json!(["ADMIN"]),
        json!(null),
        json!(""),
        json!(-1),
        json!(1e300),
        json!(true),
        json!({}),
    ]);
    let names =
        select(&["exp", "nbf", "iat", "sub", "userId", "role", "email", "iss", "aud", "jti"][..]);
    vec((names, values), 0..4).prop_map(|changes| {
        let mut claims = jwt::claims(NOW);
        for (name, value) in changes {
            claims[name] = value;
        }
        claims
    })
}

fn any_tamper() -> impl Strategy<Value = Tamper> {
    let index = any::<prop::sample::Index>;
    let keys =
        ["", "a", "a-secret-of-somebody-else-0123456789", "A-SECRET-OF-THE-TESTS-0123456789ABCDEF"];
    prop_oneof![
        4 => (index(), select("ABCDEFwxyz019-_.=+/ \u{e9}\0".chars().collect::<Vec<_>>()))
            .prop_map(|(at, to)| Tamper::Character(at, to)),
        2 => (index(), select(&[".", "=", "==", " ", "A", "..", "\n", "%2e", "\0"][..]))
            .prop_map(|(at, what)| Tamper::Insert(at, what)),
        1 => (index(), index()).prop_map(|(from, to)| Tamper::Cut(from, to)),
        1 => any_header().prop_map(Tamper::Header),
        1 => any_claims().prop_map(Tamper::Claims),
        1 => (any_header(), any_claims(), select(keys.to_vec()))
            .prop_map(|(header, claims, key)| Tamper::Sign(header, claims, key)),
    ]
}

fn tampered(token: &str, tamper: &Tamper) -> String {
    let characters: Vec<char> = token.chars().collect();
    let mut parts = token.splitn(3, '.').map(str::to_owned);
    let [header, claims, signature] = [(); 3].map(|()| parts.next().unwrap_or_default());
    match tamper {
        Tamper::Character(at, to) => {
            let at = at.index(characters.len().max(1));
            characters.iter().enumerate().map(|(n, c)| if n == at { *to } else { *c }).collect()
        }
        Tamper::Insert(at, what) => {
            let at = at.index(characters.len() + 1);
            let (before, behind) = characters.split_at(at);
            before.iter().collect::<String>() + what + &behind.iter().collect::<String>()
        }
        Tamper::Cut(from, to) => {
            let (from, to) = (from.index(characters.len() + 1), to.index(characters.len() + 1));
            let left = characters.iter().enumerate().filter(|(n, _)| *n < from || *n >= to);
            left.map(|(_, c)| *c).collect()
        }
        Tamper::Header(other) => format!("{}.{claims}.{signature}", jwt::b64(other.to_string())),
        Tamper::Claims(other) => format!("{header}.{}.{signature}", jwt::b64(other.to_string())),
        Tamper::Sign(header, claims, key) => {
            let hmac = aws_lc_rs::hmac::HMAC_SHA256;
            jwt::sign_with(hmac, key.as_bytes(), &header.to_string(), &claims.to_string())
        }
    }
}

static GUARDED: LazyLock<Engine> = LazyLock::new(|| engine(""));

fn who(token: &str) -> Option<String> {
    let value = format!("Bearer {token}");
    let headers = [Header { name: "authorization", value: value.as_bytes() }];
    let input = CheckInput {
        method: "GET",
        scheme: "https",
        host: "app.example.com",
        path: "/api/agents",
        headers: Headers::new(headers.to_vec(), vec![]),
        ..CheckInput::default()
    };
    let decision = GUARDED.decide(&input, Timestamp::from_secs(NOW));
    let id = decision.principal.as_ref().map(|principal| principal.claims.user_id.to_string());
    id.filter(|_| decision.is_allowed())
}

proptest! {
    #![proptest_config(many())]

    #[test]
    fn no_token_is_accepted_but_the_one_that_was_signed(
        tampers in vec(any_tamper(), 1..3),
        user in 1_u32..1000,
    ) {
        let token = jwt::token(&jwt::with(NOW, &json!({ "userId": user })));
        let changed = tampers.iter().fold(token.clone(), |token, tamper| tampered(&token, tamper));
        // Blanks around a token are not of it.
        let is_the_one = changed.trim_matches([' ', '\n']) == token;
        let expected = is_the_one.then(|| user.to_string());
        prop_assert_eq!(who(&changed), expected, "{}", changed);
    }
}
