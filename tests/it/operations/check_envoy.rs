//! What of an Envoy's configuration leaves a way past: `check-envoy` says so, and says
//! nothing of the configurations that are shipped.

use std::{fs, process::Command};

use serde_json::{Value, json};

use crate::{
    check_envoy_beside::{of_listeners, of_logs, of_the_module},
    check_envoy_edits::{
        Case, FILTER, HOST, LAST, LISTENERS, NAME, PER_ROUTE, before, disabled, line, per_filter,
        with,
    },
    check_envoy_ways::{of_filters, of_questions, of_routes},
    envoy_module,
    stack::{Mode, NEWEST, envoy, envoy_of, replace, with_ports},
    support::{Running, eventually, free_port, listens, output, portcullis, read},
};

/// What it says to a file, its exit code first.
fn check(text: &str, arguments: &[&str]) -> (i32, String, String) {
    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("envoy.yaml");
    fs::write(&file, text).unwrap();
    let mut command = portcullis();
    command.arg("check-envoy").args(arguments).arg(&file);
    let done = output(&mut command, "");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (done.status.code().unwrap(), text(done.stdout), text(done.stderr))
}

/// What it finds, and whether its exit code fits.
fn findings(text: &str, arguments: &[&str]) -> Vec<Value> {
    let (code, out, err) = check(text, &[&["--json"], arguments].concat());
    let found: Vec<Value> = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let has_errors = found.iter().any(|finding| finding["severity"] == "error");
    assert_eq!(code, i32::from(has_errors), "{found:?}");
    found
}

fn is_clean(text: &str, arguments: &[&str]) {
    let found = findings(text, arguments);
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!(check(text, arguments), (0, "ok\n".to_owned(), String::new()));
}

