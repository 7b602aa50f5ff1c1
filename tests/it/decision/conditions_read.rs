//! What conditions read of a request, of who asks and of the gateway.

use portcullis::{authz::CheckInput, clock::Timestamp};
use serde_json::json;

use crate::{
    ask::{NOW, ask, engine},
    conditions::told_of,
};

#[test]
fn a_condition_reads_headers_and_queries_up_to_their_bounds_and_nothing_beyond() {
    let plain = "request.headers[\"x-a\"] != \"\"";
    for (length, expected) in [(8192, ""), (8193, "condition")] {
        assert_eq!(told_of(plain, "/", &[("x-a", &"x".repeat(length))]), expected, "{length}");
        // `a=` belongs to it.
        let path = format!("/?a={}", "x".repeat(length - 2));
        assert_eq!(told_of("size(request.query.a) == 1", &path, &[]), expected, "{length}");
    }
    for (count, expected) in [(256, ""), (257, "condition")] {
        let path = format!("/?a=1{}", "&b=2".repeat(count - 1));
        assert_eq!(told_of("request.query.a == [\"1\"]", &path, &[]), expected, "{count}");
    }
    assert_eq!(told_of("request.query.a == [\"1 2\", \"\"]", "/?&a=1+2&&a", &[]), "");
}

#[test]
fn a_condition_reads_what_is_asked_for_and_by_whom() {
    let engine_of = |when: &str| {
        engine(&format!("[[rules]]\nname = \"r\"\npath_prefix = \"/\"\nwhen = '{when}'\n"))
    };
    let mut asked = ask("POST", "/a/b?c=d").from("192.0.2.1");
    asked = asked.with("x-request-id", "abc").with("x-b", "2").listed("x-b", "2");
    asked = asked.claiming(&json!({ "scope": " a  b " }));
    for when in [
        r#"request.method == "POST""#,
        r#"request.host == "app.example.com""#,
        r#"request.path == "/a/b""#,
        r#"request.segments == ["a", "b"]"#,
        r#"request.scheme == "https""#,
        r#"request.id == "abc""#,
        r#"request.time == timestamp("2027-01-15T08:00:00Z")"#,
        r#"request.headers["x-b"] == "2""#,
        r#""x-b" in request.headers && !("x-c" in request.headers)"#,
        r#"request.headers.exists(name, name == "x-b")"#,
        r#"!request.headers.exists(name, name == "authorization")"#,
        r#"request.query.exists(name, name == "c")"#,
        r#"claims.exists(name, name == "scope")"#,
        r#"source.address == "192.0.2.1""#,
        r#"user.id == "7""#,
        r#"user.name == "ann""#,
        r#"user.email == "ann@example.com""#,
        r#"user.role == "REGULAR""#,
        r#"user.scopes == ["a", "b"]"#,
        r#"user.issuer == "own""#,
    ] {
        assert_eq!(asked.of(&engine_of(when)).reason, "", "{when}");
    }
    // What the transport does not know is not there, rather than empty.
    for when in
        ["request.protocol == \"\"", "source.principal == \"\"", "destination.principal == \"\""]
    {
        assert_eq!(asked.of(&engine_of(when)).reason, "condition", "{when}");
    }
}

#[test]
fn a_condition_reads_what_the_gateway_tells_of_both_ends() {
    let engine = engine(
        r#"
        check.context = { plan = "free" }
        [[rules]]
        name = "r"
        path_prefix = "/"
        when = 'request.id == "own" && request.protocol == "HTTP/2" && source.principal == "a" && destination.principal == "b" && context.plan == "gold"'
        "#,
    );
    let asked = ask("GET", "/").with("x-request-id", "another").claiming(&json!({}));
    let told = CheckInput {
        id: "own",
        protocol: "HTTP/2",
        source_principal: "a",
        destination_principal: "b",
        context: vec![("other", "x"), ("plan", "gold")],
        ..asked.input()
    };
    let is_let_through =
        |input: &CheckInput<'_>| engine.decide(input, Timestamp::from_secs(NOW)).reason().is_none();
    assert!(is_let_through(&told));
    for lacking in [
        CheckInput { id: "", ..told.clone() },
        CheckInput { source_principal: "", ..told.clone() },
        CheckInput { destination_principal: "", ..told.clone() },
        CheckInput { context: vec![("other", "gold")], ..told.clone() },
    ] {
        assert!(!is_let_through(&lacking), "{lacking:?}");
    }
    // A header of two values is neither.
    let two = told_of_both("request.headers[\"x-a\"] == \"1\"", "1", "2");
    assert_eq!(
        (two, told_of_both("request.headers[\"x-a\"] == \"1\"", "1", "1")),
        ("condition", "")
    );
}

/// What a condition says of a header that has these values in the two forms.
fn told_of_both(when: &str, map: &str, list: &str) -> &'static str {
    let toml = format!("[[rules]]\nname = \"r\"\npath_prefix = \"/\"\nwhen = '{when}'\n");
    let asked = ask("GET", "/").claiming(&json!({})).with("x-a", map).listed("x-a", list);
    asked.of(&engine(&toml)).reason
}
