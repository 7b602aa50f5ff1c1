//! The decision: what is not written in the one way that all servers read alike
//! is refused before any rule is looked at.

use serde_json::json;

use crate::ask::{Ask, ask, engine, good};

/// A specific rule beside an open one, for what would fall through.
const RULES: &str = r#"
[[rules]]
name = "delete"
path_prefix = "/res"
methods = ["DELETE"]
roles = ["ADMIN"]
[[rules]]
name = "open"
path_prefix = "/res"
access = "public"
preflight = true
"#;

#[test]
fn a_method_in_another_form_than_all_servers_read_is_refused() {
    let engine = engine(RULES);
    assert_eq!(ask("DELETE", "/res/1").of(&engine).reason, "no_credential");
    assert_eq!(ask("GET", "/res/1").of(&engine).status, 200);
    assert_eq!(ask("VERSION-CONTROL", "/res/1").of(&engine).status, 200);
    for method in [
        "delete",
        "Delete",
        "DELETe",
        "DELETE ",
        " DELETE",
        "DELETE\t",
        "DELETE\0",
        "\0",
        "",
        " ",
        "DELETE/",
        "DEL\u{0395}TE",
        "ＤＥＬＥＴＥ",
        "GET,DELETE",
        "DELETE\r\n",
        "M_SEARCH",
        "GET1",
        "_DELETE",
        "*",
    ] {
        let out = ask(method, "/res/1").of(&engine);
        assert_eq!((out.status, out.reason), (400, "bad_method"), "{method:?}");
        assert!(out.body.contains("\"param\":\"method\""), "{}", out.body);
        // Also of the method that a preflight asks for, whichever rule it is for.
        let preflight = ask("OPTIONS", "/res/1")
            .with("origin", "https://x")
            .with("access-control-request-method", method);
        assert_eq!(preflight.of(&engine).reason, "bad_method", "{method:?}");
    }
    let preflight = ask("OPTIONS", "/res/1")
        .with("origin", "https://x")
        .with("access-control-request-method", "GET");
    assert_eq!(preflight.of(&engine).status, 200);
}

fn upgrade(value: &str) -> Ask {
    ask("GET", "/api/agents/1/react")
        .role("ADMIN")
        .with("connection", "Upgrade")
        .with("upgrade", value)
}

#[test]
fn an_upgrade_is_one_that_the_configuration_names_and_stands_alone() {
    let plain = engine("");
    for good in ["websocket", "WebSocket", " websocket\t"] {
        assert_eq!(upgrade(good).of(&plain).status, 200, "{good:?}");
    }
    let twice = upgrade("websocket").listed("upgrade", "websocket");
    assert_eq!(twice.of(&plain).status, 200, "both forms of the headers tell the same");
    let refused = [
        upgrade("h2c"),
        upgrade("websocket, h2c"),
        upgrade("h2c,websocket"),
        upgrade("websocket,websocket"),
        upgrade("websocket/13"),
        upgrade("TLS/1.0"),
        upgrade(""),
        upgrade("web socket"),
        upgrade("websocket").with("Upgrade", "h2c"),
        upgrade("h2c").with("upgrade", "websocket"),
        upgrade("websocket").with("upgrade", "websocket"),
        upgrade("websocket").listed("upgrade", "h2c"),
        ask("GET", "/api/agents").role("ADMIN").with("upgrade", "h2c"),
        ask("GET", "/api/healthcheck").with("upgrade", "h2c"),
    ];
    for (at, ask) in refused.into_iter().enumerate() {
        let out = ask.of(&plain);
        assert_eq!((out.status, out.reason), (400, "bad_header"), "{at}");
        assert!(out.body.contains("\"param\":\"upgrade\""), "{}", out.body);
    }
    let tunnels = engine("check.upgrades = [\"h2c\", \"TLS/1.0\"]");
    assert_eq!(upgrade("H2C").of(&tunnels).status, 200);
    assert_eq!(upgrade("TLS/1.0").of(&tunnels).status, 200);
    assert_eq!(upgrade("websocket").of(&tunnels).reason, "bad_header");
    let none = engine("check.upgrades = []");
    assert_eq!(upgrade("websocket").of(&none).reason, "bad_header");
    assert_eq!(ask("GET", "/api/agents").role("ADMIN").of(&none).status, 200);
}

#[test]
fn an_ip_address_is_one_host_however_it_is_written() {
    let engine = engine(
        r#"
[[rules]]
name = "six"
hosts = ["[2001:DB8:0:0:0:0:0:1]"]
path_prefix = "/"
access = "deny"
[[rules]]
name = "four"
hosts = ["10.0.0.1"]
path_prefix = "/"
access = "deny"
[[rules]]
name = "open"
path_prefix = "/"
access = "public"
"#,
    );
    for host in
        ["[2001:db8::1]", "[2001:db8:0:0:0:0:0:1]:443", "[2001:0DB8::0:1]", "[2001:db8::0.0.0.1]"]
    {
        assert_eq!(ask("GET", "/").host(host).of(&engine).rule, "six", "{host}");
    }
    for host in ["10.0.0.1", "10.0.0.1:80", "10.0.0.1."] {
        assert_eq!(ask("GET", "/").host(host).of(&engine).rule, "four", "{host}");
    }
    for host in [
        "10.1",
        "10.0.1",
        "167772161",
        "0xa.1",
        "0x0a000001",
        "012.0.0.1",
        "10.0.0.01",
        "10.0.0.0x1",
        "app.1",
        "app.0x1",
        "1",
    ] {
        let out = ask("GET", "/").host(host).of(&engine);
        assert_eq!((out.status, out.reason), (400, "bad_host"), "{host}");
    }
    // A name is no address because it begins with a number.
    assert_eq!(ask("GET", "/").host("10.0.0.1.example.com").of(&engine).rule, "open");
}

#[test]
fn connection_may_name_no_identity_header_in_any_spelling() {
    let plain = engine("");
    for spelling in crate::spellings::spellings("user-role") {
        let out = ask("GET", "/api/agents")
            .bearer(&good())
            .with("connection", &format!("close, {spelling}"))
            .of(&plain);
        assert_eq!((out.status, out.reason), (400, "bad_header"), "{spelling}");
    }
    let out = ask("GET", "/api/agents").claiming(&json!({})).with("connection", "close").of(&plain);
    assert_eq!(out.status, 200);
}
