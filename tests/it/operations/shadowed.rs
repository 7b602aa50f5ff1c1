//! A whole configuration in shadow: it tells what it would change, and changes
//! nothing.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    jwt,
    mount::Mount,
    replica::Replica,
    support::{eventually, output, portcullis},
};

const NOW: &str = r#"
internal.peers = []
telemetry.allowed_decisions = 1.0
lifecycle.drain = "0s"

[[rules]]
name = "agents"
path_prefix = "/api/agents"
roles = ["REGULAR", "ADMIN"]

[[rules]]
name = "users"
path_template = "/users/{id}"
roles = ["REGULAR", "ADMIN"]

[[rules]]
name = "reports"
path_prefix = "/reports"
roles = ["ADMIN"]
"#;

const NEXT: &str = r#"
[[rules]]
name = "agents"
path_prefix = "/api/agents"
roles = ["ADMIN"]

[[rules]]
name = "own"
path_template = "/users/{id}"
when = 'path.id == user.id || user.role == "ADMIN"'

[[rules]]
name = "reports"
path_prefix = "/reports"
roles = ["REGULAR", "ADMIN"]
when = 'request.method == "GET"'
"#;

/// The same with agents as they are.
const LATER: &str = r#"
[[rules]]
name = "agents"
path_prefix = "/api/agents"
roles = ["REGULAR", "ADMIN"]

[[rules]]
name = "users"
path_template = "/users/{id}"
roles = ["ADMIN"]
"#;

/// Requests of all kinds.
fn requests() -> Vec<(&'static str, String, Option<&'static str>)> {
    let paths = ["/api/agents", "/users/7", "/users/8", "/reports/1", "/nowhere", "/a//b"];
    let roles = [None, Some("INACTIVE"), Some("REGULAR"), Some("ADMIN")];
    let methods = ["GET", "POST"];
    let all = paths.iter().flat_map(|path| roles.iter().map(move |role| (*path, *role)));
    all.flat_map(|(path, role)| methods.map(|method| (method, path.to_owned(), role))).collect()
}

/// The answer, whole but for the time.
async fn asked(replica: &Replica, (method, path, role): &(&str, String, Option<&str>)) -> String {
    let url = format!("http://{}/auth/nginx", replica.internal);
    let mut request = replica
        .client
        .get(url)
        .header("x-original-method", *method)
        .header("x-original-uri", path)
        .header("x-original-host", "app.example.com");
    if let Some(role) = role {
        let claims = jwt::with(SystemClock.now().as_secs() / 3600 * 3600, &json!({ "role": role }));
        request = request.bearer_auth(jwt::token(&claims));
    }
    let answer = request.send().await.unwrap();
    let status = answer.status();
    let mut headers: Vec<String> = answer
        .headers()
        .iter()
        .filter(|(name, _)| *name != "date")
        .map(|(name, value)| format!("{name}: {value:?}"))
        .collect();
    headers.sort();
    format!("{status} {headers:?} {}", answer.text().await.unwrap())
}

/// What is counted, by change and rule.
async fn counted(replica: &Replica) -> BTreeMap<String, u64> {
    let text = replica.metrics().await;
    let lines =
        text.lines().filter_map(|line| line.strip_prefix("portcullis_shadow_changes_total"));
    lines
        .map(|line| {
            let (labels, count) = line.rsplit_once(' ').unwrap();
            (labels.to_owned(), count.parse().unwrap())
        })
        .collect()
}

