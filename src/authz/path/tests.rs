use proptest::prelude::*;

use super::*;

const STRICT: PathAllow = PathAllow {
    encoded_slash: false,
    semicolon: false,
    encoded_percent: false,
    encoded_hash: false,
    encoded_question_mark: false,
};

const LAX: PathAllow = PathAllow {
    encoded_slash: true,
    semicolon: true,
    encoded_percent: true,
    encoded_hash: true,
    encoded_question_mark: true,
};

fn joined(path: &str, allow: PathAllow) -> Result<String, BadPath> {
    NormalPath::parse(path, allow).map(|path| format!("/{}", path.segments().join("/")))
}

#[test]
fn what_every_server_reads_alike_is_decoded() {
    for (given, expected) in [
        ("/", "/"),
        ("/api/agents", "/api/agents"),
        ("/api/agents/", "/api/agents/"),
        ("/v1/x%3Apurge", "/v1/x:purge"),
        ("/a%20b", "/a b"),
        ("/caf%C3%A9", "/café"),
        ("/.well-known/x", "/.well-known/x"),
        ("/a...b/...", "/a...b/..."),
        ("/%61pi", "/api"),
        ("/{id}|x", "/{id}|x"),
        ("/a=b&c,d@e", "/a=b&c,d@e"),
    ] {
        assert_eq!(joined(given, STRICT).as_deref(), Ok(expected));
    }
}

#[test]
fn what_two_servers_could_read_differently_is_refused() {
    use BadPath::*;
    for (given, expected) in [
        ("", NoSlash),
        ("*", NoSlash),
        ("api", NoSlash),
        ("http://host/api", NoSlash),
        ("//x", EmptySegment),
        ("//", EmptySegment),
        ("/a//b", EmptySegment),
        ("/a//", EmptySegment),
        ("/./", DotSegment),
        ("/.", DotSegment),
        ("/x/../y", DotSegment),
        ("/x/..", DotSegment),
        ("/%2e%2e/y", DotSegment),
        ("/.%2e/y", DotSegment),
        ("/%2E./y", DotSegment),
        ("/%252e%252e/y", Encoded),
        ("/a%2fb", Encoded),
        ("/a%2Fb", Encoded),
        ("/a%252fb", Encoded),
        ("/a%5cb", Encoded),
        ("/a%5Cb", Encoded),
        ("/a%00", Encoded),
        ("/a%0d%0a", Encoded),
        ("/a%7f", Encoded),
        ("/a%23", Encoded),
        ("/a%3f", Encoded),
        ("/a%3Bv=1", Encoded),
        ("/a%25", Encoded),
        ("/a;v=1", Character),
        ("/public/..;/api", Character),
        ("/a\\b", Character),
        ("/a#b", Character),
        ("/a b", Character),
        ("/a\tb", Character),
        ("/a\u{7f}", Character),
        ("/café", Character),
        ("/a%", Escape),
        ("/a%2", Escape),
        ("/a%zz", Escape),
        ("/a%+1", Escape),
        ("/%c0%af", Utf8),
        ("/%c0%ae%c0%ae", Utf8),
        ("/%ff", Utf8),
        ("/%ed%a0%80", Utf8),
        ("/a%EF%BC%8Fb", Encoded),        // ／ full-width solidus
        ("/%EF%BC%8E%EF%BC%8E", Encoded), // ．． full-width full stops
        ("/%E2%80%A5/x", Encoded),        // ‥ two dot leader
        ("/a%E2%84%80", Encoded),         // ℀ a/c
        ("/a%EF%BC%9B", Encoded),         // ； full-width semicolon
        ("/a%C2%85", Encoded),            // a C1 control
    ] {
        assert_eq!(joined(given, STRICT), Err(expected), "{given}");
    }
}

#[test]
fn length_is_bounded() {
    let fits = format!("/{}", "a".repeat(8191));
    assert!(joined(&fits, STRICT).is_ok());
    assert_eq!(joined(&format!("{fits}a"), STRICT), Err(BadPath::TooLong));
    assert_eq!(joined(&format!("/{}", "a".repeat(65536)), STRICT), Err(BadPath::TooLong));
}

#[test]
fn each_form_is_allowed_by_its_own_name_alone() {
    let none = STRICT;
    for (given, allow) in [
        ("/a%2Fb", PathAllow { encoded_slash: true, ..none }),
        ("/a;v=1", PathAllow { semicolon: true, ..none }),
        ("/a%3Bv=1", PathAllow { semicolon: true, ..none }),
        ("/100%25", PathAllow { encoded_percent: true, ..none }),
        ("/a%23b", PathAllow { encoded_hash: true, ..none }),
        ("/a%3Fb", PathAllow { encoded_question_mark: true, ..none }),
    ] {
        assert!(joined(given, allow).is_ok(), "{given}");
        assert!(joined(given, STRICT).is_err(), "{given}");
    }
}

