//! Rules for what is asked of MCP servers and models, beside each other and around resources.

use serde_json::json;

use crate::{
    api_keys::{engine_of, made},
    ask::{Ask, ask, engine},
    config::{KEY, load},
    mcp::{METADATA, call, message},
};

#[test]
fn of_two_rules_the_one_that_names_more_closely_decides_in_whatever_order_they_stand() {
    let rule = |name: &str, more: &str| {
        format!(
            "[[rules]]\nname = \"{name}\"\npath = \"/mcp\"\naccess = \"authenticated\"\n{more}\n"
        )
    };
    let wide = rule("wide", "mcp = { methods = [\"tools/call\"], tools = [\"delete_*\"] }");
    let close = rule("close", "mcp = { methods = [\"tools/call\"], tools = [\"delete_all\"] }");
    let by_method = rule(
        "by-method",
        "methods = [\"POST\"]\nmcp = { methods = [\"tools/call\"], tools = [\"delete_*\"] }",
    );
    let decides = |rules: [&String; 2], tool: &str| {
        let asked = ask("POST", "/mcp").json(&call(tool)).claiming(&json!({}));
        let out = asked.of(&engine(&[rules[0].as_str(), rules[1]].concat()));
        (out.status, out.rule)
    };
    for rules in [[&wide, &close], [&close, &wide]] {
        assert_eq!(decides(rules, "delete_all"), (200, "close".to_owned()));
        assert_eq!(decides(rules, "delete_some"), (200, "wide".to_owned()));
    }
    for rules in [[&wide, &by_method], [&by_method, &wide]] {
        assert_eq!(decides(rules, "delete_all"), (200, "by-method".to_owned()));
    }
    // A method that no rule lists is another matter than what is asked for.
    let listed = rule("listed", "methods = [\"POST\"]\nmcp = { methods = [\"tools/list\"] }");
    let asked = |method: &str| {
        let out = ask(method, "/mcp").json(&call("a")).claiming(&json!({})).of(&engine(&listed));
        out.reason
    };
    assert_eq!((asked("POST"), asked("PUT")), ("operation", "method"));
}

#[test]
fn a_condition_reads_the_method_that_is_asked_for() {
    let toml = "[[rules]]\nname = \"r\"\npath = \"/mcp\"\nwhen = 'mcp.method == \"tools/list\"'\n";
    let reason =
        |body: &str| ask("POST", "/mcp").json(body).claiming(&json!({})).of(&engine(toml)).reason;
    assert_eq!((reason(&message("tools/list")), reason(&call("a"))), ("", "condition"));
}

#[test]
fn a_challenge_names_scopes_where_it_is_about_a_resource_or_about_scopes() {
    let toml = r#"
        tokens.audience = "all"
        rules = [
            { name = "plain", path = "/plain", scopes = ["a"] },
            { name = "mcp", path = "/mcp", scopes = ["a"], roles = ["ADMIN"], resource = { url = "https://app.example.com/mcp", authorization_servers = ["https://idp.example.com"] } },
        ]
    "#;
    let engine = engine(toml);
    let challenge = |ask: Ask| ask.of(&engine).header("www-authenticate").unwrap_or("").to_owned();
    assert_eq!(challenge(ask("GET", "/plain")), "Bearer realm=\"portcullis\"");
    let without = challenge(ask("GET", "/mcp"));
    assert_eq!(without, format!("Bearer resource_metadata=\"{METADATA}\", scope=\"a\""));
    let lacking = ask("GET", "/plain").claiming(&json!({ "aud": "all" }));
    assert_eq!(challenge(lacking), "Bearer error=\"insufficient_scope\", scope=\"a\"");
    let role = ask("GET", "/mcp");
    let role =
        role.claiming(&json!({ "aud": ["all", "https://app.example.com/mcp"], "scope": "a" }));
    assert_eq!((role.of(&engine).reason, challenge(role)), ("role", String::new()));
}

#[test]
fn one_host_may_have_several_resources() {
    let rule = |path: &str| {
        format!(
            "{{ name = \"{path}\", path = \"/{path}\", access = \"authenticated\", resource = {{ \
             url = \"https://app.example.com/{path}\", \
             authorization_servers = [\"https://idp.example.com\"] }} }}"
        )
    };
    let engine =
        engine(&format!("tokens.audience = \"all\"\nrules = [{}, {}]", rule("a"), rule("b")));
    for path in ["a", "b"] {
        let challenge = ask("GET", &format!("/{path}")).of(&engine);
        let place = format!("https://app.example.com/.well-known/oauth-protected-resource/{path}");
        assert!(challenge.header("www-authenticate").unwrap().contains(&place));
    }
}