/// The same, by a replay of these lines of the log.
fn replayed(next: &str, log: &str) -> BTreeMap<String, u64> {
    let room = tempfile::tempdir().unwrap();
    std::fs::write(room.path().join("next.toml"), next).unwrap();
    let mut command = portcullis();
    command.current_dir(room.path()).env("AUTH_JWT_SECRET", jwt::SECRET);
    let out = output(command.args(["replay", "--config", "next.toml", "--format", "json"]), log);
    let told: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert_eq!(told["unknown"], json!({}), "{told}");
    let mut counts = BTreeMap::new();
    for change in told["changes"].as_array().unwrap() {
        let (before, after) = (&change["before"], &change["after"]);
        let kind = match (before["decision"].as_str(), after["decision"].as_str()) {
            (Some("allow"), Some("deny")) => "allow_to_deny",
            (Some("deny"), Some("allow")) => "deny_to_allow",
            _ if before["reason"] != after["reason"] => "reason",
            _ => "rule",
        };
        let labels = format!("{{change=\"{kind}\",rule={}}}", after["rule"]);
        *counts.entry(labels).or_default() += change["count"].as_u64().unwrap();
    }
    counts
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shadow_answers_nothing_and_counts_what_a_replay_would() {
    let with_shadow = format!("{NOW}\n[shadow]\nfile = \"next.toml\"\n");
    let mount = Mount::new(&[("portcullis.toml", &with_shadow), ("next.toml", NEXT)]);
    let shadowed = Arc::new(Replica::serving(&mount.file("portcullis.toml")));
    let plain = Mount::new(&[("portcullis.toml", NOW)]);
    let plain = Arc::new(Replica::serving(&plain.file("portcullis.toml")));

    let all = requests();
    for _ in 0..5 {
        for request in &all {
            assert_eq!(
                asked(&shadowed, request).await,
                asked(&plain, request).await,
                "{request:?}"
            );
        }
    }
    let first = counted(&shadowed).await;
    let log = shadowed.running.log();
    assert_eq!(first, replayed(NEXT, &log));
    assert!(first.len() >= 4, "{first:?}");
    let lines = log.lines().filter(|line| line.contains("portcullis::shadow")).count() as u64;
    assert_eq!(lines, first.values().sum::<u64>(), "each is told of");
    insta::assert_snapshot!(
        log.lines().filter(|line| line.contains("portcullis::shadow")).find(|line| line.contains("\"own\"") && line.contains("next_condition")).map(told).unwrap(),
        @r#"{"change":"reason","decision":"deny","host":"app.example.com","method":"GET","next_condition":"path.id == user.id || user.role == \"ADMIN\": it is false","next_decision":"deny","next_reason":"condition","next_rule":"own","path":"/users/8","reason":"role","rule":"users","transport":"nginx","user_id":"7"}"#
    );

    // Another one in its place, while requests come that neither would change.
    let stop = Arc::new(AtomicBool::new(false));
    let load = {
        let (shadowed, plain, stop) =
            (Arc::clone(&shadowed), Arc::clone(&plain), Arc::clone(&stop));
        tokio::spawn(async move {
            let request = ("GET", "/nowhere".to_owned(), None);
            let expected = asked(&plain, &request).await;
            let mut count = 0;
            while !stop.load(Ordering::Relaxed) {
                assert_eq!(asked(&shadowed, &request).await, expected);
                count += 1;
            }
            count
        })
    };
    let reloads = |log: &str| log.matches("the configuration was reloaded").count();
    mount.swap(&[("portcullis.toml", &with_shadow), ("next.toml", LATER)]);
    eventually("a reload", || (reloads(&shadowed.running.log()) == 1).then_some(()));
    stop.store(true, Ordering::Relaxed);
    assert!(load.await.unwrap() > 10);
    assert_eq!(counted(&shadowed).await, first, "what nothing would change is not counted");
    for request in &all {
        assert_eq!(asked(&shadowed, request).await, asked(&plain, request).await, "{request:?}");
    }
    let mut both = replayed(NEXT, &log);
    let later = shadowed.running.log().get(log.len()..).unwrap_or_default().to_owned();
    for (labels, count) in replayed(LATER, &later) {
        *both.entry(labels).or_default() += count;
    }
    assert_eq!(counted(&shadowed).await, both);
}

/// What a line says, without what differs each time.
fn told(line: &str) -> String {
    let Value::Object(mut line) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
    for name in ["timestamp", "level", "target", "request_id"] {
        line.remove(name);
    }
    Value::Object(line).to_string()
}

#[tokio::test]
async fn a_shadow_with_problems_is_one_and_an_earlier_one_stays() {
    let with_shadow = format!("{NOW}\n[shadow]\nfile = \"next.toml\"\n");
    let mount = Mount::new(&[("portcullis.toml", &with_shadow), ("next.toml", NEXT)]);
    let file = mount.file("portcullis.toml");
    let check = || {
        let mut command = portcullis();
        command.env("AUTH_JWT_SECRET", jwt::SECRET);
        let out = output(command.args(["check-config", "--config"]).arg(&file), "");
        (out.status.code().unwrap(), String::from_utf8(out.stderr).unwrap())
    };
    assert_eq!(check(), (0, String::new()));
    let replica = Replica::serving(&file);
    let request = ("GET", "/users/8".to_owned(), Some("REGULAR"));
    asked(&replica, &request).await;
    let before = counted(&replica).await;
    assert_eq!(before.values().sum::<u64>(), 1);

    mount.swap(&[("portcullis.toml", &with_shadow), ("next.toml", "[[rules]]\nname = \"x\"\n")]);
    let (code, said) = check();
    assert_eq!(code, 2, "{said}");
    assert!(
        said.contains("shadow.file") && said.contains("rules[0]") && said.contains("fix:"),
        "{said}"
    );
    eventually("a refusal", || replica.running.log().contains("it has problems").then_some(()));
    asked(&replica, &request).await;
    assert_eq!(counted(&replica).await.values().sum::<u64>(), 2, "the earlier one compares on");
}
