//! The page for who comes from Texera: its commands and its service run.

use std::process::Command;

use crate::{
    book::blocks,
    jwt,
    support::{Running, free_port, output, portcullis, portcullis_of},
};

const PAGE: &str = "docs/src/how-to/come-from-texera.md";

/// A room with every configuration of a page, each by the name in its first line.
fn room_of(page: &str) -> tempfile::TempDir {
    let room = tempfile::tempdir().unwrap();
    for block in blocks(page, "toml") {
        let name = block.lines().next().unwrap().strip_prefix("# ").unwrap().to_owned();
        std::fs::write(room.path().join(name), &block).unwrap();
    }
    std::fs::write(room.path().join("users.toml"), "").unwrap();
    room
}

#[test]
fn the_commands_for_who_comes_from_texera_run() {
    let page = PAGE;
    let room = room_of(page);
    let script: String = blocks(page, "sh").join("\n");
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_portcullis")).parent().unwrap();
    #[expect(clippy::disallowed_methods, reason = "the page is read by a person with a shell")]
    let path = std::env::var("PATH").unwrap();
    let now = portcullis::clock::Clock::now(&portcullis::clock::SystemClock).as_secs();
    // As Texera writes it: a week, no time of issue, and its key in lower case.
    let claims = serde_json::json!({
        "sub": "ann", "userId": 7, "email": "ann@example.com", "role": "REGULAR",
        "exp": now + 7 * 24 * 3600 + 1,
    });
    let mut bash = Command::new("bash");
    bash.args(["-c", &format!("set -euo pipefail\n{script}")])
        .current_dir(room.path())
        .env_clear()
        .env("PATH", format!("{}:{path}", binary.display()))
        .env("TEXERA_SECRET", jwt::SECRET.to_ascii_uppercase())
        .env("TOKEN", jwt::token(&claims));
    let done = output(&mut bash, "");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{said}{}", String::from_utf8_lossy(&done.stderr));
    for expected in ["ok\n", "accepted, for another", "set      x-user-id: 7", "rule     agents"] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

/// The service of a Compose file, run as it says, on free ports.
#[test]
fn the_compose_service_for_texera_runs_and_is_healthy() {
    let page = PAGE;
    let room = room_of(page);
    let compose = blocks(page, "yaml").remove(0);
    let lines: Vec<&str> = compose.lines().map(str::trim).collect();
    assert!(lines.contains(&"command: [serve]"));
    let begin = lines.iter().position(|line| *line == "environment:").unwrap() + 1;
    let variables = lines[begin..].iter().map_while(|line| {
        let (name, value) = line.split_once(": ")?;
        name.chars().all(|c| c.is_ascii_uppercase() || c == '_').then_some((name, value))
    });
    let mut command = portcullis_of(std::path::Path::new(env!("CARGO_BIN_EXE_portcullis")));
    command.arg("serve").env_remove("AUTH_JWT_SECRET");
    let (internal, mounted) = (free_port(), room.path().to_str().unwrap());
    let mut seen = 0;
    for (name, value) in variables {
        let value = value.split(" #").next().unwrap().trim();
        let value = value
            .replace("${AUTH_JWT_SECRET}", jwt::SECRET)
            .replace("0.0.0.0:9192", &format!("0.0.0.0:{internal}"))
            .replace("/etc/portcullis", mounted);
        command.env(name, value);
        seen += 1;
    }
    assert_eq!(seen, 3, "{compose}");
    command.env("PORTCULLIS__CHECK__LISTEN", "127.0.0.1:0");
    let running = Running::start(&mut command);
    running.line("\"check\"");
    let mut health = portcullis();
    health.arg("healthcheck").env("PORTCULLIS__INTERNAL__LISTEN", format!("127.0.0.1:{internal}"));
    crate::support::eventually("health", || output(&mut health, "").status.success().then_some(()));
    assert!(compose.contains("test: [\"CMD\", \"/portcullis\", \"healthcheck\"]"));
}
