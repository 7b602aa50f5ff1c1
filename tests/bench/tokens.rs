//! What a check costs, from bytes to bytes, by whose token it is and how that is
//! signed: for `tests/bench/counts`, which counts instructions, and for
//! `tests/bench/run`, which takes the time.
//!
//! `tokens make DIRECTORY` makes keys, tokens and configurations, so that no key
//! is made where something is counted; `tokens.py` puts the tokens into questions.
//! `tokens count CASE TIMES DIRECTORY` answers so many; `tokens time TURNS
//! DIRECTORY` runs all cases in turns and prints nanoseconds as JSON. `tokens flood
//! SECONDS` is of `flood.rs`, `tokens keys TURNS` of `keys.rs`, `tokens bodies
//! TURNS` and `body NAME TIMES` of `bodies.rs`, `tokens decisions TURNS` and `decision
//! NAME TIMES` of `decisions.rs`.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::print_stdout,
    clippy::format_push_string,
    reason = "a bench may fail loudly"
)]

use std::{collections::BTreeMap, fs, hint::black_box, path::Path, sync::Arc, time::Duration};

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::{
    app,
    authz::Engine,
    checker::Checker,
    clock::{Clock, Timestamp},
    config::{Config, Sources},
    decision_log::DecisionLog,
    grpc::CheckService,
    proto::envoy::{
        config::core::v3::Metadata,
        service::auth::v3::{
            AttributeContext, CheckRequest, CheckResponse,
            attribute_context::{HttpRequest, Request},
            check_response::HttpResponse,
        },
    },
    token::{Algorithm, RevocationList},
};
use prost::Message as _;
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

mod bodies;
mod decisions;
mod flood;
#[path = "../it/helpers/jwt.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod jwt;
mod keys;
#[path = "../it/helpers/signer.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod signer;

use signer::Signer;

/// The allocator is a part of what a check costs.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const NOW: i64 = 1_800_000_000;
/// How many tokens there are of each kind that none is remembered of.
const FRESH: usize = 1000;
const ALGORITHMS: [(&str, Algorithm); 3] =
    [("rs256", Algorithm::Rs256), ("es256", Algorithm::Es256), ("eddsa", Algorithm::EdDsa)];

/// What is asked: by which configuration, with which tokens, and how it ends.
struct Case {
    name: String,
    config: &'static str,
    tokens: String,
    is_allowed: bool,
}

fn cases() -> Vec<Case> {
    let case = |name: &str, config, tokens: &str, is_allowed| Case {
        name: name.to_owned(),
        config,
        tokens: tokens.to_owned(),
        is_allowed,
    };
    let mut cases = vec![
        case("hs256", "one", "hs256", true),
        case("hs256-as-long", "one", "hs256-as-long", true),
        case("ten", "ten", "es256", true),
        case("minted", "minted", "hs256", true),
        case("handed-on", "handed-on", "hs256", true),
    ];
    for (name, _) in ALGORITHMS {
        cases.push(case(name, "one", name, true));
        for kind in ["unknown", "forged"] {
            cases.push(case(&format!("{name}-{kind}"), "one", &format!("{name}-{kind}"), false));
        }
    }
    cases
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match &*arguments {
        ["make", directory] => make(Path::new(directory)),
        ["count", name, times, directory] => {
            let case = cases().into_iter().find(|case| case.name == *name).unwrap();
            Asked::new(&case, Path::new(directory)).ask(times.parse().unwrap());
        }
        ["time", turns, directory] => time(turns.parse().unwrap(), Path::new(directory)),
        ["flood", seconds] => flood::flood(Duration::from_secs(seconds.parse().unwrap())),
        ["keys", turns] => keys::keys(turns.parse().unwrap()),
        ["bodies", turns] => bodies::bodies(turns.parse().unwrap()),
        ["body", name, times] => bodies::count(name, times.parse().unwrap()),
        ["decisions", turns] => decisions::decisions(turns.parse().unwrap()),
        ["decision", name, times] => decisions::count(name, times.parse().unwrap()),
        _ => unreachable!(
            "make DIRECTORY | count CASE TIMES DIRECTORY | time TURNS DIRECTORY | flood SECONDS \
             | keys TURNS | bodies TURNS | body NAME TIMES | decisions TURNS | decision NAME TIMES"
        ),
    }
}

/// The claims of a token of an issuer; `filler` makes it longer.
fn claims(issuer: &str, jti: &str) -> serde_json::Value {
    json!({
        "iss": format!("https://{issuer}.example.com"), "aud": "api", "sub": "ann",
        "preferred_username": "ann", "role": "REGULAR", "email": "ann@example.com",
        "iat": NOW, "exp": NOW + 3600, "jti": jti,
    })
}

