//! The engine in Envoy itself, told by portcullis what to decide by.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::{Duration, Instant},
};

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::json;

use crate::{
    envoy_module::{FEED, MODULE_IN, VERSIONS, echo, prepare},
    jwt,
    redis::Redis,
    stack::{Mode, NEWEST, Stack, UPSTREAM, bearer, envoy, envoy_of, replace, token, with_ports},
    support::{Running, eventually, free_port, listens, root},
};

const FALLBACK: &str = r#""fallback": "ext_authz""#;

/// What Envoy says of itself at this path.
fn admin(stack: &Stack, path: &str) -> String {
    admin_at(stack.admin, path)
}

fn admin_at(port: u16, path: &str) -> String {
    let mut command = Command::new("curl");
    command.args(["--silent", "--max-time", "20"]).arg(format!("http://127.0.0.1:{port}{path}"));
    String::from_utf8(command.output().unwrap().stdout).unwrap()
}

/// Its counters and gauges of this name, each with its labels.
fn stats(stack: &Stack, name: &str) -> BTreeMap<String, u64> {
    let wanted = format!("dynamicmodulescustom.{name}");
    let all = admin(stack, "/stats");
    let lines = all.lines().filter_map(|line| line.strip_prefix(&wanted)?.rsplit_once(": "));
    lines.filter_map(|(labels, value)| Some((labels.to_owned(), value.parse().ok()?))).collect()
}

fn status(stack: &Stack, bearer: &str) -> u16 {
    stack.send("GET", "/api/agents", &[("authorization", bearer)]).status
}

#[test]
fn what_it_was_told_it_enforces_while_that_is_not_too_old_and_then_says_nothing() {
    std::thread::scope(|scope| {
        for version in VERSIONS {
            scope.spawn(move || enforces_what_it_was_told(version));
        }
    });
}

fn enforces_what_it_was_told(version: &str) {
    let more = replace(FALLBACK, "authz\"", "authz\", \"max_stale\": \"4s\"");
    let change = |config: &str| replace(config, FALLBACK, &more);
    let stack = Stack::changed(free_port(), "", version, Mode::Fed, (&[], &[]), &change);
    let (good, bad) = (bearer("REGULAR"), "Bearer junk".to_owned());
    // Before it is told, ext_authz is asked.
    eventually("a decision of the module", || {
        let is_in = matches!(status(&stack, &good), 200 | 503);
        assert!(is_in, "{version}");
        stats(&stack, "checks_total").keys().any(|of| of.contains("allow")).then_some(())
    });
    let gone = token(&json!({ "jti": version }));
    let gone = format!("Bearer {gone}");
    assert_eq!(status(&stack, &gone), 200, "{version}");
    // Without an answer of the service: the engine alone decides.
    let portcullis = stack.portcullis.as_ref().unwrap();
    portcullis.freeze();
    let frozen = Instant::now();
    assert_eq!([status(&stack, &good), status(&stack, &bad)], [200, 401], "{version}");
    if frozen.elapsed() < Duration::from_secs(2) {
        assert!(stats(&stack, "feed_age_seconds").values().all(|age| *age < 4), "{version}");
    }
    eventually("silence", || (status(&stack, &good) == 503).then_some(()));
    assert!(frozen.elapsed() > Duration::from_secs(2), "{version}");
    let left = stats(&stack, "checks_total");
    assert!(left.keys().any(|of| of.contains("left") && of.contains("not_ready")), "{left:?}");
    portcullis.signal("CONT");
    eventually("a decision again", || (status(&stack, &good) == 200).then_some(()));
    let log = stack.gateway.log();
    for shown in [&log, &admin(&stack, "/config_dump"), &admin(&stack, "/stats")] {
        assert!(!shown.contains(jwt::SECRET) && !shown.is_empty(), "{version}");
    }
}

#[test]
fn without_a_fallback_nobody_passes_before_it_is_told() {
    let nothing = tempfile::tempdir().unwrap();
    let socket = format!("unix:{}/none.sock", nothing.path().display());
    let [port, admin] = [(); 2].map(|()| free_port());
    let room = tempfile::tempdir().unwrap();
    let ports = [(8000, port), (9191, free_port()), (8081, echo()), (9901, admin)];
    let config = replace(&envoy(Mode::Fed), &format!(", {FALLBACK}"), "");
    let mut command = envoy_of(NEWEST, &with_ports(&config, "port_value: ", &ports), room.path());
    prepare(&mut command, room.path(), "", &[(FEED, &socket)]);
    let gateway = Running::start(&mut command);
    listens(port);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "20", "--include", "--header"]);
    curl.arg(format!("authorization: {}", bearer("ADMIN")));
    let said = curl.arg(format!("http://127.0.0.1:{port}/api/agents")).output().unwrap();
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(said.starts_with("HTTP/1.1 503") && said.contains("is not available yet"), "{said}");
    gateway.line("the connection to the service that feeds this engine is lost");
}

