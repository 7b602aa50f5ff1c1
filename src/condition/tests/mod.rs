//! What conditions say, what they refuse to be, and how long they take.

mod any;
mod naive;
mod request;
mod spec;
mod textproto;

use serde_json::json;

use self::request::{Request, SCOPE, anns};
use super::*;

fn parse(text: &str) -> Condition {
    Condition::parse(text, &SCOPE).unwrap_or_else(|troubles| {
        let troubles: Vec<String> = troubles.iter().map(Trouble::to_string).collect();
        panic!("{text}: {}", troubles.join("\n"))
    })
}

/// The same, for the interpreter alone.
pub(super) fn interpreted(text: &str) -> Condition {
    Condition::parse_by(text, &SCOPE, |_| None).unwrap()
}

/// What is said of a request: by itself, and by the interpreter alone.
fn is_met(text: &str, request: &Request) -> bool {
    let (own, other) = (parse(text).unmet([request]), interpreted(text).unmet([request]));
    assert_eq!(own.is_none(), other.is_none(), "{text}: {own:?} and {other:?}");
    let failed = |unmet: &Option<Unmet>| unmet.as_ref().is_some_and(|it| it.failure.is_some());
    assert_eq!(failed(&own), failed(&other), "{text}: {own:?} and {other:?}");
    own.is_none()
}