#[test]
fn allowed_forms_open_no_way_to_dot_or_empty_segments() {
    for bad in [
        "/public/..;/api",
        "/public/.;x/api",
        "/public/;x/api",
        "/a%2F..%2Fb",
        "/a%2F%2Fb",
        "/%2Fa",
        "/a%2F.%2Fb",
        "/%252e%252e/b",
        "/a%252F..%252Fb",
        "/a/%2e%2e%3Bx/b",
        "/a/..%23/b",
        "/a/..%3Fx",
        "/a%255cb",
        "/a%2500",
        "/a%25ff",
        "/a%2525252525252e",
        "/public/a%253F%252F..%252F..%252Fadmin",
        "/public/a%2523%252F..%252F..%252Fadmin",
        "/public/a%3F%2F..%2F..%2Fadmin",
    ] {
        assert!(joined(bad, LAX).is_err(), "{bad}");
    }
}

#[test]
fn an_allowed_form_is_given_in_every_reading() {
    let path = NormalPath::parse("/a%2Fb;v=1/c", LAX).unwrap();
    let readings: Vec<String> = path.readings().map(|reading| reading.join("|")).collect();
    assert_eq!(readings, ["a/b;v=1|c", "a|b|c", "a|b;v=1|c", "a/b|c"]);

    let plain = NormalPath::parse("/a/c", LAX).unwrap();
    assert_eq!(plain.readings().count(), 1);
}

/// Servers in a row: one cuts off what another one behind it does not, and that one
/// decodes what is left once more.
#[test]
fn a_form_is_given_in_every_reading_of_servers_in_a_row() {
    let has = |path: &str, expected: &str| {
        let path = NormalPath::parse(path, LAX).unwrap();
        path.readings().any(|reading| reading.join("|") == expected)
    };
    // Parameters before the slash in them is decoded, then the rest a second time.
    assert!(has("/a;b%2Fc/%2561dmin", "a|admin"));
    assert!(has("/a%3Bb%252Fc/%2561dmin", "a|admin"));
    // A fragment, and later no query.
    assert!(has("/a%23b%253Fc", "a") && has("/a%253Fb%23c", "a?b"));
    assert!(has("/a%3Fb%23c", "a?b") && has("/a%23b%3Fc", "a#b"));
}

#[test]
fn what_has_more_readings_than_anybody_needs_is_refused() {
    let many = "/a%3Bb/a%253B%25253F/a%25253Fb%2523b/a%23/a%3B%253F/a%253F%25253Bb/a%3F\
                /a%252523b%252523/a%2523";
    assert_eq!(joined(many, LAX), Err(BadPath::TwoReadings));
    let some = NormalPath::parse("/a%3Bb/a%253B%2525/a%3Fb/a%23", LAX).unwrap();
    assert!((5..=34).contains(&some.readings().count()));
}

proptest! {
    /// Whatever is let through has one reading without structure in a segment.
    #[test]
    fn a_normal_path_holds_no_structure(path in "/([a-c./%;\\\\#?]|%2[0-9a-fA-F]|%[0-9a-f]{2}|\\PC){0,12}") {
        if let Ok(normal) = NormalPath::parse(&path, STRICT) {
            prop_assert_eq!(normal.readings().count(), 1);
            let segments = normal.segments();
            for (at, segment) in segments.iter().enumerate() {
                prop_assert!(at + 1 == segments.len() || !segment.is_empty());
                prop_assert!(segment != "." && segment != "..");
                prop_assert!(!segment.contains(['/', '\\', ';', '%', '?', '#']));
                prop_assert!(!segment.chars().any(char::is_control));
            }
        }
    }

    /// Encoding a normal path and reading it again changes nothing.
    #[test]
    fn parsing_is_idempotent(path in "/([a-c./%;]|%2[0-9a-fA-F]|%[0-9a-f]{2}){0,12}") {
        if let Ok(normal) = NormalPath::parse(&path, STRICT) {
            let encode = |segment| {
                percent_encoding::utf8_percent_encode(segment, percent_encoding::NON_ALPHANUMERIC)
            };
            let again: Vec<String> =
                normal.segments().iter().map(|segment| encode(segment).to_string()).collect();
            let again = format!("/{}", again.join("/"));
            let again = NormalPath::parse(&again, STRICT).unwrap();
            prop_assert_eq!(normal.segments(), again.segments());
        }
    }

    /// With every form allowed, no reading holds an empty or dot segment.
    #[test]
    fn no_reading_holds_a_dot_segment(path in "/([a-c./;]|%2[0-9a-fA-F]|%25|%252e|%252f|%3b){0,10}") {
        if let Ok(normal) = NormalPath::parse(&path, LAX) {
            for reading in normal.readings() {
                prop_assert!(check_segments(reading).is_ok());
            }
        }
    }
}

#[test]
fn a_path_ends_at_a_semicolon_for_those_to_whom_it_does() {
    let ended = |path: &str| -> Vec<String> {
        let path = NormalPath::parse(path, LAX).unwrap();
        path.until_semicolon().iter().map(|it| it.segments().join("|")).collect()
    };
    assert_eq!(ended("/a/b;c/d"), ["a|b"]);
    assert_eq!(ended("/a/%62%3Bc/d"), ["a|b"]);
    assert_eq!(ended("/a/b/c"), Vec::<String>::new());
}