#[test]
fn in_the_shadow_it_changes_nothing_and_counts_where_it_would_differ() {
    for version in VERSIONS {
        let upstream = echo().to_string();
        // The engine has other rules than portcullis, which decides.
        let rules = r#"[
            { name = "agents", path_prefix = "/api/agents", roles = ["ADMIN"] },
            { name = "mcp", path_prefix = "/mcp", mcp = { tools = ["delete_*"] }, roles = ["ADMIN"] },
            { name = "open", path_prefix = "/open", access = "public" },
        ]"#
        .replace('\n', " ");
        let usual = r#"[
            { name = "agents", path_prefix = "/api/agents", roles = ["REGULAR"] },
            { name = "mcp", path_prefix = "/mcp", roles = ["REGULAR"] },
            { name = "open", path_prefix = "/open", access = "public" },
        ]"#
        .replace('\n', " ");
        let told = [(UPSTREAM, upstream.as_str()), ("PORTCULLIS__RULES", rules.as_str())];
        let of_portcullis = [(UPSTREAM, upstream.as_str()), ("PORTCULLIS__RULES", usual.as_str())];
        let change =
            |config: &str| replace(config, "\"config\": ", "\"mode\": \"shadow\", \"config\": ");
        let both = (&of_portcullis[..], &told[..]);
        let stack = Stack::changed(free_port(), "", version, Mode::Module, both, &change);
        let regular = bearer("REGULAR");
        eventually("ext_authz", || (status(&stack, &regular) == 200).then_some(()));
        let before: u64 = stats(&stack, "shadow_total").values().sum();
        for (path, bearer, wanted) in [
            ("/open/x", "", 200),
            ("/api/agents", &*regular, 200),
            ("/api/agents", "Bearer junk", 401),
            ("/nowhere", &*regular, 403),
        ] {
            let answer = stack.send("GET", path, &[("authorization", bearer)]);
            assert_eq!(answer.status, wanted, "{version} {path}");
        }
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": "tools/call",
            "params": { "name": "delete_all", "arguments": { "text": "x".repeat(3000) } } });
        assert_eq!(stack.send_json("POST", "/mcp", &regular, &call).status, 200, "{version}");
        // More than is read: nothing is said of it, and it goes on.
        let long = json!({ "jsonrpc": "2.0", "id": 1, "method": "x", "params": { "t": "x".repeat(70_000) } });
        assert_eq!(stack.send_json("POST", "/mcp", &regular, &long).status, 200, "{version}");
        let counts = eventually("all that was compared", || {
            let counts = stats(&stack, "shadow_total");
            (counts.values().sum::<u64>() == before + 5).then_some(counts)
        });
        let of = |words: &[&str]| -> u64 {
            let mut found =
                counts.iter().filter(|(of, _)| words.iter().all(|word| of.contains(word)));
            found.next().map_or(0, |(_, count)| *count)
        };
        assert_eq!(of(&["agrees", "malformed_token"]), 1, "{version} {counts:?}");
        assert_eq!(of(&["agrees", "no_rule"]), 1, "{version} {counts:?}");
        // One for each question of this kind until ext_authz answered, too.
        assert_eq!(of(&["differs", "module.role"]), before + 2, "{version} {counts:?}");
        stack.gateway.line("the module would have decided otherwise");
    }
}

/// The listeners of a configuration, each a resource that Envoy reads anew when its file
/// is another one; and the rest, which names that file.
fn apart(config: &str, file: &Path) -> (String, String) {
    let (begin, rest) = config.split_once("  listeners:\n").unwrap();
    let (listeners, end) = rest.split_once("  clusters:\n").unwrap();
    let kind = "\"@type\": type.googleapis.com/envoy.config.listener.v3.Listener";
    let listeners = replace(
        listeners,
        "    - name: gateway\n",
        &format!("    - {kind}\n      name: gateway\n"),
    );
    let source = format!(
        "node: {{ id: one, cluster: all }}\ndynamic_resources: {{ lds_config: {{ path_config_source: {{ path: {} }} }} }}\n",
        file.display()
    );
    (format!("resources:\n{listeners}"), format!("{source}{begin}  clusters:\n{end}"))
}

