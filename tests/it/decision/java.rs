//! Tokens of portcullis in Texera's library, and that library's tokens here.

use std::process::{Command, Output};

use crate::{
    jwt,
    stack::Answer,
    support::{address_of_listener, output, portcullis, root, serve},
};

/// Whether there is a Java to run it with; where none can be had, that is said.
pub(crate) fn has_java() -> bool {
    let library = root().join("target/java");
    if library.exists() {
        return true;
    }
    let java = Command::new("java").arg("-version").output();
    assert!(java.is_err(), "no jose4j: run tests/run, or tests/java/install");
    println!("skipped: there is no Java, and none can be had here");
    false
}

fn jose(arguments: &[&str]) -> Output {
    let classes = format!("{}/*", root().join("target/java").display());
    Command::new("java")
        .args(["-cp", &classes, root().join("tests/java/Jose.java").to_str().unwrap()])
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim().to_owned()
}

fn mint(id: &str) -> String {
    let arguments = ["--name", "ann", "--role", "REGULAR", "--email", "ann@example.com"];
    let mut command = portcullis();
    command.args(["token", "mint", "--user-id", id]).args(arguments);
    text(&output(&mut command, "").stdout)
}

#[test]
fn a_token_made_here_is_read_by_jose4j_as_texera_uses_it() {
    if !has_java() {
        return;
    }
    let read = jose(&["verify", jwt::SECRET, &mint("7")]);
    assert_eq!(text(&read.stdout), "7 ann ann@example.com REGULAR", "{}", text(&read.stderr));
    // It does not read everything: another key, and an id that is no number.
    for (secret, token) in
        [("another-secret-of-at-least-32-bytes", mint("7")), (jwt::SECRET, mint("x"))]
    {
        let refused = jose(&["verify", secret, &token]);
        assert!(!refused.status.success(), "{}", text(&refused.stdout));
    }
}

#[test]
fn a_token_that_texera_makes_with_jose4j_is_good_here() {
    if !has_java() {
        return;
    }
    let running = serve("127.0.0.1:0", &[]);
    let internal = address_of_listener(&running, "internal");
    let ask = |token: &str| -> Answer {
        crate::asked::ask_envoy(internal, "/api/agents", &format!("Bearer {token}"))
    };
    // Also when the clock of who makes it is a second ahead.
    for ahead in ["0", "1"] {
        let token = text(&jose(&["make", jwt::SECRET, ahead]).stdout);
        let answer = ask(&token);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.headers["x-user-id"], "7");
        assert_eq!(answer.headers["x-user-role"], "REGULAR");
    }
    let forged = text(&jose(&["make", "another-secret-of-at-least-32-bytes", "0"]).stdout);
    assert_eq!(ask(&forged).status, 401);
}
