//! The decision: what a client is answered that may not pass.

use serde_json::json;

use crate::ask::{ask, engine, good};

#[test]
fn a_denial_is_answered_in_full_and_tells_no_more_than_it_must() {
    let engine = engine("");
    let missing = ask("GET", "/api/agents").of(&engine);
    insta::assert_debug_snapshot!((&missing.answer, &missing.body), @r#"
    (
        [
            (
                "content-type",
                "application/json",
            ),
            (
                "cache-control",
                "no-store",
            ),
            (
                "www-authenticate",
                "Bearer realm=\"portcullis\"",
            ),
        ],
        "{\"error\":{\"message\":\"Authentication is required\",\"type\":\"auth_error\",\"param\":null,\"code\":\"401\"}}",
    )
    "#);

    let expired = ask("GET", "/api/agents").claiming(&json!({ "exp": 1 })).of(&engine);
    let forged = ask("GET", "/api/agents").bearer(&format!("{}x", good())).of(&engine);
    assert_eq!((expired.reason, forged.reason), ("expired", "bad_signature"));
    assert_eq!((&expired.answer, &expired.body), (&forged.answer, &forged.body));
    let challenge = expired.header("www-authenticate").unwrap();
    assert!(
        challenge.starts_with(
            "Bearer realm=\"portcullis\", error=\"invalid_token\", error_description=\""
        )
    );

    for (ask, kind, code) in [
        (ask("GET", "/api//x"), "invalid_request_error", "400"),
        (ask("GET", "/api/agents").role("INACTIVE"), "auth_error", "403"),
        (ask("GET", "/nowhere"), "auth_error", "403"),
    ] {
        let out = ask.of(&engine);
        let body: serde_json::Value = serde_json::from_str(&out.body).unwrap();
        assert_eq!((&body["error"]["type"], &body["error"]["code"]), (&json!(kind), &json!(code)));
        assert_eq!(out.header("www-authenticate"), None);
        assert_eq!(out.header("cache-control"), Some("no-store"));
        assert_eq!(out.header("content-type"), Some("application/json"));
    }
}

#[test]
fn a_browser_that_opens_a_page_is_sent_to_sign_in() {
    let engine = engine("check.sign_in_url = \"https://auth.example.com/ui/login/\"");
    let navigate = |path: &str| ask("GET", path).with("sec-fetch-mode", "navigate");
    let out = navigate("/api/agents?tab=1&access-token=T").of(&engine);
    assert_eq!((out.status, out.reason), (302, "no_credential"));
    assert_eq!(
        out.header("location"),
        Some(
            "https://auth.example.com/ui/login/?return_to=https%3A//app.example.com/api/agents%3Ftab%3D1"
        )
    );
    assert_eq!(out.header("www-authenticate"), None);
    assert_eq!(out.header("cache-control"), Some("no-store"));
    assert_eq!(navigate("/api/agents").bearer("junk").of(&engine).status, 302);

    let same = navigate("/api/agents").host("auth.example.com").of(&engine);
    let same = same.header("location").unwrap().to_owned();
    assert_eq!(same, "https://auth.example.com/ui/login/?return_to=/api/agents");

    for (ask, status) in [
        (ask("GET", "/api/agents"), 401),
        (ask("GET", "/api/agents").with("sec-fetch-mode", "cors"), 401),
        (ask("POST", "/api/agents").with("sec-fetch-mode", "navigate"), 401),
        (navigate("/api/agents").with("content-type", "application/grpc+proto"), 401),
        (navigate("/api/agents").role("INACTIVE"), 403),
        (navigate("/nowhere"), 403),
        (navigate("/api//agents"), 400),
    ] {
        assert_eq!(ask.of(&engine).status, status);
    }
}