fn make(directory: &Path) {
    let write = |name: &str, text: &str| fs::write(directory.join(name), text).unwrap();
    let signers: Vec<(&str, Signer)> =
        ALGORITHMS.map(|(name, algorithm)| (name, Signer::new(name, algorithm))).into();
    let keys: Vec<_> = signers.iter().map(|(_, signer)| signer.public()).collect();
    write("jwks.json", &json!({ "keys": keys }).to_string());
    let stranger = json!({ "keys": [Signer::new("other", Algorithm::Es256).public()] });
    write("other.json", &stranger.to_string());

    let mut longest = 0;
    for (name, signer) in &signers {
        let fresh: Vec<String> =
            (0..FRESH).map(|at| signer.token(&claims("main", &format!("{at:032}")))).collect();
        longest = longest.max(fresh[0].len());
        write(&format!("{name}.tokens"), &fresh[0]);
        write(&format!("{name}-fresh.tokens"), &fresh.join("\n"));
        let forged: Vec<String> = fresh.iter().map(|token| forged(token)).collect();
        write(&format!("{name}-forged.tokens"), &forged.join("\n"));
        let unknown = (0..FRESH).map(|at| {
            let header = json!({ "alg": signer.algorithm.name(), "kid": format!("{at:08x}") });
            let claims = claims("main", &format!("{at:032}"));
            signer.sign(&header.to_string(), &claims.to_string())
        });
        write(&format!("{name}-unknown.tokens"), &unknown.collect::<Vec<_>>().join("\n"));
    }
    // Own tokens say the same in their own words.
    let own = |filler: usize| {
        let filler = "f".repeat(filler);
        let changes = json!({ "jti": format!("{:032}", 0), "filler": filler });
        jwt::token(&jwt::with(NOW, &changes))
    };
    write("hs256.tokens", &own(0));
    let filler = (longest - own(0).len()) * 3 / 4;
    write("hs256-as-long.tokens", &own(filler));

    let issuer = |name: &str, file: &str| {
        format!(
            "[[issuers]]\nname = \"{name}\"\nissuer = \"https://{name}.example.com\"\naudience = [\"api\"]\n\
             claims.role = \"role\"\njwks_file = \"{}\"\n",
            directory.join(file).display()
        )
    };
    let rules =
        "[[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\nroles = [\"REGULAR\"]\n";
    let one = format!("{rules}{}", issuer("main", "jwks.json"));
    let others: String = (1..10).map(|at| issuer(&format!("other-{at}"), "other.json")).collect();
    write("one.toml", &one);
    write("ten.toml", &format!("{rules}{others}{}", issuer("main", "jwks.json")));
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let der = base64::engine::general_purpose::STANDARD.encode(pair.to_pkcs8v1().unwrap());
    write("key.pem", &format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n"));
    let keys = format!(
        "keys = [{{ kid = \"own\", secret = \"{}\" }}, {{ kid = \"pair\", private_key_file = \"{}\" }}]",
        jwt::SECRET,
        directory.join("key.pem").display()
    );
    let forwarding = |how: &str| {
        format!(
            "http.public_url = \"https://app.example.com\"\n[tokens]\nforward = \"{how}\"\n{keys}\n{one}"
        )
    };
    write("minted.toml", &forwarding("minted"));
    write("handed-on.toml", &forwarding("authorization-header"));
}

/// Another signature of the right form, so that it is verified.
fn forged(token: &str) -> String {
    let (input, signature) = token.rsplit_once('.').unwrap();
    let mut signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
    signature[20] ^= 1;
    format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn tokens(name: &str, directory: &Path) -> Vec<String> {
    let text = fs::read_to_string(directory.join(format!("{name}.tokens"))).unwrap();
    text.lines().map(str::to_owned).collect()
}

fn engine(config: &str, directory: &Path) -> Engine {
    let file = directory.join(format!("{config}.toml"));
    // A configuration with keys of its own needs none.
    let own = ["minted", "handed-on"].contains(&config);
    let secret = (!own).then(|| ("AUTH_JWT_SECRET".into(), jwt::SECRET.into()));
    let config = Config::load(&Sources::new(vec![file], secret)).unwrap();
    app::engine(config, Arc::new(RevocationList::empty()))
}

#[derive(Debug)]
struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Timestamp {
        Timestamp::from_secs(NOW)
    }
}

/// A case with its service and its questions.
struct Asked {
    service: CheckService,
    questions: Vec<Vec<u8>>,
    is_allowed: bool,
    next: usize,
}

impl Asked {
    fn new(case: &Case, directory: &Path) -> Self {
        let service = service_of(engine(case.config, directory));
        // As gRPC frames them, one behind the other.
        let file = fs::read(directory.join(format!("{}.questions", case.tokens))).unwrap();
        let (mut rest, mut questions) = (&*file, Vec::new());
        while let Some((head, behind)) = rest.split_first_chunk::<5>() {
            let length = usize::from(head[3]) << 8 | usize::from(head[4]);
            let (question, behind) = behind.split_at(length);
            questions.push(question.to_vec());
            rest = behind;
        }
        for question in questions.iter().take(5) {
            let answer = CheckResponse::decode(service.answer(Some(question))).unwrap();
            let is_allowed = matches!(answer.http_response, Some(HttpResponse::OkResponse(_)));
            assert_eq!(is_allowed, case.is_allowed, "{}: {answer:?}", case.name);
        }
        Self { service, questions, is_allowed: case.is_allowed, next: 0 }
    }

    /// `tests/bench/counts` counts what is within this, by its name: on the first
    /// question, the random numbers are seeded, which takes as long as it pleases.
    #[inline(never)]
    fn ask(&mut self, times: u32) {
        for _ in 0..times {
            let question = &*self.questions[self.next];
            self.next = (self.next + 1) % self.questions.len();
            black_box(self.service.answer(Some(black_box(question))));
        }
    }
}

/// aws-lc's own verification of the same tokens by the same key, parsed.
struct Alone {
    key: ParsedPublicKey,
    signed: Vec<(String, Vec<u8>)>,
}

impl Alone {
    fn new(name: &str, directory: &Path) -> Self {
        let jwks: serde_json::Value =
            serde_json::from_slice(&fs::read(directory.join("jwks.json")).unwrap()).unwrap();
        let keys = jwks["keys"].as_array().unwrap();
        let jwk = keys.iter().find(|key| key["kid"] == name).unwrap();
        let member = |member: &str| URL_SAFE_NO_PAD.decode(jwk[member].as_str().unwrap()).unwrap();
        let key = match name {
            "rs256" => {
                aws_lc_rs::signature::RsaPublicKeyComponents { n: member("n"), e: member("e") }
                    .to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
                    .unwrap()
            }
            "es256" => {
                let point = [vec![4], member("x"), member("y")].concat();
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).unwrap()
            }
            _ => ParsedPublicKey::new(&ED25519, member("x")).unwrap(),
        };
        let signed = tokens(&format!("{name}-fresh"), directory).into_iter().map(|token| {
            let (input, signature) = token.rsplit_once('.').unwrap();
            (input.to_owned(), URL_SAFE_NO_PAD.decode(signature).unwrap())
        });
        Self { key, signed: signed.collect() }
    }

    fn verify(&self, from: usize, count: usize) {
        for (input, signature) in &self.signed[from..from + count] {
            self.key.verify_sig(black_box(input.as_bytes()), black_box(signature)).unwrap();
        }
    }
}

