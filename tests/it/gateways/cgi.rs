//! A real server of CGI programs behind the gateways: it hands headers on as
//! variables, and writes `_` for whatever is no letter or digit of a name.

use std::{os::unix::fs::PermissionsExt as _, process::Command};

use serde_json::json;

use crate::{
    spellings::spellings,
    stack::{Mode, NEWEST, Stack, UPSTREAM, token},
    support::{Running, free_port, listens},
};

/// The server, and the files that it works with.
struct Lighttpd {
    port: u16,
    _running: Running,
    _room: tempfile::TempDir,
}

impl Lighttpd {
    /// Answers every request with the variables that its program was given.
    fn start() -> Self {
        let (port, room) = (free_port(), tempfile::tempdir().unwrap());
        let program = room.path().join("variables.cgi");
        let text = "#!/bin/sh\nprintf 'content-type: text/plain\\r\\n\\r\\n'\nenv | sort\n";
        std::fs::write(&program, text).unwrap();
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).unwrap();
        let config = room.path().join("lighttpd.conf");
        let root = room.path().display();
        let text = format!(
            "server.modules = (\"mod_rewrite\", \"mod_cgi\")\n\
             server.bind = \"127.0.0.1\"\nserver.port = {port}\n\
             server.document-root = \"{root}\"\n\
             url.rewrite-once = (\".*\" => \"/variables.cgi\")\n\
             cgi.assign = (\".cgi\" => \"\")\n"
        );
        std::fs::write(&config, text).unwrap();
        let running = Running::start(Command::new("lighttpd").arg("-D").arg("-f").arg(&config));
        listens(port);
        Self { port, _running: running, _room: room }
    }
}

#[test]
fn no_forged_header_reaches_a_cgi_program_in_any_spelling() {
    let lighttpd = Lighttpd::start();
    let upstream = lighttpd.port.to_string();
    let good = format!("Bearer {}", token(&json!({ "email": null })));
    let names = [
        "user-role",
        "user-email",
        "user-admin",
        "http-method-override",
        "http-method",
        "method-override",
        "original-url",
        "rewrite-url",
    ];
    let forged: Vec<String> = names.into_iter().flat_map(spellings).collect();
    for mode in [Mode::Strict, Mode::Lax, Mode::Http, Mode::Caddy, Mode::Nginx] {
        let variables = [(UPSTREAM, upstream.as_str())];
        let stack = Stack::waiting_at("/api/healthcheck", NEWEST, mode, &variables);
        // Not that nothing arrives: what is nobody's business does.
        let plain = stack.send("GET", "/open/x", &[("x-other", "FORGED")]);
        assert!(plain.body.contains("HTTP_X_OTHER=FORGED"), "{mode:?}: {plain:?}");
        let mut seen = 0;
        for name in &forged {
            for (path, credential) in [("/open/x", None), ("/api/agents", Some(&good))] {
                let mut headers = vec![(name.as_str(), "FORGED")];
                headers.extend(credential.map(|value| ("authorization", value.as_str())));
                let answer = stack.send("GET", path, &headers);
                // Envoy refuses underscores itself, and portcullis what another proxy asks by.
                if answer.status == 400 {
                    assert!(!answer.body.contains("FORGED"));
                    continue;
                }
                assert_eq!(answer.status, 200, "{mode:?} {path} {name}: {answer:?}");
                // nginx passes on names under the prefix that it was not told of.
                let is_known = name.eq_ignore_ascii_case("x-user-admin") && mode == Mode::Nginx;
                assert!(
                    is_known || !answer.body.contains("FORGED"),
                    "{mode:?} {path} {name}: {}",
                    answer.body
                );
                let role =
                    answer.body.lines().find_map(|line| line.strip_prefix("HTTP_X_USER_ROLE="));
                assert_eq!(
                    role.filter(|role| !role.is_empty()),
                    credential.map(|_| "REGULAR"),
                    "{mode:?} {name}"
                );
                seen += 1;
            }
        }
        assert!(seen > forged.len(), "{mode:?}: {seen} of {}", 2 * forged.len());
    }
}
