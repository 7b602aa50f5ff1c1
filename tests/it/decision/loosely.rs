//! Upstreams that fold the case of a path, or take an extension off: what is guarded is
//! guarded as they read it, too, and nothing is opened by that.

use std::sync::LazyLock;

use portcullis::authz::Engine;
use proptest::{collection::vec, prelude::*, sample::select};

use crate::{
    ask::{Ask, Out, ask, engine},
    config::keys,
    hostile::many,
};

const RULES: &str = r#"
[[rules]]
name = "open"
path_prefix = "/"
access = "public"
preflight = true
[[rules]]
name = "admin"
path_prefix = "/Admin"
roles = ["ADMIN"]
[[rules]]
name = "keys"
path_template = "/users/{id}/keys"
roles = ["ADMIN"]
[[rules]]
name = "mine"
path_template = "/mine/{id}/x"
when = 'path.id == user.id'
[[rules]]
name = "post"
path = "/post"
methods = ["POST"]
access = "public"
[[rules]]
name = "report"
path = "/report.csv"
roles = ["REGULAR", "ADMIN"]
[[rules]]
name = "report-itself"
path = "/report"
roles = ["ADMIN"]
"#;

static PLAIN: LazyLock<Engine> = LazyLock::new(|| engine(RULES));
static FOLDS: LazyLock<Engine> =
    LazyLock::new(|| engine(&format!("check.case_insensitive = true\n{RULES}")));
static CUTS: LazyLock<Engine> =
    LazyLock::new(|| engine(&format!("check.ignore_extension = true\n{RULES}")));
static BOTH: LazyLock<Engine> = LazyLock::new(|| {
    engine(&format!("check.case_insensitive = true\ncheck.ignore_extension = true\n{RULES}"))
});

fn told(out: &Out) -> (u16, &str, &str) {
    (out.status, out.reason, &out.rule)
}

#[test]
fn a_guarded_path_in_another_case_is_guarded_where_an_upstream_folds_it() {
    for path in ["/admin", "/ADMIN/x", "/aDMIN/", "/%61dmin", "/adm%C4%B1n", "/adm%C4%B0n/x"] {
        assert_eq!(told(&ask("GET", path).of(&PLAIN)), (200, "", "open"), "{path}");
        let refused = (401, "no_credential", "admin");
        assert_eq!(told(&ask("GET", path).of(&FOLDS)), refused, "{path}");
        let out = ask("GET", path).role("REGULAR").of(&FOLDS);
        assert_eq!(told(&out), (403, "role", "admin"), "{path}");
        // The rule of the path as it is written is the one that lets pass.
        let out = ask("GET", path).role("ADMIN").of(&FOLDS);
        assert_eq!(told(&out), (200, "", "open"), "{path}");
    }
    for path in ["/users/7/KEYS", "/USERS/7/%E2%84%AAeys", "/Users/A/keyS"] {
        assert_eq!(told(&ask("GET", path).of(&FOLDS)), (401, "no_credential", "keys"), "{path}");
    }
    // What is a value stays as it is, and what is not guarded is open.
    for path in ["/Users/Ann", "/ADMINS", "/x/ADMIN", "/"] {
        assert_eq!(told(&ask("GET", path).of(&FOLDS)), (200, "", "open"), "{path}");
    }
}

#[test]
fn a_guarded_path_with_an_extension_is_guarded_where_an_upstream_takes_it_off() {
    let open =
        ["/Admin.json", "/Admin.tar.gz", "/Admin.", "/Admin.json/", "/Admin..", "/Admin%2Exml"];
    for path in open {
        assert_eq!(told(&ask("GET", path).of(&PLAIN)), (200, "", "open"), "{path}");
        let refused = (401, "no_credential", "admin");
        assert_eq!(told(&ask("GET", path).of(&CUTS)), refused, "{path}");
        let out = ask("GET", path).role("ADMIN").of(&CUTS);
        assert_eq!(told(&out), (200, "", "open"), "{path}");
    }
    let out = ask("GET", "/users/7/keys.json").of(&CUTS);
    assert_eq!(told(&out), (401, "no_credential", "keys"));
    for path in ["/robots.txt", "/.Admin", "/...", "/x.y/Admin.x/y", "/Admins.json", "/admin.json"]
    {
        assert_eq!(told(&ask("GET", path).of(&CUTS)), (200, "", "open"), "{path}");
    }
    // More dots than anybody needs.
    let dots = format!("/x{}", ".a".repeat(33));
    assert_eq!(told(&ask("GET", &dots).of(&CUTS)), (400, "bad_path", ""));
    assert_eq!(told(&ask("GET", &dots).of(&PLAIN)), (200, "", "open"));
}

#[test]
fn both_are_undone_together() {
    for path in ["/admin.JSON", "/ADMIN.Json/", "/USERS/7/KEYS.json"] {
        for engine in [&*PLAIN, &*FOLDS, &*CUTS] {
            assert_eq!(told(&ask("GET", path).of(engine)), (200, "", "open"), "{path}");
        }
        assert_eq!(ask("GET", path).of(&BOTH).status, 401, "{path}");
    }
}

#[test]
fn a_rule_for_the_extension_decides_and_the_one_without_it_has_to_let_pass_too() {
    let out = ask("GET", "/report.csv").role("REGULAR").of(&CUTS);
    assert_eq!(told(&out), (403, "role", "report-itself"));
    let out = ask("GET", "/report.csv").role("ADMIN").of(&CUTS);
    assert_eq!(told(&out), (200, "", "report"));
}