/// Nanoseconds of CPU of each, on the average of `count`: what other processes
/// take is not in it.
fn taken(count: u32, what: impl FnOnce()) -> f64 {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap();
    let before = now();
    what();
    now().saturating_sub(before).as_secs_f64() * 1e9 / f64::from(count)
}

/// A service that asks this engine.
fn service_of(engine: Engine) -> CheckService {
    let log = DecisionLog::new(0.0);
    CheckService::new(Arc::new(Checker::new(Arc::new(engine), Arc::new(Fixed), log)))
}

/// A question about this request, as gRPC carries it.
fn encoded(http: HttpRequest, metadata_context: Option<Metadata>) -> Vec<u8> {
    let request = Some(Request { http: Some(http), ..Request::default() });
    let attributes = AttributeContext { request, metadata_context, ..AttributeContext::default() };
    CheckRequest { attributes: Some(attributes) }.encode_to_vec()
}

/// The median of each kind, as JSON.
fn print_medians(took: BTreeMap<&str, Vec<f64>>) {
    let median = |mut all: Vec<f64>| {
        all.sort_by(f64::total_cmp);
        all[all.len() / 2].round()
    };
    let medians: BTreeMap<_, _> = took.into_iter().map(|(name, all)| (name, median(all))).collect();
    println!("{}", json!(medians));
}

/// Runs everything in turns: what is compared stands side by side within one.
fn time(turns: usize, directory: &Path) {
    let mut asked: Vec<(String, Asked)> =
        cases().iter().map(|case| (case.name.clone(), Asked::new(case, directory))).collect();
    let alone: Vec<(&str, Alone, Vec<String>)> = ALGORITHMS
        .map(|(name, _)| {
            (name, Alone::new(name, directory), tokens(&format!("{name}-fresh"), directory))
        })
        .into();
    let mut took: BTreeMap<String, Vec<f64>> = BTreeMap::new();
    let now = Timestamp::from_secs(NOW);
    for turn in 0..=turns {
        let mut note = |name: String, nanoseconds: f64| {
            // The first turn warms up.
            if turn > 0 {
                took.entry(name).or_default().push(nanoseconds);
            }
        };
        for (name, asked) in &mut asked {
            let count = if asked.is_allowed { 300 } else { 20 };
            note(name.clone(), taken(count, || asked.ask(count)));
        }
        let from = turn * 20 % FRESH;
        for (name, alone, fresh) in &alone {
            // One that has met none of them.
            let engine = engine("one", directory);
            engine.verifier.verify(&fresh[(from + 20) % FRESH], now).unwrap();
            let verify = || {
                for token in &fresh[from..from + 20] {
                    black_box(engine.verifier.verify(black_box(token), now)).unwrap();
                }
            };
            // The tables of the curve are near for both, then.
            alone.verify(from, 20);
            note(format!("{name}-alone"), taken(20, || alone.verify(from, 20)));
            note(format!("{name}-fresh"), taken(20, verify));
        }
    }
    println!("{}", json!(took));
}