#[test]
fn conditions_are_true_or_not() {
    for (text, expected) in [
        (r"path.id == user.id", true),
        (r"path.id != user.id", false),
        (r#"path.id == user.id || user.role == "ADMIN""#, true),
        (r#"path["id"] == user.id && path.run == "3""#, true),
        (r#""runs:read" in user.scopes"#, true),
        (r#""runs:all" in user.scopes"#, false),
        (r#"user.role in ["REGULAR", "ADMIN"]"#, true),
        (r#"!(user.role in ["REGULAR"])"#, false),
        (r#"request.headers["x-tenant"] in claims.tenants"#, true),
        (r#"request.headers["x-none"] == "a""#, false),
        (r#""x-tenant" in request.headers && !("x-none" in request.headers)"#, true),
        (r#"has(claims.tenant) && claims.tenant == "acme""#, true),
        (r"has(claims.nobody)", false),
        (r"has(claims.org.id) && !has(claims.org.name)", true),
        (r"has(claims.nobody.id)", false),
        (r"!has(claims.nobody.id)", false),
        (r"has(user.email)", false),
        (r"claims.level == 3 && claims.level == 3.0 && claims.level >= 3u", true),
        (r"claims.level > 2 && claims.level < 4 && claims.half <= 0.5", true),
        (r#"claims.level == "3""#, false),
        (r#"claims.level < "3""#, false),
        (r"claims.big > 9223372036854775807", true),
        (r"claims.big == 18446744073709551615u", true),
        (r"claims.vip", true),
        (r"!claims.vip", false),
        (r"claims.tenant", false),
        (r"claims.none == null", true),
        (r"claims.org.units == claims.org.units", true),
        (r#"claims.org.id == "o-1""#, true),
        (r#"claims.tenant.id == "o-1""#, false),
        (r"claims.nobody == claims.nobody", false),
        (r#"claims.nobody == "a" || path.id == "7""#, true),
        (r#"path.id == "7" || claims.nobody == "a""#, true),
        (r#"claims.nobody == "a" && path.id == "8""#, false),
        (r#"!(claims.nobody == "a")"#, false),
        (r#"context.plan == "gold""#, true),
        (r#""a" in request.query.tag && size(request.query.tag) == 2"#, true),
        (r#"request.segments[0] == "users""#, true),
        (r#"request.segments[9] == "users""#, false),
        (r#"request.path.startsWith("/users/") && request.path.matches("^/users/[0-9]+/")"#, true),
        (r#"matches(request.path, "^/users$")"#, false),
        (r#"request.host.endsWith(".example.com")"#, true),
        (r#"claims.tenants.exists(t, t == request.headers["x-tenant"])"#, true),
        (r#"claims.tenants.all(t, t.contains("a"))"#, false),
        (r"claims.org.units.map(u, u + 1).filter(u, u > 2) == [3]", true),
        (r#"user.scopes.exists_one(s, s.endsWith(":read"))"#, true),
        (r#"request.headers.all(name, request.headers[name] != "")"#, true),
        (r"size(claims) == 9", true),
        (r#"claims.tenants.exists(user, user == "acme") && user.id == "7""#, true),
        (r#""plan" in context && "id" in path && !("none" in context)"#, true),
        (r#"request.path.matches("^/\\w+/\\d/[\\w]+/") && !request.path.matches("\\s")"#, true),
        ("type(request.time) == google.protobuf.Timestamp && type(user.id) == string", true),
        (
            r#"claims["https://example.com/org"] == "o-1" && claims.org.`id` == "o-1" && has(claims.org.id)"#,
            true,
        ),
        (r#"{"REGULAR": "silver", "ADMIN": "gold"}[user.role] == "silver""#, true),
        (r#"request.time > timestamp("2026-01-01T00:00:00Z")"#, true),
        (r#"request.time.getHours("Europe/Berlin") == 13"#, true),
        (r#"request.time - timestamp("2026-11-18T12:26:40Z") < duration("1s")"#, true),
        (r"int(path.id) == 7 && path.id == string(7)", true),
        (r"int(user.name) == 7", false),
        (r"claims.level / 0 == 1", false),
        (r"claims.level % 0 == 1", false),
        (r"claims.level + 9223372036854775807 > 0", false),
        (r#"claims.level > 2 ? path.id == "7" : path.id == "8""#, true),
        ("path.id == // the owner's\n  user.id", true),
        (r#"path.id == "7" && (user.name == "a && b" || true)"#, true),
        ("true", true),
        ("false", false),
    ] {
        assert_eq!(is_met(text, &anns()), expected, "{text}");
    }
}

#[test]
fn a_user_is_the_same_by_number_and_by_text_and_by_nothing_else() {
    let owner = "path.id == user.id";
    for (path, user, expected) in [
        ("7", "7", true),
        ("07", "7", false),
        ("7.0", "7", false),
        (" 7", "7", false),
        ("7", "٧", false),
        ("ann", "Ann", false),
        ("аnn", "ann", false),
        ("", "", true),
        ("a/b", "a/b", true),
        ("a%2Fb", "a/b", false),
        ("é", "e\u{301}", false),
    ] {
        let request = anns().text(Object::Path, "id", path).text(Object::User, "id", user);
        assert_eq!(is_met(owner, &request), expected, "{path:?} {user:?}");
    }
}

#[test]
fn what_has_two_readings_is_not_true_and_not_false() {
    let torn = anns().torn(Object::Headers, "x-tenant");
    for text in [
        r#"request.headers["x-tenant"] == "acme""#,
        r#"request.headers["x-tenant"] != "acme""#,
        r#"!(request.headers["x-tenant"] == "acme")"#,
        r"has(request.headers.x_tenant) || true && request.headers['x-tenant'] != 'b'",
        r#""x-tenant" in request.headers"#,
        r#"!("x-tenant" in request.headers)"#,
    ] {
        assert!(!is_met(text, &torn), "{text}");
    }
    let unmet = parse(r#"request.headers["x-tenant"] == "acme""#).unmet([&torn]).unwrap();
    assert_eq!(unmet.to_string(), r#"request.headers["x-tenant"] == "acme": it has two values"#);
}

#[test]
fn the_part_that_is_not_true_is_told_without_a_value() {
    for (text, expected) in [
        (r#"path.id == user.id && user.role == "ADMIN""#, r#"user.role == "ADMIN": it is false"#),
        (r#"user.name == "a && b" && true"#, r#"user.name == "a && b": it is false"#),
        (
            "path.id == user.id && claims.nobody == 'a'",
            "claims.nobody == 'a': there is no claims.nobody",
        ),
        ("claims.nobody.startsWith('a')", "claims.nobody.startsWith('a'): there is no nobody"),
        (
            "claims.org[request.path] == 'a'",
            "claims.org[request.path] == 'a': something that it names through a value is not there",
        ),
        (
            "claims.level < 'a'",
            "claims.level < 'a': a value has a type that does not allow this operation",
        ),
        (
            "1 / (claims.level - 3) == 1",
            "1 / (claims.level - 3) == 1: a number was divided by zero",
        ),
        (
            "{'a': 1}[user.name] == 1",
            "{'a': 1}[user.name] == 1: something that it names through a value is not there",
        ),
        ("int(user.name) == 1", "int(user.name) == 1: int() cannot handle its arguments"),
        (
            "(path.id == user.id && path.run == '4')",
            "(path.id == user.id && path.run == '4'): it is false",
        ),
    ] {
        assert_eq!(parse(text).unmet([&anns()]).unwrap().to_string(), expected);
    }
}

#[test]
fn what_cannot_work_is_refused_with_its_place() {
    let mut wrong = Vec::new();
    for (text, cause, caret) in [
        ("path.idd == user.id", "path has no idd: name one of: id, run", Some(4)),
        (
            "user.mail == 'a'",
            "user has no mail: name one of: id, name, email, role, scopes, issuer",
            Some(4),
        ),
        ("context.tier == 'a'", "context has no tier: name one of: plan", Some(7)),
        (
            "users.id == 'a'",
            "there is no variable users; there are: request, path, user, claims, source, destination, context, mcp, llm",
            Some(0),
        ),
        ("user.id == 7", "== cannot be used with string and int", Some(8)),
        ("user.id < 7", "< cannot be used with string and int", Some(8)),
        ("user.email == null", "== cannot be used with string and null", Some(11)),
        ("user.id", "it is a string, but a condition must be a bool", Some(4)),
        (
            "user == user",
            "user is no value: name one of: id, name, email, role, scopes, issuer",
            Some(0),
        ),
        ("path.id.startswith('a')", "there is no startswith() like this", Some(18)),
        ("path.id.matches(user.id)", "a regular expression has to be a constant", Some(20)),
        ("path.id.matches('(')", "it is not a regular expression", Some(16)),
        ("path.id.matches('(a{100}){100}')", "the regular expression is too large", Some(16)),
        (
            "request.headers['X-Tenant'] == 'a'",
            "names of headers are in lower case: x-tenant",
            Some(15),
        ),
        (
            "request.headers['authorization'] == 'a'",
            "authorization is kept from conditions",
            Some(15),
        ),
        ("request.headers.Authorization != ''", "names of headers are in lower case", Some(15)),
        ("has(request.headers.authorization)", "authorization is kept from conditions", Some(3)),
        ("'authorization' in request.headers", "authorization is kept from conditions", Some(26)),
        (
            "request['headers']['authorization'] != ''",
            "authorization is kept from conditions",
            Some(18),
        ),
        ("request.query != {'a': ['b']}", "request.query as a whole is no value", Some(7)),
        ("{'a': ['b']} == request.query", "request.query as a whole is no value", Some(23)),
        ("request.headers == request.headers", "request.headers as a whole is no value", Some(7)),
        ("claims == claims", "claims as a whole is no value", Some(0)),
        ("claims in [claims.org]", "claims as a whole is no value", Some(0)),
        ("[claims].exists(c, c.a == 1)", "claims as a whole is no value", Some(1)),
        (".claims.tenant == 'a'", "there is no variable .claims", Some(1)),
        ("!has(.claims.tenants)", "there is no variable .claims", Some(6)),
        ("request.headers.x-tenant == 'a'", "request.headers[\"x-tenant\"]", Some(18)),
        ("has(request.headers['x'])", "write \"name\" in request.headers", Some(19)),
        ("'abc'[0] == 'a'", "[ ] cannot be used with string and int", Some(5)),
        ("cidr('a') == 1", "there is no cidr() like this", Some(4)),
        ("timestamp('tomorrow') < request.time", "timestamp() fails", Some(9)),
        ("a.b{c: 1} == 1", "messages cannot be made in a condition", Some(3)),
        ("claims.a.exists(x, claims.b.exists(y, x == y))", "a macro within a macro", Some(25)),
        ("path.id ==", "it is not a CEL expression", Some(10)),
        ("path.id == 'a' &&\n  user.id = 'b'", "it is not a CEL expression", Some(10)),
        ("claims.?a == 1", "it is not a CEL expression", Some(6)),
        (" ", "it is empty", None),
    ] {
        let troubles = Condition::parse(text, &SCOPE).expect_err(text);
        let trouble = troubles.first().unwrap();
        let column = trouble.at.as_ref().map(|(_, column)| *column);
        if !trouble.cause.contains(cause) || column != caret {
            wrong.push(format!("{text}: {column:?}: {trouble}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let trouble = &Condition::parse("path.idd == user.id", &SCOPE).unwrap_err()[0];
    assert_eq!(
        trouble.to_string(),
        "path has no idd: name one of: id, run\n    path.idd == user.id\n        ^"
    );
    assert_eq!(Condition::parse("path.a == user.b", &SCOPE).unwrap_err().len(), 2);
}

#[test]
fn what_is_too_long_or_too_deep_is_refused() {
    let nested = |open: &str, close: &str, times| {
        format!("{}true{}", open.repeat(times), close.repeat(times))
    };
    for text in [
        format!("'{}' == 'a'", "a".repeat(4096)),
        nested("(", ")", 2000),
        nested("!(", ")", 40),
        nested("[", "]", 1500),
        "!".repeat(4000),
        format!("1{} == 1", "+1".repeat(40)),
        format!("claims{} == 1", ".a".repeat(1000)),
        format!("claims{} == 1", "[0]".repeat(1000)),
        format!("{}1 == 1", "true?1:".repeat(500)),
        format!("user.name == 'a'{}", " || user.name == 'a'".repeat(200)),
        "[1,2,3,4,5,6,7,8,9].all(a, [1,2,3,4,5,6,7,8,9].all(b, [1,2,3,4,5,6,7,8,9].all(c, true)))"
            .to_owned(),
        "(".repeat(4000),
        "\u{0}\"'`((".repeat(500),
    ] {
        assert!(Condition::parse(&text, &SCOPE).is_err(), "{text}");
    }
    parse(&nested("(", ")", 20));
    parse(&format!("user.name == 'a'{}", " && user.name == 'a'".repeat(50)));
    parse("[1, 2, 3].all(a, [1, 2, 3].exists(b, a == b))");
}

#[test]
fn work_ends() {
    let many: Vec<String> = (0..10_000).map(|number| number.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    let long = "a".repeat(60_000);
    let request = anns()
        .list(Object::Query, "many", &many)
        .text(Object::Request, "path", &long)
        .claims(json!({ "many": many, "long": long, "level": 3 }));
    for text in [
        "claims.many.all(x, x != 'a')",
        "claims.many.exists(x, x == '9999')",
        "claims.many.map(x, x + x).size() == 10000",
        "claims.many.filter(x, x != '1').size() == 10000",
        "claims.many.exists_one(x, x == '9999')",
        "request.query.many.all(x, x != 'a')",
        "request.query.many.exists(x, x == 'a') || true",
        "!request.query.many.exists(x, x == 'a')",
        r#"claims.long.matches("(a*)*b")"#,
        r#"claims.long.matches("(a|aa)+$")"#,
        "[1, 2, 3, 4, 5, 6, 7, 8].all(x, request.path.contains('aab') || x > 0)",
        "size(claims) > 0 && claims.long.contains('aab')",
    ] {
        let condition = interpreted(text);
        let unmet = condition.unmet([&request]).expect(text);
        assert_eq!(unmet.failure.as_deref(), Some("it took too much work"), "{text}");
    }
    let all = |part: &str, times| vec![part; times].join(" && ");
    let grown = (0..7).fold("user.name".to_owned(), |of, _| {
        format!("[{of}].map(y, y + y + y + y + y + y + y + y)[0]")
    });
    let numbers: Vec<u32> = (0..300).collect();
    let zeros_and_ones: String =
        (0..4000_u32).map(|n| if n * n % 7 > 2 { '1' } else { '0' }).collect();
    let request = anns()
        .text(Object::Headers, "x-long", &long)
        .text(Object::Headers, "x-bits", &zeros_and_ones)
        .claims(json!({ "l": numbers, "m": { "a": numbers }, "long": long }));
    for text in [
        format!("{grown} == 'a'"),
        all("claims.l == claims.l", 60),
        all("!(user.name in claims.l)", 60),
        all("request.headers['x-long'] != 'b'", 60),
        all("claims.m == claims.m", 60),
        format!("[claims.l].all(l, {})", all("l == l", 40)),
        format!("[claims.l].all(l, size(l{}) > 3)", " + l".repeat(20)),
        format!("[claims.l].all(l, size([l{}]) > 3)", ", l".repeat(60)),
        format!("[claims.l].all(l, size([{{0: l}}{}]) > 3)", ", {0: l}".repeat(40)),
        "request.headers['x-bits'].matches('[01]*1[01]{60}x')".to_owned(),
        "request.headers['x-bits'].matches('^(([01])+.)+[A-Z]([01])+$')".to_owned(),
    ] {
        let began = std::time::Instant::now();
        let unmet = parse(&text).unmet([&request]).expect(&text);
        assert_eq!(unmet.failure.as_deref(), Some("it took too much work"), "{text}");
        assert!(began.elapsed().as_millis() < 500, "{text}: {:?}", began.elapsed());
    }
    // What lies within another is looked at once.
    let nested = format!("[true].all(x, {}x{})", "(".repeat(24), " == true)".repeat(24));
    assert!(parse(&nested).unmet([&request]).is_none());
    // Where it is a constant that grows, it ends while it is looked at.
    let constant = grown.replace("user.name", "'a'") + " == 'a'";
    let domain = Domain::default();
    assert_eq!(parse(&constant).always(&domain), Some(Always::NotTrue));
}

#[test]
fn what_is_always_so_is_told() {
    let domain = Domain {
        methods: vec!["GET"],
        roles: vec!["REGULAR", "ADMIN"],
        issuers: vec!["acme", "own"],
    };
    for (text, expected) in [
        ("true", Some(Always::True)),
        ("1 + 1 == 2", Some(Always::True)),
        ("'a'.startsWith('b')", Some(Always::NotTrue)),
        ("1 / 0 == 1", Some(Always::NotTrue)),
        ("1 == 1.0", Some(Always::True)),
        ("!(1 == 1u)", Some(Always::NotTrue)),
        ("claims.a == 1 && claims.a == 1.0", None),
        ("claims.a == 1 && claims.a == 2.0", Some(Always::NotTrue)),
        ("user.role == 'admin'", Some(Always::NotTrue)),
        ("user.role == 'ADMIN'", None),
        ("user.role in ['ADMIN', 'REGULAR']", Some(Always::True)),
        ("user.role != 'RESTRICTED'", Some(Always::True)),
        ("request.method == 'POST' && path.id == user.id", Some(Always::NotTrue)),
        ("request.method == 'GET' || path.id == user.id", Some(Always::True)),
        ("user.issuer == 'globex'", Some(Always::NotTrue)),
        ("path.id == '1' && path.id == '2'", Some(Always::NotTrue)),
        ("path.id == '1' && path.run == '2'", None),
        ("path.id == user.id", None),
        ("claims.a == claims.a", None),
    ] {
        assert_eq!(parse(text).always(&domain), expected, "{text}");
    }
}

#[test]
fn nothing_that_looks_like_a_helper_of_its_own_can_be_written() {
    for text in ["@budget", "`@budget` == 1", "@matches(path.id, 'a', 1)", "@7", "__result__"] {
        assert!(Condition::parse(text, &SCOPE).is_err(), "{text}");
    }
}
