//! How long one decision takes: a token of 400 bytes, 20 headers, and 1, 100
//! or 10,000 rules.
//!
//! `cargo bench --bench decide` prints the table; `tests/bench/check` holds it
//! to its bounds.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::format_push_string,
    reason = "a bench may fail loudly"
)]

use std::sync::Arc;

use divan::{Bencher, black_box};
use portcullis::{
    app,
    authz::{CheckInput, Engine, Header, Headers, Reason},
    clock::Timestamp,
    config::{Config, Sources},
    token::{RevocationList, TokenRef},
};

#[path = "../it/helpers/jwt.rs"]
#[allow(dead_code, reason = "shared with the tests")]
mod jwt;

const NOW: i64 = 1_800_000_000;
const RULES: [usize; 3] = [1, 100, 10_000];

fn main() {
    divan::main();
}

/// How many tokens are revoked.
const REVOKED: [usize; 2] = [0, 100_000];

/// How many comparisons the conditions have.
const COMPARED: [usize; 2] = [0, 3];
/// A condition that is matched, and one that is interpreted, of three comparisons
/// each; the headers, the path and the user are those of the request below.
const MATCHED: &str =
    r#"request.method == "GET" && user.id == "7" && user.role in ["REGULAR", "ADMIN"]"#;
const INTERPRETED: &str =
    r#"(user.role == "REGULAR" && request.path.startsWith("/api/")) == (user.id == "7")"#;

/// An engine of this many rules; the last one is for the agents.
fn engine(rules: usize) -> Engine {
    engine_when(rules, None)
}

/// The same, whose rules all have this condition.
fn engine_when(rules: usize, when: Option<&str>) -> Engine {
    let when = when.map_or(String::new(), |when| format!("when = '{when}'\n"));
    let mut toml = String::new();
    for at in 1..rules {
        let path = match at % 3 {
            0 => format!("path_prefix = \"/service-{at}/v1\""),
            1 => format!("path = \"/service-{at}/v1/status\""),
            _ => format!("path_template = \"/service-{at}/{{id}}/runs\""),
        };
        toml += &format!("[[rules]]\nname = \"r{at}\"\n{path}\naccess = \"authenticated\"\n{when}");
    }
    toml += "[[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\nroles = [\"REGULAR\"]\n";
    toml += &when;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), toml).unwrap();
    let environment = [("AUTH_JWT_SECRET".into(), jwt::SECRET.into())];
    let config = Config::load(&Sources::new(vec![file.path().into()], environment)).unwrap();
    app::engine(config, Arc::new(RevocationList::empty()))
}

/// A good token, filled up to about 400 bytes.
fn token() -> String {
    let filler = "f".repeat(108);
    let token = jwt::token(&jwt::with(NOW, &serde_json::json!({ "filler": filler })));
    assert!((390..410).contains(&token.len()), "{}", token.len());
    token
}

/// The headers of a browser's request behind Envoy.
fn headers(authorization: &str) -> Vec<(&'static str, String)> {
    vec![
        (":authority", "app.example.com".into()),
        (":method", "GET".into()),
        (":path", "/api/agents/42/runs?page=2".into()),
        (":scheme", "https".into()),
        ("accept", "application/json, text/plain, */*".into()),
        ("accept-encoding", "gzip, deflate, br, zstd".into()),
        ("accept-language", "en-GB,en;q=0.9".into()),
        ("authorization", authorization.into()),
        ("cache-control", "no-cache".into()),
        ("cookie", "theme=dark; session=abcdefghijklmnop; consent=1".into()),
        ("referer", "https://app.example.com/agents".into()),
        ("sec-ch-ua-platform", "Linux".into()),
        ("sec-fetch-dest", "empty".into()),
        ("sec-fetch-mode", "cors".into()),
        ("sec-fetch-site", "same-origin".into()),
        ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01".into()),
        ("user-agent", "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36".into()),
        ("x-forwarded-for", "192.0.2.10".into()),
        ("x-forwarded-proto", "https".into()),
        ("x-request-id", "4d3a75a5-41cf-400f-8471-f0a1b6fdcbfe".into()),
    ]
}

#[divan::bench(args = RULES, sample_count = 500, sample_size = 50)]
fn decide(bencher: Bencher<'_, '_>, rules: usize) {
    run(bencher, &engine(rules));
}

#[divan::bench(args = COMPARED, sample_count = 500, sample_size = 50)]
fn matched(bencher: Bencher<'_, '_>, compared: usize) {
    run(bencher, &engine_when(1, (compared > 0).then_some(MATCHED)));
}

#[divan::bench(args = COMPARED, sample_count = 500, sample_size = 50)]
fn interpreted(bencher: Bencher<'_, '_>, compared: usize) {
    run(bencher, &engine_when(1, (compared > 0).then_some(INTERPRETED)));
}

#[divan::bench(args = [1, 10_000], sample_count = 500, sample_size = 50)]
fn conditions(bencher: Bencher<'_, '_>, rules: usize) {
    run(bencher, &engine_when(rules, Some(MATCHED)));
}