#[test]
fn a_filter_that_is_taken_away_and_put_back_under_load_ends_nothing() {
    let place = tempfile::tempdir().unwrap();
    let file = place.path().join("listeners.yaml");
    let put = |text: &str| {
        let new = file.with_extension("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, &file).unwrap();
    };
    let whole = std::cell::RefCell::new(String::new());
    let change = |config: &str| {
        let (listeners, rest) = apart(config, &file);
        put(&listeners);
        whole.replace(listeners);
        rest
    };
    let mut stack = Stack::changed(free_port(), "", NEWEST, Mode::Fed, (&[], &[]), &change);
    let whole = whole.into_inner();
    let (begin, rest) = whole.split_once("                  - name: portcullis\n").unwrap();
    let at = rest.find("                  - name: envoy.filters.http.ext_authz\n").unwrap();
    let without = format!("{begin}{}", &rest[at..]);
    // The routes switch it off where they do so for ext_authz.
    let per_route = without_module_of_routes(&without);
    let good = bearer("REGULAR");
    eventually("a good answer", || (status(&stack, &good) == 200).then_some(()));
    let (stops, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stops.load(Ordering::Relaxed) {
                    assert_eq!(status(&stack, &good), 200);
                    sent.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        for turn in 0..6_u64 {
            let text = if turn % 2 == 0 { &per_route } else { &whole };
            put(text);
            let updates = || {
                let all = admin(&stack, "/stats?filter=lds.update_success");
                all.trim().rsplit_once(": ").and_then(|(_, count)| count.parse::<u64>().ok())
            };
            eventually("another listener", || (updates()? > turn + 1).then_some(()));
            let before = sent.load(Ordering::Relaxed);
            eventually("load", || (sent.load(Ordering::Relaxed) > before + 100).then_some(()));
        }
        stops.store(true, Ordering::Relaxed);
    });
    // Its thread is at work while it stops.
    stack.gateway.signal("TERM");
    assert_eq!(stack.gateway.ended(), Some(0), "{}", stack.gateway.log());
}

/// Without what routes say to the filter of the module.
fn without_module_of_routes(listeners: &str) -> String {
    let mut lines = listeners.lines().peekable();
    let mut out = String::new();
    while let Some(line) = lines.next() {
        if line.trim() == "portcullis:" {
            let depth = line.len() - line.trim_start().len();
            let is_of_it = |line: &&str| line.len() - line.trim_start().len() > depth;
            while lines.next_if(is_of_it).is_some() {}
            continue;
        }
        out.push_str(line);
        out.push('\n');
    }
    out
}

/// How long requests take, sorted: a thousand a second for as long as it is wanted.
fn latencies(stack: &Stack, bearer: &str, until: impl Fn(usize) -> bool) -> Vec<Duration> {
    let started = Instant::now();
    let mut took = Vec::new();
    while until(took.len()) {
        let due = started + Duration::from_millis(took.len() as u64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let asked = Instant::now();
        assert_eq!(status(stack, bearer), 200);
        took.push(asked.elapsed());
    }
    took.sort();
    took
}

/// Those of a million tokens, as the store's own client takes them.
fn a_million_revocations(file: &Path) {
    let mut pipe = std::io::BufWriter::new(std::fs::File::create(file).unwrap());
    let end = (SystemClock.now().as_secs() + 3600).to_string();
    let stream = "portcullis:{revocations}:stream";
    for id in 0..1_000_000_u64 {
        let token = format!("{:016x}{}", id.wrapping_mul(0x9e37_79b9_7f4a_7c15), "0".repeat(48));
        let words = ["XADD", stream, "*", "t", &token, "u", &end];
        write!(pipe, "*{}\r\n", words.len()).unwrap();
        for word in words {
            write!(pipe, "${}\r\n{word}\r\n", word.len()).unwrap();
        }
    }
    pipe.flush().unwrap();
}

// By what is delivered: a build for tests takes several times as long to read a list.
#[test]
#[cfg_attr(debug_assertions, ignore = "it measures release builds: tests/run --soak")]
fn a_million_revocations_are_told_and_requests_wait_for_none() {
    let redis = Redis::single();
    let store = format!("{{ kind = \"redis\", url = \"redis://127.0.0.1:{}\" }}", redis.port);
    let told = [("PORTCULLIS__STORE", store.as_str())];
    let stack = Stack::with(NEWEST, Mode::Fed, &told);
    let good = bearer("REGULAR");
    eventually("the module's own answers", || {
        assert!(matches!(status(&stack, &good), 200 | 503));
        stats(&stack, "checks_total").keys().any(|of| of.contains("allow")).then_some(())
    });
    // What writes them is no part of what is measured: it takes what others leave of the
    // processors.
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("revocations");
    a_million_revocations(&file);
    redis.servers[0].step_back();
    let before = latencies(&stack, &good, |count| count < 5000);
    let last =
        format!("{:016x}{}", 999_999_u64.wrapping_mul(0x9e37_79b9_7f4a_7c15), "0".repeat(48));
    let is_done = AtomicBool::new(false);
    let (during, loaded) = std::thread::scope(|scope| {
        let loading = scope.spawn(|| {
            let started = Instant::now();
            let done = Command::new("chrt")
                .args(["-i", "0", "redis-cli", "-p", &redis.port.to_string(), "--pipe"])
                .stdin(std::fs::File::open(&file).unwrap())
                .stdout(Stdio::null())
                .status();
            assert!(done.unwrap().success());
            let written = started.elapsed();
            // When the engine has them all, its memory has grown by them, and stands.
            let memory = || stack.gateway.memory("VmRSS");
            let mut seen = memory();
            loop {
                std::thread::sleep(Duration::from_secs(1));
                let now = memory();
                if now.abs_diff(seen) < 256 && now > 40_000 {
                    break;
                }
                seen = now;
            }
            is_done.store(true, Ordering::Relaxed);
            (written, started.elapsed(), seen)
        });
        let during = latencies(&stack, &good, |_| !is_done.load(Ordering::Relaxed));
        (during, loading.join().unwrap())
    });
    let of = |all: &[Duration], part: usize| all[all.len() * part / 100];
    println!(
        "before p50 {:?} p99 {:?}; during ({} requests) p50 {:?} p99 {:?}; written in {:?}, told in {:?}, {} KiB; {last}",
        of(&before, 50),
        of(&before, 99),
        during.len(),
        of(&during, 50),
        of(&during, 99),
        loaded.0,
        loaded.1,
        loaded.2
    );
    assert!(of(&during, 99) <= of(&before, 99) * 2, "p99 stays within twice as long");
}

/// By a build of the module that panics where a request says so.
#[test]
fn a_bug_in_any_hook_denies_that_request_and_ends_nothing() {
    let faults = root().join("target/faults");
    assert!(faults.join("libportcullis_envoy.so").exists(), "run tests/run");
    for version in VERSIONS {
        let upstream = echo().to_string();
        let rules = r#"[
            { name = "mcp", path_prefix = "/mcp", mcp = { tools = ["delete_*"] }, roles = ["ADMIN"] },
            { name = "open", path_prefix = "/", access = "public" },
        ]"#
        .replace('\n', " ");
        let told = [
            (UPSTREAM, upstream.as_str()),
            ("PORTCULLIS__RULES", rules.as_str()),
            (MODULE_IN, faults.to_str().unwrap()),
        ];
        let trailers = |config: &str| {
            let http2 = "                http2_protocol_options:\n";
            let http1 = "                http_protocol_options: { enable_trailers: true }\n";
            replace(config, http2, &format!("{http1}{http2}"))
        };
        let told = (&told[..], &told[..]);
        let mut stack =
            Stack::changed(free_port(), "/open", version, Mode::Module, told, &trailers);
        stack.portcullis = None;
        let send = |method: &str, hook: &str, rest: &str| {
            let head =
                format!("{method} /mcp HTTP/1.1\r\nhost: a.example.com\r\nx-fault: {hook}\r\n");
            stack.send_bytes(format!("{head}connection: close\r\n{rest}").as_bytes()).status
        };
        let json = "content-type: application/json\r\n";
        let open = || stack.send("GET", "/open", &[]).status;
        assert_eq!(send("GET", "request_headers", "\r\n"), 500, "{version}");
        let whole = format!("{json}content-length: 2\r\n\r\n{{}}");
        assert_eq!(send("POST", "request_body", &whole), 500, "{version}");
        // With trailers, no piece of the body is the last.
        let trailed =
            format!("{json}transfer-encoding: chunked\r\n\r\n2\r\n{{}}\r\n0\r\nx-last: 1\r\n\r\n");
        assert_eq!(send("POST", "request_trailers", &trailed), 500, "{version}");
        for hook in ["response_headers", "stream_complete"] {
            let answer = stack.send("GET", "/open", &[("x-fault", hook)]);
            assert_eq!(answer.status, 200, "{version} {hook}");
        }
        assert_eq!(open(), 200, "{version}");
        let log = stack.gateway.log();
        assert!(log.matches("a bug: a panic").count() >= 5, "{version} {log}");
        assert!(!log.contains("asked for by a test"), "{log}");
    }
}