/// What is not as it is told.
fn fault(case: &Case) -> Option<String> {
    let found = findings(&case.config, &[]);
    let is_it = |finding: &&Value| {
        finding["cause"].as_str().unwrap().contains(case.cause)
            && finding["at"].as_str().unwrap().ends_with(case.at)
    };
    let Some(it) = found.iter().find(is_it) else {
        return Some(format!("{:?} at {:?}: {found:#?}", case.cause, case.at));
    };
    (it["severity"] != case.severity).then(|| it.to_string())
}
#[test]
fn each_way_past_is_found_where_it_is() {
    let all =
        [of_questions(), of_filters(), of_routes(), of_listeners(), of_logs(), of_the_module()];
    let faults: Vec<String> = all.iter().flatten().filter_map(fault).collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// No case is one that no Envoy would run.
#[test]
fn each_way_past_is_one_that_an_envoy_takes() {
    let room = tempfile::tempdir().unwrap();
    let all = [of_questions(), of_filters(), of_routes(), of_listeners(), of_logs()];
    let taken: Vec<Case> = all.into_iter().flatten().filter(|case| case.is_taken).collect();
    assert!(taken.len() > 60, "{}", taken.len());
    let mut faults = Vec::new();
    for case in taken {
        let mut command = envoy_of(NEWEST, &case.config, room.path());
        let said = output(command.args(["--mode", "validate"]), "");
        if !said.status.success() {
            let text = String::from_utf8_lossy(&said.stderr).into_owned();
            faults.push(format!("{} {}: {text}", case.cause, case.at));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn the_configurations_that_are_shipped_are_clean() {
    for name in ["envoy.yaml", "mcp.yaml", "module.yaml"] {
        is_clean(&read(&format!("envoy/{name}")), &[]);
    }
    // With the pieces of the others in it.
    for mode in [Mode::Http, Mode::Plans, Mode::Bodies, Mode::McpFilter] {
        is_clean(&envoy(mode), &[]);
    }
}

const RULES: &str = r#"[{ name = "all", path_prefix = "/", access = "authenticated" }]"#;

/// A real Envoy by this configuration, and what it prints of itself.
fn dump_of(config: &str, is_module: bool) -> String {
    let [port, admin] = [(); 2].map(|()| free_port());
    let config = with_ports(config, "port_value: ", &[(8000, port), (9901, admin)]);
    let room = tempfile::tempdir().unwrap();
    let mut command = envoy_of(NEWEST, &config, room.path());
    if is_module {
        envoy_module::prepare(&mut command, room.path(), RULES, &[]);
    }
    let _envoy = Running::start(&mut command);
    listens(admin);
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--max-time", "20", &format!("http://127.0.0.1:{admin}/config_dump")]);
    eventually("a dump with its listeners", || {
        let dump = String::from_utf8(output(&mut curl, "").stdout).unwrap();
        dump.contains("static_listeners").then_some(dump)
    })
}

#[test]
fn what_a_real_envoy_prints_of_itself_is_read_as_its_file_is() {
    let config = read("envoy/envoy.yaml");
    let dump = dump_of(&config, false);
    is_clean(&dump, &[]);
    // From stdin, too.
    let done = output(portcullis().args(["check-envoy", "-"]), &dump);
    assert_eq!(done.status.code(), Some(0), "{done:?}");
    let open = replace(&config, "failure_mode_allow: false", "failure_mode_allow: true");
    let open = with(&open, LAST, &per_filter(26, NAME, &disabled()));
    let found = findings(&dump_of(&open, false), &[]);
    let at = |cause: &str| {
        let is_it = |finding: &&Value| finding["cause"].as_str().unwrap().contains(cause);
        let it = found.iter().find(is_it).unwrap_or_else(|| panic!("{cause}: {found:#?}"));
        assert_eq!((&it["severity"], &it["listener"]), (&json!("error"), &json!("gateway")));
        it["at"].as_str().unwrap().to_owned()
    };
    let manager =
        "configs[2].static_listeners[0].listener.filter_chains[0].filters[0].typed_config";
    assert_eq!(
        at("cannot be asked"),
        format!("{manager}.http_filters[0].typed_config.failure_mode_allow")
    );
    assert_eq!(
        at("the filter is turned off"),
        format!(
            "{manager}.route_config.virtual_hosts[0].routes[2].typed_per_filter_config[\"{NAME}\"]"
        )
    );
    assert_eq!(found.len(), 2, "{found:#?}");
}

#[test]
fn what_a_real_envoy_with_the_module_prints_is_clean() {
    is_clean(&dump_of(&read("envoy/module.yaml"), true), &[]);
}

/// What is told as open, a real Envoy lets through, with nobody there to ask.
#[test]
fn what_is_called_open_is_open() {
    let upstream = envoy_module::echo();
    let is_open = |config: &str, headers: &[&str]| {
        let [port, admin] = [(); 2].map(|()| free_port());
        // A check of the agents' health would wait for them.
        let (begin, end) = (config.rfind("      health_checks:\n").unwrap(), config.len());
        let mut config = config.to_owned();
        config.replace_range(begin..end, "");
        let nobody = free_port();
        let ports = [(8000, port), (8081, upstream), (9191, nobody), (9901, admin)];
        let room = tempfile::tempdir().unwrap();
        let config = with_ports(&config, "port_value: ", &ports);
        let envoy = Running::start(&mut envoy_of(NEWEST, &config, room.path()));
        listens(port);
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--max-time", "20", "--output", "/dev/null", "--write-out"]);
        curl.arg("%{http_code}").args(headers.iter().flat_map(|header| ["-H", header]));
        curl.arg(format!("http://127.0.0.1:{port}/api/agents"));
        let code = String::from_utf8(output(&mut curl, "").stdout).unwrap();
        assert!(code == "200" || code == "503", "{code}: {}", envoy.log());
        code == "200"
    };
    assert!(!is_open(&read("envoy/envoy.yaml"), &[]));
    let ways = [
        "cannot be asked",
        "a no is noted",
        "only a part",
        "the filter is turned off",
        "no filter is on",
        "pass the filter by",
        "no filter asks",
    ];
    let mut tried = 0;
    for case in [of_questions(), of_filters(), of_routes()].iter().flatten() {
        // Where it is the listener's, and not that of one of portcullis' own paths.
        let is_way = ways.contains(&case.cause) && case.severity == "error";
        if !is_way || case.cause == "only a part" && case.config.contains("numerator: 99") {
            continue;
        }
        let upgrade = ["connection: upgrade", "upgrade: websocket", "sec-websocket-version: 13"];
        let upgrades = case.at.contains("upgrade");
        let headers = if upgrades { &upgrade[..] } else { &["x-skip: a"] };
        let found = findings(&case.config, &[]);
        assert!(is_open(&case.config, headers), "{} {found:#?}", case.cause);
        tried += 1;
    }
    assert!(tried > 10, "{tried}");
}

#[test]
fn every_form_of_a_file_is_read() {
    let config =
        replace(&read("envoy/envoy.yaml"), "failure_mode_allow: false", "failure_mode_allow: true");
    let dump: Value = serde_json::from_str(&dump_of(&config, false)).unwrap();
    let of = |kind: &str| {
        let mut configs = dump["configs"].as_array().unwrap().iter();
        configs.find(|it| it["@type"].as_str().unwrap().ends_with(kind)).unwrap().clone()
    };
    let listener = of("ListenersConfigDump")["static_listeners"][0]["listener"].clone();
    let state = json!({ "name": "gateway", "active_state": { "listener": listener } });
    let dynamic = "type.googleapis.com/envoy.admin.v3.ListenersConfigDump";
    let mut untyped = listener.clone();
    untyped.as_object_mut().unwrap().remove("@type");
    let manager =
        "filter_chains[0].filters[0].typed_config.http_filters[0].typed_config.failure_mode_allow";
    let bootstrap = of("BootstrapConfigDump");
    for (form, before) in [
        (listener.clone(), ""),
        (untyped.clone(), ""),
        (json!([listener]), "[0]."),
        (json!({ "version_info": "1", "resources": [listener] }), "resources[0]."),
        (
            json!({ "resources": [{ "name": "gateway", "resource": listener }] }),
            "resources[0].resource.",
        ),
        (json!({ "configs": [bootstrap] }), "configs[0].bootstrap.static_resources.listeners[0]."),
        (
            json!({ "configs": [{ "@type": dynamic, "dynamic_listeners": [state] }] }),
            "configs[0].dynamic_listeners[0].active_state.listener.",
        ),
        (
            json!({ "configs": [{ "@type": format!("{dynamic}.DynamicListener"), "warming_state": { "listener": listener } }] }),
            "configs[0].warming_state.listener.",
        ),
        (
            json!({ "ns": { "pod": dump } }),
            "[\"ns\"][\"pod\"].configs[2].static_listeners[0].listener.",
        ),
        (
            json!({ "static_resources": { "listeners": [untyped] } }),
            "static_resources.listeners[0].",
        ),
    ] {
        let found = findings(&form.to_string(), &[]);
        let it = found.iter().find(|it| it["severity"] == "error").unwrap();
        assert_eq!(it["at"], json!(format!("{before}{manager}")), "{found:#?}");
        assert_eq!(it["listener"], "gateway");
    }
}

#[test]
fn what_an_rds_or_an_ecds_has_sent_is_looked_at_where_a_dump_has_it() {
    let config = read("envoy/envoy.yaml");
    let open = with(&config, LAST, &per_filter(26, NAME, &disabled()));
    let open = replace(&open, "failure_mode_allow: false", "failure_mode_allow: true");
    let mut dump: Value = serde_json::from_str(&dump_of(&open, false)).unwrap();
    // Those of a listener, under the same name.
    assert!(dump["configs"][4]["static_route_configs"][0]["route_config"]["name"] == "routes");
    let listener = "/configs/2/static_listeners/0/listener/filter_chains/0/filters/0/typed_config";
    let manager = dump.pointer_mut(listener).unwrap();
    let table = manager.as_object_mut().unwrap().remove("route_config").unwrap();
    manager["rds"] = json!({ "route_config_name": "routes" });
    let asking = manager["http_filters"][0]["typed_config"].clone();
    manager["http_filters"][0] = json!({ "name": NAME, "config_discovery": {
        "type_urls": ["type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthz"] } });
    let filter = json!({ "@type": "type.googleapis.com/envoy.config.core.v3.TypedExtensionConfig", "name": NAME, "typed_config": asking });
    dump["configs"].as_array_mut().unwrap().extend([
        json!({ "@type": "type.googleapis.com/envoy.admin.v3.RoutesConfigDump", "dynamic_route_configs": [{ "route_config": table }] }),
        json!({ "@type": "type.googleapis.com/envoy.admin.v3.EcdsConfigDump", "ecds_filters": [{ "ecds_filter": filter }] }),
    ]);
    let found = findings(&dump.to_string(), &[]);
    let places: Vec<&str> = found.iter().map(|it| it["at"].as_str().unwrap()).collect();
    assert_eq!(places.len(), 2, "{found:#?}");
    assert_eq!(places[0], "configs[7].ecds_filters[0].ecds_filter.typed_config.failure_mode_allow");
    assert!(
        places[1].starts_with("configs[6].dynamic_route_configs[0].route_config."),
        "{places:?}"
    );
}

#[test]
fn a_file_that_is_none_is_told_with_its_fix() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(200), close.repeat(200));
    for (text, told) in [
        ("", "it contains no listener"),
        ("{}", "it contains no listener"),
        ("- 1\n- a\n", "it contains no listener"),
        ("admin: { address: {} }\n", "it contains no listener"),
        ("{\"a\": ", "EOF"),
        ("a: [", "error:"),
        ("a: 1\na: 2\n", "a"),
        ("{\"a\": 1, \"a\": 2}", "\"a\" is given twice"),
        ("{\"failure_mode_allow\": false, \"failureModeAllow\": true}", "is given twice"),
        ("failureModeAllow: true\nfailure_mode_allow: false\n", "is given twice"),
        ("a: &x { b: 1 }\nc: { <<: *x }\n", "erge"),
        (&deep("[", "]"), "recursion limit"),
        (&deep("{\"a\":", "}"), "recursion limit"),
        (&format!("a: {}", deep("[", "]")), "epth"),
    ] {
        let (code, out, err) = check(text, &[]);
        assert_eq!((code, out.as_str()), (2, ""), "{text}: {err}");
        assert!(err.contains(told) && err.contains("\n  fix: "), "{text}: {err}");
    }
    let room = tempfile::tempdir().unwrap();
    let of = |name: &str| {
        let mut command = portcullis();
        let done = output(command.arg("check-envoy").arg(room.path().join(name)), "");
        assert_eq!(done.status.code(), Some(2));
        String::from_utf8(done.stderr).unwrap()
    };
    fs::write(room.path().join("latin"), b"a: \xff\n").unwrap();
    assert!(of("latin").contains("not UTF-8"));
    // It takes no room on a disk.
    fs::File::create(room.path().join("long")).unwrap().set_len((64 << 20) + 1).unwrap();
    assert!(of("long").contains("more than 64 MiB"));
    assert!(of("nowhere").contains("No such file"));
}

/// One route is enough to find the rest by, where a tool has written it on each.
#[test]
fn what_stands_on_every_route_is_told_once() {
    let config = read("envoy/envoy.yaml");
    let config = replace(&config, "                  max_stream_duration: 3600s\n", "");
    let config = replace(
        &config,
        "                upgrade_configs:\n                  - upgrade_type: websocket\n",
        "",
    );
    let ways = |kinds: &str| {
        let route = |path: &str| {
            format!(
                "                        - match: {{ prefix: {path} }}
                          route: {{ cluster: agents, upgrade_configs: [{kinds}] }}\n"
            )
        };
        findings(&before(&config, LAST, &["/a", "/b", "/c"].map(route).concat()), &[])
    };
    let found = ways("{ upgrade_type: websocket }, { upgrade_type: CONNECT }");
    assert_eq!(found.len(), 2, "{found:#?}");
    assert!(found[0]["at"].as_str().unwrap().ends_with("routes[2].route.upgrade_configs[0]"));
    assert!(found[1]["cause"].as_str().unwrap().contains("a tunnel of CONNECT"));
    assert!(ways("{ upgrade_type: h2c, enabled: false }").is_empty());
}

#[test]
fn what_is_meant_to_be_open_is_not_told() {
    let config = read("envoy/envoy.yaml");
    // A public site, by its cluster's name.
    let site = "                        - match: { prefix: /site }
                          route: { cluster: site }\n";
    let site = before(&config, LAST, &format!("{site}{}", per_filter(26, NAME, &disabled())));
    assert_eq!(findings(&site, &[]).len(), 1);
    is_clean(&site, &["--open", "site"]);
    // A listener that sends everybody to another, and one for the numbers of Envoy itself.
    let listener = |name: &str, route: &str| {
        let manager = "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager";
        format!(
            "    - name: {name}
      filter_chains: [{{ filters: [{{ name: m, typed_config: {{ \"@type\": {manager}, stat_prefix: a,
        route_config: {{ virtual_hosts: [{{ name: a, domains: [\"*\"], routes: [{route}] }}] }} }} }}] }}]\n"
        )
    };
    let redirect =
        listener("plain", "{ match: { prefix: / }, redirect: { https_redirect: true } }");
    is_clean(&with(&config, LISTENERS, &redirect), &[]);
    let cluster = "    - name: itself
      load_assignment: { endpoints: [{ lb_endpoints: [{ endpoint: { address: { socket_address: { address: 127.0.0.1, port_value: 9901 } } } }] }] }\n";
    let own = with(&config, "  clusters:\n", cluster);
    let stats = |path: &str| {
        let route = format!("{{ match: {{ {path} }}, route: {{ cluster: itself }} }}");
        with(&own, LISTENERS, &listener("stats", &route))
    };
    is_clean(&stats("path: /stats/prometheus"), &[]);
    let all = findings(&stats("prefix: /"), &[]);
    assert!(
        all.iter().any(|it| it["severity"] == "error" && it["listener"] == "stats"),
        "{all:#?}"
    );
    // A filter that is off, and that each route turns on.
    let on = format!("\"@type\": {PER_ROUTE}, check_settings: {{}}");
    let off = with(&config, FILTER, &line(20, "disabled: true"));
    is_clean(&with(&off, LAST, &per_filter(26, NAME, &on)), &[]);
    // A route that turns it on again.
    let again = with(&config, HOST, &per_filter(22, NAME, &disabled()));
    is_clean(&with(&again, LAST, &per_filter(26, NAME, &on)), &[]);
}