/// Conditions that work until they may not any more, or as long as they can, over
/// the longest requests that there are.
const HOSTILE: [&str; 17] = [
    // What the rest takes of such a request.
    "user.id == 'nobody'",
    "claims.many.all(x, x != 'a')",
    "claims.many.map(x, x + x).size() == 1",
    "claims.many.filter(x, x.contains('aaaaaab')).size() == 1",
    "claims.many.exists_one(x, x.matches('(a|aa)+$'))",
    "request.headers.all(name, request.headers[name].contains('aaaaaaaab') || true)",
    "request.query.all(name, size(request.query[name]) > 300) && false",
    "request.segments.all(x, x.matches('^(([a-z])+.)+[A-Z]([a-z])+$'))",
    "request.path.matches('(a*)*b') || request.path.matches('(.*)(.*)(.*)x$')",
    "[1,2,3,4,5,6,7,8,9].all(x, request.path.contains('aaaaaaaaaaaaab') || x > 0)",
    "[1,2,3,4,5,6].all(x, [1,2,3,4,5,6].all(y, string(x * y) + string(y) != string(x) + 'a')) && false",
    "request.headers['x-bits'].matches('[01]*1[01]{60}x')",
    "request.headers['x-bits'].matches('[01]*1[01]{9}x') || request.headers['x-bits'].matches('(0|1)*0[01]{9}x')",
    "request.headers['x-bits'].matches('^(([01])+.)+[A-Z]([01])+$')",
    "[[[user.name].map(y, y+y+y+y+y+y+y+y)[0]].map(y, y+y+y+y+y+y+y+y)[0]].map(y, y+y+y+y+y+y+y+y)[0] == 'a'",
    "!(user.name in claims.many) && !(user.email in claims.many) && !(user.id in claims.many) && user.name == 'nobody'",
    "[claims.many].all(l, l == l && l == l && l == l && l == l) && user.name == 'nobody'",
];

#[divan::bench(args = 0..HOSTILE.len(), sample_count = 100, sample_size = 10)]
fn spent(bencher: Bencher<'_, '_>, condition: usize) {
    let engine = engine_when(1, Some(&HOSTILE[condition].replace('\'', "\"")));
    let many: Vec<String> = (0..600).map(|at| format!("a{at}")).collect();
    let authorization =
        format!("Bearer {}", jwt::token(&jwt::with(NOW, &serde_json::json!({ "many": many }))));
    let mut headers = headers(&authorization);
    let names: Vec<String> = (0..60).map(|at| format!("x-long-{at}")).collect();
    let long = "a".repeat(500);
    let mut random = 1_u64;
    let bits: String = std::iter::repeat_with(|| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        if random >> 63 == 0 { '0' } else { '1' }
    })
    .take(2000)
    .collect();
    headers.push(("x-bits", bits));
    let path = format!(
        "/api/agents{}?a={}",
        "/aaaaaaaa".repeat(900),
        "&b=cccccccccccccccccccccccccc".repeat(250)
    );
    let now = Timestamp::from_secs(NOW);
    headers.retain(|(name, _)| *name != ":path");
    bencher.bench_local(|| {
        let all = headers.iter().map(|(name, value)| (*name, value.as_str()));
        let all = all.chain(names.iter().map(|name| (name.as_str(), long.as_str())));
        let map = all.map(|(name, value)| Header { name, value: value.as_bytes() });
        let input = CheckInput {
            method: "GET",
            scheme: "https",
            host: "app.example.com",
            path: &path,
            headers: Headers::new(map.collect(), Vec::new()),
            ..CheckInput::default()
        };
        let decision = engine.decide(black_box(&input), now);
        assert_eq!(decision.reason(), Some(Reason::Condition));
        divan::black_box_drop(decision);
    });
}

#[divan::bench(args = REVOKED, sample_count = 500, sample_size = 50)]
fn revoked(bencher: Bencher<'_, '_>, tokens: usize) {
    let engine = engine(100);
    for at in 0..tokens {
        let token = TokenRef::by_id(&at.to_string());
        engine.verifier.revocations().revoke_token(token, Timestamp::from_secs(NOW + 3600));
    }
    run(bencher, &engine);
}

/// A cookie where nothing is renewed; where it is not due; where it is.
#[divan::bench(args = [0, 1, 2], sample_count = 1000, sample_size = 50)]
fn renewed(bencher: Bencher<'_, '_>, how: i64) {
    let mut engine = engine(1);
    engine.sessions.renews = how > 0;
    let claims = serde_json::json!({
        "sid": "00112233445566778899aabbccddeeff", "auth_time": NOW, "exp": NOW + 8 * 3600,
        "filler": "f".repeat(40),
    });
    let mut headers = headers("");
    headers.retain(|(name, _)| *name != "authorization");
    for (name, value) in &mut headers {
        if *name == "cookie" {
            *value =
                format!("theme=dark; token={}; consent=1", jwt::token(&jwt::with(NOW, &claims)));
        }
    }
    let now = if how == 2 { NOW + 3600 } else { NOW + 60 };
    run_with(bencher, &engine, &headers, now);
}

fn run(bencher: Bencher<'_, '_>, engine: &Engine) {
    run_with(bencher, engine, &headers(&format!("Bearer {}", token())), NOW);
}

fn run_with(
    bencher: Bencher<'_, '_>,
    engine: &Engine,
    headers: &[(&'static str, String)],
    now: i64,
) {
    let now = Timestamp::from_secs(now);
    bencher.bench_local(|| {
        let map = headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() });
        let input = CheckInput {
            method: "GET",
            scheme: "https",
            host: "app.example.com",
            path: "/api/agents/42/runs?page=2",
            headers: Headers::new(map.collect(), Vec::new()),
            ..CheckInput::default()
        };
        let decision = engine.decide(black_box(&input), now);
        assert!(decision.is_allowed());
        divan::black_box_drop(decision);
    });
}
