//! Every command and snippet of the README works as it is written.

use std::process::Command;

use crate::{
    pki::Authority,
    support::{free_port, output, portcullis, read, root},
};

/// The fenced blocks of this language, in their order.
fn blocks(language: &str) -> Vec<String> {
    let readme = read("README.md");
    let fence = format!("\n```{language}\n");
    readme
        .split(&fence)
        .skip(1)
        .map(|rest| rest.split("\n```").next().unwrap().to_owned())
        .collect()
}

#[test]
fn every_configuration_is_one() {
    let blocks = blocks("toml");
    assert!(blocks.len() >= 4);
    for block in blocks {
        let room = tempfile::tempdir().unwrap();
        let file = room.path().join("portcullis.toml");
        std::fs::write(&file, &block).unwrap();
        let ca = Authority::new("an operator's");
        let own = ca.issue(1, 2099);
        for (name, text) in [
            ("users.toml", ""),
            ("next.toml", ""),
            ("api-keys.toml", ""),
            ("litellm-keys.txt", ""),
            ("2026-10.key", "a key of at least 32 bytes, the oldest one"),
            ("2026-11.key", "a key of at least 32 bytes, the old one"),
            ("2027-02.key", "a key of at least 32 bytes, the new one"),
            ("server.crt", &own.certificate),
            ("server.key", &own.key),
            ("gateways.crt", &ca.pem()),
        ] {
            std::fs::write(room.path().join(name), text).unwrap();
        }
        let pair = output(portcullis().arg("key-pair"), "");
        std::fs::write(room.path().join("es256.pem"), pair.stdout).unwrap();
        let checked =
            output(portcullis().args(["check-config", "--config", file.to_str().unwrap()]), "");
        assert!(checked.status.success(), "{block}\n{}", String::from_utf8_lossy(&checked.stderr));
    }
}

#[test]
fn every_piece_of_a_configuration_is_in_the_whole_one() {
    let envoys = ["envoy/envoy.yaml", "envoy/plans.yaml", "envoy/body.yaml", "envoy/mcp.yaml"];
    let whole = envoys.map(read).concat() + &read("examples/policy-tests.yaml");
    let blocks = blocks("yaml");
    assert!(!blocks.is_empty());
    for block in blocks {
        assert!(whole.contains(&block), "{block}");
    }
}

#[test]
fn every_upstream_is_the_one_that_is_run() {
    for (language, file) in [("ts", "verify.ts"), ("python", "verify.py"), ("java", "Verify.java")]
    {
        let whole = read(&format!("examples/upstreams/{file}"));
        assert_eq!(blocks(language), [whole.trim_end()], "{language}");
    }
}

/// Runs the shell's blocks in one shell, but for the commands that the
/// tests' own runner runs, with a port that is free.
#[test]
fn every_command_runs_and_shows_what_is_written() {
    let port = free_port();
    let room = tempfile::tempdir().unwrap();
    // What is named by its place in the repository.
    std::os::unix::fs::symlink(root().join("envoy"), room.path().join("envoy")).unwrap();
    // A configuration that begins with its file's name is kept in that file.
    for block in blocks("toml") {
        if let Some(name) = block.lines().next().and_then(|line| line.strip_prefix("# ")) {
            std::fs::write(room.path().join(name), &block).unwrap();
        }
    }
    let http_port = free_port();
    let mut script = format!(
        "set -euo pipefail\nexport PORTCULLIS__CHECK__LISTEN=127.0.0.1:{port}\n\
         export PORTCULLIS__HTTP__LISTEN=127.0.0.1:{http_port} PORTCULLIS__INTERNAL__LISTEN=127.0.0.1:0\n\
         export PORTCULLIS__LIFECYCLE__DRAIN=0s\n"
    );
    for block in blocks("sh") {
        // These, and the tests themselves: by `tests/run`, with `--check`.
        let is_run = |name: &&str| block.starts_with(*name);
        if ["envoy/run", "nginx/run", "tests/run"].iter().any(is_run) {
            continue;
        }
        for line in block.lines() {
            // The one that denies says so by its code.
            let asks_and_is_denied = line.ends_with("explain --config portcullis.toml /api/agents");
            let code = if asks_and_is_denied { " && exit 9 || [ $? = 1 ]" } else { "" };
            let line = line
                .replace("localhost:9191", &format!("localhost:{port}"))
                .replace("localhost:8080", &format!("localhost:{http_port}"))
                .replace("$PWD", root().to_str().unwrap());
            let line = match line.strip_prefix("cargo ") {
                Some(rest) => format!("(cd {} && cargo {rest})", root().display()),
                None => line,
            };
            script.push_str(&format!("{line}{code}\n"));
            if line.ends_with('&') {
                script.push_str(&format!(
                    "SERVER=$!; trap 'kill $SERVER' EXIT\n\
                     until (exec 3<>/dev/tcp/127.0.0.1/{port}) 2>/dev/null; do sleep 0.05; done\n"
                ));
            }
        }
    }
    let tools = root().join("target/tools");
    assert!(tools.join("grpcurl").exists(), "no grpcurl: run tests/run");
    #[expect(clippy::disallowed_methods, reason = "the README is read by a person with a shell")]
    let path = std::env::var("PATH").unwrap();
    let path = format!("{}:{path}", tools.display());
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(room.path()).env("PATH", path);
    let done = output(&mut bash, "");
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success(), "{script}\n{said}\n{}", String::from_utf8_lossy(&done.stderr));
    for expected in [
        "ok\n",
        "reason   no_credential",
        "ok 2 - nobody else does\n# rules reached: 1 of 2\n",
        "\"name\":\"ann\",\"role\":\"REGULAR\",\"session_ends_at\":",
        "checksum  right",
        "{\"message\":\"Session revoked.\"}",
        "remove   x_user_role",
        "envoy.service.auth.v3.Authorization\n",
        "grpc.health.v1.Health\n",
        "rpc Check ( .envoy.service.auth.v3.CheckRequest ) returns ( .envoy.service.auth.v3.CheckResponse );",
        "\"status\": \"SERVING\"",
        blocks("json")[0].as_str(),
    ] {
        assert!(said.contains(expected), "the output lacks {expected:?}:\n{said}");
    }
}
