//! A changed configuration is taken over while the service runs.
//!
//! Over 400 lines: each row is one way in which a file changes, or is lost.

use std::{
    io::Write as _,
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
use serde_json::{Value, json};
use tonic::transport::Endpoint;

use crate::{
    grpc::{bearer, question},
    mount::Mount,
    pki::Authority,
    replica::{CONTROL_PLANE, PASSWORD, Replica, body, users},
    support::eventually,
};

/// A configuration with this public path and this list of keys.
fn toml(public: &str, more: &str) -> String {
    format!(
        "internal.peers = []\n{more}\n[[rules]]\nname = \"open\"\npath = \"{public}\"\n\
         access = \"public\"\n[lifecycle]\ndrain = \"0s\"\n"
    )
}

/// The status code of a check, and its rule.
async fn check(replica: &Replica, path: &str, token: Option<&str>) -> (i32, String) {
    let address = format!("http://{}", replica.check);
    let channel = Endpoint::new(address).unwrap().connect().await.unwrap();
    let authorization = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<(&str, &str)> =
        authorization.iter().map(|value| ("authorization", value.as_str())).collect();
    let asked = AuthorizationClient::new(channel).check(question("GET", path, &headers)).await;
    told(&asked.unwrap().into_inner())
}

fn told(answer: &envoy_types::pb::envoy::service::auth::v3::CheckResponse) -> (i32, String) {
    use envoy_types::pb::google::protobuf::value::Kind;
    let rule =
        answer.dynamic_metadata.as_ref().and_then(|told| told.fields.get("rule")?.kind.clone());
    let rule = match rule {
        Some(Kind::StringValue(rule)) => rule,
        _ => String::new(),
    };
    (answer.status.as_ref().unwrap().code, rule)
}

fn reloads(replica: &Replica) -> usize {
    replica.running.log().matches("the configuration was reloaded").count()
}

/// Does something, and waits for the reload that it makes.
fn reloaded(replica: &Replica, change: impl FnOnce()) {
    let before = reloads(replica);
    change();
    eventually("a reload", || (reloads(replica) > before).then_some(()));
}

#[tokio::test]
async fn the_swap_of_a_config_maps_symlink_is_noticed() {
    let mount = Mount::new(&[("portcullis.toml", &toml("/a", ""))]);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    assert_eq!((check(&replica, "/a", None).await.0, check(&replica, "/b", None).await.0), (0, 7));
    for (to, other) in [("/b", "/a"), ("/a", "/b")] {
        reloaded(&replica, || mount.swap(&[("portcullis.toml", &toml(to, ""))]));
        assert_eq!(check(&replica, to, None).await, (0, "open".into()));
        assert_eq!(check(&replica, other, None).await.0, 7);
    }
    let ok = "portcullis_config_reloads_total{result=\"ok\"}";
    assert!((replica.metric(ok).await - 2.0).abs() < 0.1);
}

#[tokio::test]
async fn sighup_reloads_also_what_has_not_changed() {
    let mount = Mount::new(&[("portcullis.toml", &toml("/a", ""))]);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    reloaded(&replica, || replica.running.signal("HUP"));
    assert_eq!(check(&replica, "/a", None).await.0, 0);
}

#[tokio::test]
async fn a_bad_file_changes_nothing_and_is_told_of() {
    let mount = Mount::new(&[("portcullis.toml", &toml("/a", ""))]);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    let failed = "portcullis_config_reloads_total{result=\"failed\"}";
    let bad = [
        "this is no TOML".to_owned(),
        toml("/b", "[tokens]\nleeway = \"soon\"\n"),
        toml("/b", "[check]\ntls = { cert_file = \"no.pem\", key_file = \"no.pem\" }\n"),
        toml("/b", "[login]\nusers_file = \"missing.toml\"\n"),
    ];
    for (nth, text) in (1..).zip(&bad) {
        mount.swap(&[("portcullis.toml", text)]);
        eventually(text, || {
            let log = replica.running.log();
            (log.matches("the configuration was not reloaded").count() == nth).then_some(())
        });
        assert_eq!(check(&replica, "/a", None).await.0, 0, "{text}");
        assert_eq!(check(&replica, "/b", None).await.0, 7, "{text}");
        #[expect(clippy::cast_precision_loss, reason = "a few")]
        let expected = nth as f64;
        assert!((replica.metric(failed).await - expected).abs() < 0.1);
        assert!(replica.metric("portcullis_config_last_reload_successful").await < 0.5);
    }
    // Each with its key, its source and its fix.
    let log = replica.running.log();
    for part in ["\"key\":\"tokens.leeway\"", "portcullis.toml\"", "\"fix\":\"write a duration"] {
        assert!(log.contains(part), "{part}");
    }
    reloaded(&replica, || mount.swap(&[("portcullis.toml", &toml("/b", ""))]));
    assert_eq!(check(&replica, "/b", None).await.0, 0);
    assert!(replica.metric("portcullis_config_last_reload_successful").await > 0.5);
}

#[tokio::test]
async fn a_rotated_key_signs_at_once_and_the_old_tokens_are_good_to_their_end() {
    let key = |kid: &str| format!("{{ kid = \"{kid}\", secret_file = \"{kid}.key\" }}");
    let config = |keys: &[&str]| {
        let keys: Vec<String> = keys.iter().map(|kid| key(kid)).collect();
        format!(
            "login.control_plane_url = \"{CONTROL_PLANE}\"\nlogin.users_file = \"users.toml\"\n\
             tokens.keys = [{}]\n[lifecycle]\ndrain = \"0s\"\n",
            keys.join(", ")
        )
    };
    let (one, two, three) = ("1".repeat(40), "2".repeat(40), "3".repeat(40));
    let people = users(&[("7", "ann", "REGULAR", false)]);
    let (before, both, after) = (config(&["one"]), config(&["two", "one"]), config(&["two"]));
    let files = |toml, two| {
        [("portcullis.toml", toml), ("one.key", &one), ("two.key", two), ("users.toml", &people)]
            .map(|(name, text): (&'static str, &String)| (name, text.clone()))
    };
    let mount = Mount::new(&borrowed(&files(&before, &two)));
    let replica = Replica::serving(&mount.file("portcullis.toml")).ready().await;
    let old = replica.token("ann").await;
    assert_eq!(kid(&old), "one");

    reloaded(&replica, || mount.swap(&borrowed(&files(&both, &two))));
    let new = replica.token("ann").await;
    assert_eq!(kid(&new), "two");
    for token in [&old, &new] {
        assert_eq!(check(&replica, "/api/agents", Some(token)).await.0, 0);
        assert_eq!(replica.session(token).await, 200);
    }

    reloaded(&replica, || mount.swap(&borrowed(&files(&after, &two))));
    assert_eq!(check(&replica, "/api/agents", Some(&old)).await.0, 16, "its key is gone");
    assert_eq!(check(&replica, "/api/agents", Some(&new)).await.0, 0);

    // The secret alone, in its own file.
    reloaded(&replica, || mount.swap(&borrowed(&files(&after, &three))));
    assert_eq!(check(&replica, "/api/agents", Some(&new)).await.0, 16);
    assert_eq!(replica.session(&new).await, 401);
}

fn borrowed<'a>(files: &'a [(&'static str, String)]) -> Vec<(&'static str, &'a str)> {
    files.iter().map(|(name, text)| (*name, text.as_str())).collect()
}

/// The key that a token says it is signed with.
fn kid(token: &str) -> String {
    use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
    let header = URL_SAFE_NO_PAD.decode(token.split('.').next().unwrap()).unwrap();
    serde_json::from_slice::<Value>(&header).unwrap()["kid"].as_str().unwrap().to_owned()
}

fn refusals(replica: &Replica) -> usize {
    replica.running.log().matches("the configuration was not reloaded").count()
}

/// Does something, and waits until a configuration is refused for it.
fn refused(replica: &Replica, change: impl FnOnce()) {
    let before = refusals(replica);
    change();
    eventually("a refusal", || (refusals(replica) > before).then_some(()));
}

#[tokio::test]
async fn what_would_open_a_door_takes_a_restart() {
    let ca = Authority::new("ours");
    let own = ca.issue(1, 2099);
    let people = users(&[("7", "ann", "REGULAR", false)]);
    let tls = "[check]\ntls = { cert_file = \"tls.crt\", key_file = \"tls.key\", client_ca_file = \"ca.crt\" }\n";
    let login = "[login]\nusers_file = \"users.toml\"\n";
    let before = toml("/a", &format!("{tls}{login}"));
    let ca_pem = ca.pem();
    let files = |toml| {
        [
            ("portcullis.toml", toml),
            ("tls.crt", own.certificate.as_str()),
            ("tls.key", own.key.as_str()),
            ("ca.crt", ca_pem.as_str()),
            ("users.toml", people.as_str()),
        ]
    };
    let mount = Mount::new(&files(&before));
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    let without_rules = before.split("[[rules]]").next().unwrap().to_owned();
    let cases = [
        (toml("/b", login), "check.tls"),
        (before.replace(", client_ca_file = \"ca.crt\"", ""), "check.tls.client_ca_file"),
        (
            toml(
                "/b",
                &format!(
                    "http.public_url = \"https://a\"\nhttp.tls = {{ cert_file = \"tls.crt\", key_file = \"tls.key\" }}\n{tls}{login}"
                ),
            ),
            "http.tls",
        ),
        (toml("/b", tls), "login.users_file"),
        (without_rules, "rules"),
        (toml("/b", &format!("{tls}max_message_bytes = 2048\n{login}")), "check.max_message_bytes"),
        (toml("/b", &format!("{tls}{login}[store]\nprefix = \"other:\"\n")), "store"),
        (
            toml("/b", &format!("{tls}{login}[telemetry]\nlog_format = \"text\"\n")),
            "telemetry.log_format",
        ),
    ];
    for (text, key) in &cases {
        refused(&replica, || mount.swap(&files(text)));
        let line = format!("\"message\":\"this key needs a restart\",\"key\":\"{key}\"");
        assert!(replica.running.log().contains(&line), "{key}: {}", replica.running.log());
        assert!(replica.metric("portcullis_config_last_reload_successful").await < 0.5);
    }
    // All accounts gone.
    let mut empty = files(&before);
    empty[4].1 = "# nobody\n";
    refused(&replica, || mount.swap(&empty));
    assert!(replica.running.log().contains("no account left"));
    assert_eq!(reloads(&replica), 0);
    reloaded(&replica, || mount.swap(&files(&before)));
    assert!(replica.metric("portcullis_config_last_reload_successful").await > 0.5);
}

#[tokio::test]
async fn a_file_that_is_lost_or_cut_is_no_configuration() {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("portcullis.toml");
    std::fs::write(&file, toml("/a", "")).unwrap();
    let replica = Replica::serving(&file);
    // Emptied, as by a disk that is full; a directory; gone; a pipe.
    refused(&replica, || std::fs::write(&file, "").unwrap());
    refused(&replica, || {
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir(&file).unwrap();
    });
    refused(&replica, || std::fs::remove_dir(&file).unwrap());
    refused(&replica, || {
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    });
    refused(&replica, || replica.running.signal("HUP"));
    assert_eq!(check(&replica, "/a", None).await.0, 0);
    std::fs::remove_file(&file).unwrap();
    reloaded(&replica, || std::fs::write(&file, toml("/b", "")).unwrap());
    assert_eq!(check(&replica, "/b", None).await.0, 0);

    // Written in two halves, each of which is one: only the whole counts, also
    // when a signal comes between them.
    let whole = toml("/c", "");
    let end = "[[rules]]\nname = \"all\"\npath_prefix = \"/\"\naccess = \"public\"\n";
    reloaded(&replica, || {
        let mut open = std::fs::File::create(&file).unwrap();
        open.write_all(end.as_bytes()).unwrap();
        open.sync_all().unwrap();
        replica.running.signal("HUP");
        open.set_len(0).unwrap();
        std::io::Seek::rewind(&mut open).unwrap();
        open.write_all(whole.as_bytes()).unwrap();
    });
    assert_eq!(check(&replica, "/c", None).await, (0, "open".into()));
    assert_eq!(check(&replica, "/d", None).await.0, 7);

    // Whoever may not read it at first may do so later: the content is the same.
    let mode = |mode| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    reloaded(&replica, || mode(0o600));
}

#[test]
fn a_pipe_that_nobody_writes_to_keeps_nobody_from_stopping() {
    let room = tempfile::tempdir().unwrap();
    let (file, key) = (room.path().join("portcullis.toml"), room.path().join("2.key"));
    std::fs::write(&file, toml("/a", "")).unwrap();
    let mut replica = Replica::serving(&file);
    assert!(Command::new("mkfifo").arg(&key).status().unwrap().success());
    // It is read, since nothing was known of it before.
    let keys = "tokens.keys = [{ kid = \"2\", secret_file = \"2.key\" }]\n";
    std::fs::write(&file, toml("/a", keys)).unwrap();
    let id = replica.running.child.id();
    eventually("a thread that waits in the pipe", || {
        let tasks = std::fs::read_dir(format!("/proc/{id}/task")).unwrap();
        // In `openat`, as x86-64 and as others number it.
        let waits = |task: std::fs::DirEntry| {
            let call = std::fs::read_to_string(task.path().join("syscall")).unwrap_or_default();
            call.starts_with("257 ") || call.starts_with("56 ")
        };
        tasks.flatten().any(waits).then_some(())
    });
    replica.running.signal("TERM");
    assert_eq!(replica.running.ended(), Some(0));
}

#[tokio::test]
async fn a_revoked_token_stays_so_when_the_leeway_is_raised() {
    let config = |leeway: &str| {
        toml(
            "/a",
            &format!(
                "[tokens]\nleeway = \"{leeway}\"\nlifetime = \"2s\"\n[login]\nusers_file = \"users.toml\"\n"
            ),
        )
    };
    let people = users(&[("7", "ann", "REGULAR", false)]);
    let before = config("0s");
    let mount = Mount::new(&[("portcullis.toml", &before), ("users.toml", &people)]);
    let replica = Replica::serving(&mount.file("portcullis.toml")).ready().await;
    let signed_in = replica.post("/session", &body("ann", PASSWORD)).send().await.unwrap();
    let answer: Value = signed_in.json().await.unwrap();
    let token = answer["token"].as_str().unwrap().to_owned();
    let out = replica.client.post(replica.url("/session/logout")).bearer_auth(&token);
    assert_eq!(out.send().await.unwrap().status(), 200);
    tokio::time::sleep(Duration::from_secs(3)).await;
    reloaded(&replica, || {
        mount.swap(&[("portcullis.toml", &config("30m")), ("users.toml", &people)]);
    });
    assert_eq!(replica.session(&token).await, 401, "revoked, and not expired any more");
    assert!(replica.running.log().contains("was reloaded"));
}

#[tokio::test]
async fn settings_of_the_pages_and_of_the_internal_listener_are_taken_over() {
    let mount = Mount::new(&[("portcullis.toml", &toml("/a", ""))]);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    let discovery = async || -> Value {
        let url = replica.url("/.well-known/portcullis");
        replica.client.get(url).send().await.unwrap().json().await.unwrap()
    };
    assert_eq!(discovery().await["is_control_plane"], false);
    let worker =
        "[[workers]]\nworker_id = \"eu\"\nname = \"E\"\nurl = \"https://eu.example.com\"\n";
    let more = format!("[http]\npublic_url = \"https://cp.example.com/auth\"\n{worker}");
    reloaded(&replica, || mount.swap(&[("portcullis.toml", &toml("/a", &more))]));
    assert_eq!(discovery().await["is_control_plane"], true);
    assert_eq!(discovery().await["server_root_path"], "/auth");
    // Nobody but a network that is not here: the last change that is seen.
    let shut = toml("/a", "").replace("peers = []", "peers = [\"192.0.2.0/24\"]");
    reloaded(&replica, || mount.swap(&[("portcullis.toml", &shut)]));
    assert_eq!(replica.readyz().await.0, 403);
}

#[tokio::test]
async fn the_demo_of_dev_survives_a_reload() {
    let mut command = crate::support::portcullis();
    command.env_remove("AUTH_JWT_SECRET");
    command.args(["serve", "--dev"]).env("PORTCULLIS__CHECK__LISTEN", "127.0.0.1:0");
    command.env("PORTCULLIS__LIFECYCLE__DRAIN", "0s");
    let running = crate::support::Running::start(&mut command);
    let http = crate::support::address_of_listener(&running, "http");
    let client = reqwest::Client::new();
    let sign_in = async || {
        let asked = client.post(format!("http://{http}/session")).json(&body("demo", "demo"));
        let answer: Value = asked.send().await.unwrap().json().await.unwrap();
        answer["token"].as_str().unwrap().to_owned()
    };
    let token = sign_in().await;
    running.signal("HUP");
    running.line("the configuration was reloaded");
    let session = client.get(format!("http://{http}/session")).bearer_auth(&token).send().await;
    assert_eq!(session.unwrap().status(), 200, "its key is of the run, not of the reload");
    sign_in().await;
}

/// Two configurations, each of which says its name in three places of one
/// answer: a mixture would show.
#[tokio::test(flavor = "multi_thread")]
async fn under_load_no_check_is_dropped_or_decided_by_half_of_a_configuration() {
    let config = |name: &str, role: &str| {
        format!(
            "[identity]\nheaders = {{ id = \"x-user-id\", name = \"x-user-name\", email = \"x-user-email\", \
             role = \"x-user-role-{name}\" }}\n[[rules]]\nname = \"{name}\"\npath_prefix = \"/api\"\n\
             roles = [\"{role}\"]\n[lifecycle]\ndrain = \"0s\"\n"
        )
    };
    let (even, odd) = (config("even", "REGULAR"), config("odd", "ADMIN"));
    let mount = Mount::new(&[("portcullis.toml", &even)]);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    let (stop, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let address = format!("http://{}", replica.check);
    let clients: Vec<_> = (0..4)
        .map(|_| {
            let (stop, asked, address) = (Arc::clone(&stop), Arc::clone(&asked), address.clone());
            tokio::spawn(async move {
                let channel = Endpoint::new(address).unwrap().connect().await.unwrap();
                let mut client = AuthorizationClient::new(channel);
                let regular = bearer(&json!({ "role": "REGULAR" }));
                let admin = bearer(&json!({ "role": "ADMIN" }));
                while !stop.load(Ordering::Relaxed) {
                    for (token, name) in [(&regular, "even"), (&admin, "odd")] {
                        let question = question("GET", "/api/x", &[("authorization", token)]);
                        let answer = client.check(question).await.unwrap().into_inner();
                        asked.fetch_add(1, Ordering::Relaxed);
                        let (code, rule) = told(&answer);
                        assert_eq!(code == 0, rule == name, "{code} by {rule}");
                        let text = format!("{answer:?}");
                        let (own, other) =
                            if rule == "even" { ("even", "odd") } else { ("odd", "even") };
                        if code == 0 {
                            assert!(text.contains(&format!("x-user-role-{own}")), "{text}");
                        }
                        assert!(!text.contains(&format!("x-user-role-{other}")), "{text}");
                    }
                }
            })
        })
        .collect();
    for nth in 0..10 {
        let text = if nth % 2 == 0 { &odd } else { &even };
        let before = asked.load(Ordering::Relaxed);
        tokio::task::block_in_place(|| {
            reloaded(&replica, || mount.swap(&[("portcullis.toml", text)]));
            eventually("checks after it", || {
                (asked.load(Ordering::Relaxed) > before + 50).then_some(())
            });
        });
        if nth % 3 == 0 {
            tokio::task::block_in_place(|| reloaded(&replica, || replica.running.signal("HUP")));
        }
    }
    stop.store(true, Ordering::Relaxed);
    for client in clients {
        tokio::time::timeout(Duration::from_secs(10), client).await.unwrap().unwrap();
    }
}