#[test]
fn a_method_that_a_rule_does_not_list_is_not_let_pass_by_another_spelling() {
    assert_eq!(ask("GET", "/post").of(&BOTH).reason, "method");
    for path in ["/POST", "/post.json"] {
        assert_eq!(told(&ask("GET", path).of(&PLAIN)), (200, "", "open"), "{path}");
        assert_eq!(ask("GET", path).of(&BOTH).reason, "method", "{path}");
        assert_eq!(told(&ask("POST", path).of(&BOTH)), (200, "", "open"), "{path}");
    }
}

#[test]
fn a_preflight_of_a_guarded_path_does_not_pass_in_another_spelling() {
    let preflight = |path| {
        ask("OPTIONS", path)
            .with("origin", "https://app.example.com")
            .with("access-control-request-method", "GET")
    };
    assert_eq!(preflight("/admin").of(&PLAIN).status, 200);
    for path in ["/admin", "/ADMIN", "/Admin.json"] {
        assert_eq!(told(&preflight(path).of(&BOTH)), (401, "no_credential", "admin"), "{path}");
    }
    assert_eq!(preflight("/x").of(&BOTH).status, 200);
}

#[test]
fn a_condition_holds_for_the_path_as_it_is_read_elsewhere_as_well() {
    // The user of the tests is 7.
    assert_eq!(ask("GET", "/mine/7/x").role("REGULAR").of(&BOTH).status, 200);
    assert_eq!(ask("GET", "/MINE/7/X").role("REGULAR").of(&BOTH).status, 200);
    for path in ["/mine/8/x", "/MINE/8/X", "/mine/8/x.json", "/Mine/8/x.json"] {
        let out = ask("GET", path).role("REGULAR").of(&BOTH);
        assert_eq!(told(&out), (403, "condition", "mine"), "{path}");
    }
}

/// Where a semicolon may come, it is a question mark to some servers.
#[test]
fn a_guarded_path_before_a_semicolon_is_guarded_where_that_ends_it() {
    let engine =
        engine(&format!("check.path_allow = [\"semicolon\", \"encoded-percent\"]\n{RULES}"));
    for path in ["/users/7/keys;/x", "/users/7/keys;a=b/c;d/e", "/users/7/keys%3B/x"] {
        assert_eq!(told(&ask("GET", path).of(&engine)), (401, "no_credential", "keys"), "{path}");
        assert_eq!(told(&ask("GET", path).role("ADMIN").of(&engine)), (200, "", "open"), "{path}");
    }
    assert_eq!(told(&ask("GET", "/users/7/keys%253B/x").of(&engine)).0, 401);
    for path in ["/cars;color=red/wheels", "/users/7;v=1/x", "/x;y/users/7/keys"] {
        assert_eq!(told(&ask("GET", path).of(&engine)), (200, "", "open"), "{path}");
    }
}

#[test]
fn rules_that_differ_in_their_case_alone_do_not_stand_beside_each_other() {
    let two = "[[rules]]\nname = \"a\"\npath = \"/Admin\"\naccess = \"public\"\n\
               [[rules]]\nname = \"b\"\npath = \"/admin\"\nroles = [\"ADMIN\"]\n";
    assert!(keys(two).is_empty());
    assert_eq!(keys(&format!("check.case_insensitive = true\n{two}")), ["rules"]);
}

/// A question of somebody of this role, or of nobody.
fn asked_by(method: &str, path: &str, role: &str) -> Ask {
    let asked = ask(method, path);
    if role.is_empty() { asked } else { asked.role(role) }
}

/// Pieces of which a path is put together without a plan.
const PIECES: [&str; 22] = [
    "/", "/", "/", "/", "admin", "Admin", "ADMIN", "users", "Users", "7", "keys", "KEYS", ".json",
    ".", ".x", "post", "mine", "x", "report", ".csv", "%C5%BF", "%41",
];

proptest! {
    #![proptest_config(many())]

    /// A switch closes, and opens nothing.
    #[test]
    fn nothing_passes_with_a_switch_that_does_not_pass_without(
        pieces in vec(select(&PIECES[..]), 0..9),
        role in select(&["", "REGULAR", "ADMIN"][..]),
        method in select(&["GET", "POST"][..]),
    ) {
        let path = format!("/{}", pieces.concat());
        let asked = asked_by(method, &path, role);
        let (plain, both) = (asked.of(&PLAIN), asked.of(&BOTH));
        for out in [&asked.of(&FOLDS), &asked.of(&CUTS), &both] {
            if out.status == 200 {
                prop_assert_eq!(told(out), told(&plain), "{}", path);
                // Nor does it change what the upstream is told.
                prop_assert_eq!(&out.set, &plain.set);
            }
        }
        // What passes is let pass by the rules, too, as an upstream reads it that does both.
        let (before, last) = path.rsplit_once('/').unwrap();
        let bare = last.split('.').next().unwrap();
        if both.status == 200 && !bare.is_empty() && path.is_ascii() && !path.contains('%') {
            let read = format!("{before}/{bare}").to_lowercase();
            let read = read.replacen("/admin", "/Admin", usize::from(read.starts_with("/admin")));
            let as_read = asked_by(method, &read, role).of(&PLAIN);
            prop_assert_eq!(as_read.status, 200, "{} is {}", path, read);
        }
    }
}

#[test]
fn a_condition_holds_for_the_last_segment_without_its_extension_as_well() {
    let engine = engine(
        r#"
        check.ignore_extension = true
        rules = [{ name = "user", path_template = "/users/{id}", when = 'path.id != "7"' }]
        "#,
    );
    let reason = |path: &str| ask("GET", path).role("REGULAR").of(&engine).reason;
    assert_eq!(["/users/8", "/users/8.json", "/users/7x.json"].map(reason), ["", "", ""]);
    assert_eq!(["/users/7", "/users/7.json"].map(reason), ["condition", "condition"]);
}
