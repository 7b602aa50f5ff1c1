//! What one decision costs, without its transport: a token of 400 bytes, 20 headers, and
//! few or many rules, conditions, and tokens that are revoked.

use std::{collections::BTreeMap, hint::black_box, sync::Arc};

use portcullis::{
    app,
    authz::{CheckInput, Engine, Header, Headers, Reason},
    clock::Timestamp,
    config::{Config, Sources},
    token::{RevocationList, TokenRef},
};
use serde_json::json;

use crate::{NOW, jwt, taken};

/// How many tokens are revoked.
const REVOKED: usize = 100_000;
/// A condition that is matched, and one that is interpreted, of three comparisons
/// each; the headers, the path and the user are those of the request below.
const MATCHED: &str =
    r#"request.method == "GET" && user.id == "7" && user.role in ["REGULAR", "ADMIN"]"#;
const INTERPRETED: &str =
    r#"(user.role == "REGULAR" && request.path.startsWith("/api/")) == (user.id == "7")"#;

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

/// An engine of this many rules, which all have this condition; the last one is for the
/// agents.
fn engine(rules: usize, when: Option<&str>) -> Engine {
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
    let token = jwt::token(&jwt::with(NOW, &json!({ "filler": filler })));
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

/// One that is made over and over, and how it ends.
struct Case {
    engine: Engine,
    headers: Vec<(String, String)>,
    path: String,
    now: i64,
    reason: Option<Reason>,
    /// As often in a turn.
    times: u32,
}

impl Case {
    fn of(engine: Engine) -> Self {
        let headers = headers(&format!("Bearer {}", token()));
        let headers = headers.into_iter().map(|(name, value)| (name.to_owned(), value));
        let path = "/api/agents/42/runs?page=2".to_owned();
        Self { engine, headers: headers.collect(), path, now: NOW, reason: None, times: 300 }
    }

    /// The token in a cookie of its session, which a check may renew.
    fn in_cookie(renews: bool, now: i64) -> Self {
        let mut engine = engine(1, None);
        engine.sessions.renews = renews;
        let claims = json!({
            "sid": "00112233445566778899aabbccddeeff", "auth_time": NOW, "exp": NOW + 8 * 3600,
            "filler": "f".repeat(40),
        });
        let mut case = Self { now, ..Self::of(engine) };
        case.headers.retain(|(name, _)| name != "authorization");
        let token = jwt::token(&jwt::with(NOW, &claims));
        for (_, value) in case.headers.iter_mut().filter(|(name, _)| name == "cookie") {
            *value = format!("theme=dark; token={token}; consent=1");
        }
        case
    }

    /// The longest request that there is, under such a condition.
    fn spent(condition: &str) -> Self {
        let many: Vec<String> = (0..600).map(|at| format!("a{at}")).collect();
        let token = jwt::token(&jwt::with(NOW, &json!({ "many": many })));
        let mut case = Self::of(engine(1, Some(&condition.replace('\'', "\""))));
        case.headers.retain(|(name, _)| name != ":path");
        for (_, value) in case.headers.iter_mut().filter(|(name, _)| name == "authorization") {
            *value = format!("Bearer {token}");
        }
        let mut random = 1_u64;
        let bits: String = std::iter::repeat_with(|| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            if random >> 63 == 0 { '0' } else { '1' }
        })
        .take(2000)
        .collect();
        case.headers.push(("x-bits".to_owned(), bits));
        let long = (0..60).map(|at| (format!("x-long-{at}"), "a".repeat(500)));
        case.headers.extend(long);
        let query = "&b=cccccccccccccccccccccccccc".repeat(250);
        case.path = format!("/api/agents{}?a={query}", "/aaaaaaaa".repeat(900));
        Self { reason: Some(Reason::Condition), times: 10, ..case }
    }

    #[inline(never)]
    fn decide(&self, times: u32) {
        for _ in 0..times {
            let map = self.headers.iter();
            let map = map.map(|(name, value)| Header { name, value: value.as_bytes() });
            let input = CheckInput {
                method: "GET",
                scheme: "https",
                host: "app.example.com",
                path: &self.path,
                headers: Headers::new(map.collect(), Vec::new()),
                ..CheckInput::default()
            };
            let now = Timestamp::from_secs(self.now);
            let decision = black_box(self.engine.decide(black_box(&input), now));
            assert_eq!(decision.reason(), self.reason);
        }
    }
}

/// The case of this name; none where there is none.
fn case(name: &str) -> Option<Case> {
    Some(match name {
        "rules-1" => Case::of(engine(1, None)),
        "rules-100" => Case::of(engine(100, None)),
        "rules-10000" => Case::of(engine(10_000, None)),
        "matched" => Case::of(engine(1, Some(MATCHED))),
        "matched-10000" => Case::of(engine(10_000, Some(MATCHED))),
        "interpreted" => Case::of(engine(1, Some(INTERPRETED))),
        "revoked" => {
            let engine = engine(100, None);
            for at in 0..REVOKED {
                let token = TokenRef::by_id(&at.to_string());
                let until = Timestamp::from_secs(NOW + 3600);
                engine.verifier.revocations().revoke_token(token, until);
            }
            Case::of(engine)
        }
        "cookie" => Case::in_cookie(false, NOW + 60),
        "cookie-not-due" => Case::in_cookie(true, NOW + 60),
        "cookie-due" => Case::in_cookie(true, NOW + 3600),
        _ => Case::spent(HOSTILE.get(name.strip_prefix("spent-")?.parse::<usize>().ok()?)?),
    })
}

/// Decides one case so many times.
pub(crate) fn count(name: &str, times: u32) {
    case(name).unwrap().decide(times);
}

/// Runs all cases in so many turns, and prints nanoseconds of CPU as JSON: of each, by
/// turns.
pub(crate) fn decisions(turns: usize) {
    let names = [
        "rules-1",
        "rules-100",
        "rules-10000",
        "matched",
        "matched-10000",
        "interpreted",
        "revoked",
        "cookie",
        "cookie-not-due",
        "cookie-due",
    ];
    let spent = (0..HOSTILE.len()).map(|at| format!("spent-{at}"));
    let names: Vec<String> = names.into_iter().map(str::to_owned).chain(spent).collect();
    let cases: Vec<Case> = names.iter().map(|name| case(name).unwrap()).collect();
    let mut took: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for turn in 0..=turns {
        for (name, case) in names.iter().zip(&cases) {
            let each = taken(case.times, || case.decide(case.times));
            // The first turn warms up.
            if turn > 0 {
                took.entry(name).or_default().push(each);
            }
        }
    }
    println!("{}", json!(took));
}
