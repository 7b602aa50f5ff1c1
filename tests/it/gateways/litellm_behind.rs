//! A real LiteLLM proxy as the upstream: it takes who somebody is from the
//! headers of the gateway, as `docs/src/how-to/come-from-litellm.md` tells.

use std::{process::Command, time::Instant};

use serde_json::json;

use crate::{
    book::blocks,
    stack::{Mode, NEWEST, Stack, UPSTREAM, bearer, token},
    support::{PATIENCE, Running, free_port, root},
};

const PAGE: &str = "docs/src/how-to/come-from-litellm.md";

/// A proxy with the page's settings, and these fields mapped beside them.
fn proxy(more: &str) -> (Running, u16, tempfile::TempDir) {
    let (port, room) = (free_port(), tempfile::tempdir().unwrap());
    let mapping = "  oauth2_config_mappings:\n";
    let settings = blocks(PAGE, "yaml").remove(0);
    assert!(settings.contains("enable_oauth2_proxy_auth: true") && settings.contains(mapping));
    let settings = settings.replace(mapping, &format!("{mapping}{more}"));
    let models = "model_list:\n  - model_name: counting\n    litellm_params:\n      \
                  model: openai/counting\n      mock_response: \"000001\"\n";
    let config = room.path().join("config.yaml");
    std::fs::write(&config, format!("{models}{settings}\n")).unwrap();
    #[expect(clippy::disallowed_methods, reason = "Python's own libraries are found by it")]
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new(root().join("tests/litellm/run"));
    command.arg(port.to_string()).arg(&config).env_clear().env("PATH", path);
    command.env("LITELLM_MASTER_KEY", "sk-the-very-secret-master-key-1234");
    command.env("HOME", room.path()).current_dir(room.path());
    let mut running = Running::start(&mut command);
    let deadline = Instant::now() + 3 * PATIENCE;
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        let ended = running.child.try_wait().unwrap();
        assert!(ended.is_none() && Instant::now() < deadline, "{}", running.log());
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    (running, port, room)
}

#[test]
fn litellm_believes_the_gateway_and_nobody_becomes_its_administrator() {
    let (litellm, port, _room) = proxy("");
    let rules = r#"[{ name = "models", path_prefix = "/v1", roles = ["REGULAR", "ADMIN"] }]"#;
    let port = port.to_string();
    let stack = Stack::waiting_at(
        "",
        NEWEST,
        Mode::Nginx,
        &[(UPSTREAM, &port), ("PORTCULLIS__TOKENS__FORWARD", "none"), ("PORTCULLIS__RULES", rules)],
    );
    let ask = |headers: &[(&str, &str)]| stack.send("GET", "/v1/models", headers);
    assert_eq!(ask(&[]).status, 401, "without a token nothing comes to LiteLLM");
    let inactive = bearer("INACTIVE");
    assert_eq!(ask(&[("authorization", inactive.as_str())]).status, 403);
    let good = format!("Bearer {}", token(&json!({ "role": "ADMIN" })));
    let models = ask(&[("authorization", good.as_str()), ("x-user-role", "proxy_admin")]);
    assert_eq!(models.status, 200, "{models:?}\n{}", litellm.log());
    assert_eq!(models.json()["data"][0]["id"], "counting");
    // An ADMIN here is nobody's administrator there.
    let keys = stack.send("GET", "/v1/../key/list", &[("authorization", good.as_str())]);
    assert!(matches!(keys.status, 400 | 403 | 404), "{keys:?}");
    drop(stack);

    // It refuses to be told of roles by a header.
    let (litellm, port, _room) = proxy("    user_role: x-user-role\n");
    let port = port.to_string();
    let stack = Stack::waiting_at(
        "",
        NEWEST,
        Mode::Nginx,
        &[(UPSTREAM, &port), ("PORTCULLIS__TOKENS__FORWARD", "none"), ("PORTCULLIS__RULES", rules)],
    );
    let refused = stack.send("GET", "/v1/models", &[("authorization", good.as_str())]);
    assert!(refused.status >= 400, "{refused:?}");
    litellm.line("refuses to map non-identity");
}