#[test]
fn a_key_is_taken_at_a_resource_where_the_rule_takes_keys_by_name() {
    let key = made(|_| {});
    let told = |credentials: &str| {
        let toml = format!(
            "api_keys = {{}}\ntokens.audience = \"all\"\n[[rules]]\nname = \"mcp\"\npath = \"/mcp\"\n\
             access = \"authenticated\"\n{credentials}\nresource = {{ url = \
             \"https://app.example.com/mcp\", \
             authorization_servers = [\"https://idp.example.com\"] }}\n"
        );
        let engine = engine_of(&toml, &[&key]);
        ask("GET", "/mcp").with("x-api-key", &key.text).of(&engine).reason
    };
    assert_eq!(told("credentials = [\"token\", \"api-key\"]"), "");
    assert_eq!(told(""), "bad_audience");
}

#[test]
fn readings_of_a_path_that_are_unclear_alike_are_no_reason_of_their_own() {
    let toml = "check.path_allow = [\"semicolon\"]\n[[rules]]\nname = \"r\"\npath_prefix = \"/mcp\"\n\
                access = \"public\"\nmcp = { methods = [\"tools/list\"] }\n";
    let reason = |path: &str| ask("POST", path).json("junk").of(&engine(toml)).reason;
    assert_ne!(reason("/mcp"), "");
    assert_ne!(reason("/mcp"), "bad_path");
    assert_eq!(reason("/mcp/a;x"), reason("/mcp"));
}

#[test]
fn rules_for_different_models_stand_beside_each_other() {
    let rule = |name: &str, model: &str| {
        format!(
            "[[rules]]\nname = \"{name}\"\npath = \"/v1/chat/completions\"\n\
             access = \"authenticated\"\nllm = {{ models = [\"{model}\"] }}\n"
        )
    };
    let engine = engine(&[rule("one", "gpt-a"), rule("other", "claude-*")].concat());
    for (model, expected) in [("gpt-a", "one"), ("claude-b", "other")] {
        let body = json!({ "model": model, "messages": [] }).to_string();
        let out = ask("POST", "/v1/chat/completions").json(&body).claiming(&json!({})).of(&engine);
        assert_eq!((out.reason, out.rule.as_str()), ("", expected));
    }
}

#[test]
fn what_is_said_of_one_resource_by_several_rules_is_the_same() {
    let rule = |path: &str, name: &str| {
        format!(
            "{{ name = \"{path}\", path = \"/mcp/{path}\", access = \"authenticated\", resource = {{ \
             url = \"https://app.example.com/mcp\", name = \"{name}\", \
             authorization_servers = [\"https://idp.example.com\"] }} }}"
        )
    };
    let problems = |one: &str, other: &str| {
        let rules = format!("rules = [{}, {}]", rule("a", one), rule("b", other));
        load(&format!("tokens.audience = \"all\"\n{rules}"), &[KEY])
            .err()
            .map_or(0, |all| all.len())
    };
    assert_eq!((problems("Tools", "Tools"), problems("Tools", "Others")), (0, 1));
}

#[test]
fn what_is_denied_before_an_mcp_server_is_an_error_of_its_protocol() {
    let code = |ask: Ask| {
        let out = ask.of(&engine(crate::mcp::RULES));
        let body: serde_json::Value = serde_json::from_str(&out.body).unwrap();
        assert_eq!((&body["jsonrpc"], &body["id"]), (&json!("2.0"), &json!(null)));
        (out.status, body["error"]["code"].as_i64().unwrap())
    };
    let asked = || ask("POST", "/mcp");
    let for_it = json!({ "aud": ["all", "https://app.example.com/mcp"], "scope": "mcp:read" });
    assert_eq!(code(asked().json(&call("a"))), (401, -32001));
    assert_eq!(code(asked().json(&call("delete_a")).claiming(&for_it)), (403, -32003));
    assert_eq!(code(asked().json("junk").claiming(&for_it)), (400, -32600));
}
