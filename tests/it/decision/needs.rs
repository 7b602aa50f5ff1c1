//! What a rule asks of a token beside a role: its scopes, and whose it is.

use serde_json::{Value, json};

use crate::{
    ask::{Out, ask, engine},
    support::{output, portcullis},
};

const HS256: &str = "another-secret-of-at-least-32-bytes";

const RULES: &str = r#"
[[issuers]]
name = "acme"
issuer = "https://idp.example.com"
keys = [{ secret = "another-secret-of-at-least-32-bytes" }]
claims = { role = "roles" }

[[rules]]
name = "runs"
path_prefix = "/runs"
roles = ["REGULAR", "ADMIN"]
scopes = ["runs:read", "runs:list"]

[[rules]]
name = "theirs"
path_prefix = "/theirs"
issuers = ["acme"]

[[rules]]
name = "ours"
path_prefix = "/ours"
issuers = ["own"]

[[rules]]
name = "all"
path_prefix = "/all"
issuers = ["own", "acme"]
roles = ["ADMIN"]
scopes = ["x"]

[[rules]]
name = "tried"
path_prefix = "/"
mode = "shadow"
scopes = ["tried"]
"#;

fn own(path: &str, changes: &Value) -> Out {
    ask("GET", path).claiming(changes).of(&engine(RULES))
}

fn theirs(path: &str, more: &Value) -> Out {
    let now = crate::ask::NOW;
    let mut claims =
        json!({ "iss": "https://idp.example.com", "sub": "7", "iat": now, "exp": now + 60 });
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    let header = r#"{"alg":"HS256","typ":"JWT"}"#;
    let algorithm = aws_lc_rs::hmac::HMAC_SHA256;
    let token = crate::jwt::sign_with(algorithm, HS256.as_bytes(), header, &claims.to_string());
    ask("GET", path).bearer(&token).of(&engine(RULES))
}

#[test]
fn a_rule_with_scopes_lets_pass_who_has_all_of_them() {
    for scope in [
        json!({ "scope": "runs:read runs:list" }),
        json!({ "scope": "a runs:list b runs:read" }),
        json!({ "scp": ["runs:read", "runs:list"] }),
        json!({ "scp": "runs:list runs:read" }),
    ] {
        assert_eq!(own("/runs", &scope).reason, "", "{scope}");
    }
    for scope in [
        json!({}),
        json!({ "scope": "" }),
        json!({ "scope": "runs:read" }),
        json!({ "scope": "runs:read,runs:list" }),
        json!({ "scope": "runs:read runs:LIST" }),
        json!({ "scope": "runs:read runs:list:all" }),
        json!({ "scope": ["runs:read", 1] }),
        json!({ "scope": { "runs:read": 1 } }),
        json!({ "scope": "runs:read", "scp": ["runs:list"] }),
    ] {
        let out = own("/runs", &scope);
        assert_eq!((out.status, out.reason), (403, "insufficient_scope"), "{scope}");
        let challenge = out.answer.iter().find(|(name, _)| name == "www-authenticate");
        let expected = "Bearer error=\"insufficient_scope\", scope=\"runs:read runs:list\"";
        assert_eq!(challenge.map(|(_, value)| value.as_str()), Some(expected));
        assert!(out.body.contains("Access denied"), "{}", out.body);
    }
    // Who lacks the role is told of nothing that would help.
    let out = own("/runs", &json!({ "role": "INACTIVE" }));
    assert_eq!(out.reason, "role");
    assert!(out.answer.iter().all(|(name, _)| name != "www-authenticate"));
    assert_eq!(ask("GET", "/runs").of(&engine(RULES)).reason, "no_credential");
}

#[test]
fn a_rule_with_issuers_lets_pass_whose_token_is_of_one_of_them() {
    let none = json!({});
    assert_eq!(own("/ours", &none).reason, "");
    assert_eq!((own("/theirs", &none).status, own("/theirs", &none).reason), (403, "issuer"));
    assert_eq!(theirs("/theirs", &none).reason, "");
    assert_eq!(theirs("/ours", &none).reason, "issuer");
    let admin = json!({ "role": "ADMIN", "roles": ["ADMIN"], "scope": "x" });
    assert_eq!(own("/all", &admin).reason, "");
    assert_eq!(theirs("/all", &admin).reason, "");
    assert_eq!(theirs("/all", &json!({ "roles": ["ADMIN"] })).reason, "insufficient_scope");
    assert_eq!(theirs("/all", &json!({ "scope": "x" })).reason, "role");
}

#[test]
fn a_shadow_rule_tells_of_scopes_and_decides_nothing() {
    assert_eq!(own("/ours", &json!({})).shadow, ["tried"]);
    assert!(own("/ours", &json!({ "scope": "tried" })).shadow.is_empty());
}

#[test]
fn what_cannot_be_meant_of_scopes_and_issuers_is_a_problem() {
    for (lines, told) in [
        ("roles = [\"ADMIN\"]\nscopes = []", "the list is empty"),
        ("issuers = []", "the list is empty"),
        ("scopes = [\"a b\"]", "is not accepted here"),
        ("scopes = [\"a\\\"\"]", "is not accepted here"),
        ("issuers = [\"acme\"]", "each one of: own"),
        ("access = \"public\"\nscopes = [\"a\"]", "cannot ask for a credential"),
        ("access = \"deny\"\nissuers = [\"own\"]", "cannot ask for a credential"),
    ] {
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join("portcullis.toml");
        std::fs::write(&file, format!("[[rules]]\nname = \"a\"\npath = \"/\"\n{lines}\n")).unwrap();
        let mut command = portcullis();
        let done = output(command.args(["check-config", "--config", file.to_str().unwrap()]), "");
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(2), "{lines}");
        assert!(said.contains(told) && said.contains("fix: "), "{lines}: {said}");
    }
}
