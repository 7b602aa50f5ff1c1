//! That dependencies run one way, by what the sources import: among the rooms of the
//! house, and among the files of each room. What a room's `mod.rs` says of its files,
//! and they of it, is one text in several files, and no circle.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
};

use super::promises::sources;
use crate::support::root;

/// The place of a module: the names on the way to it.
type Place = Vec<String>;

/// The modules of the library, each with its text, but for tests.
fn modules() -> BTreeMap<Place, String> {
    let source = root().join("src");
    let mut modules = BTreeMap::new();
    for file in sources("src") {
        let name = file.strip_prefix(&source).unwrap().with_extension("");
        let mut place: Place = name.iter().map(|part| part.to_str().unwrap().to_owned()).collect();
        if place.iter().any(|part| part == "tests" || part == "main") {
            continue;
        }
        if place.last().is_some_and(|last| last == "mod" || (last == "lib" && place.len() == 1)) {
            place.pop();
        }
        modules.insert(place, code(&fs::read_to_string(&file).unwrap()));
    }
    modules
}

/// A text without its comments and its tests.
fn code(text: &str) -> String {
    let tests = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    let lines = text[..tests].lines().map(|line| line.split("//").next().unwrap_or_default());
    lines.collect::<Vec<_>>().join("\n")
}

/// `a::{b, c::{d}}` as `a::b` and `a::c::d`.
fn spread(before: &str, tree: &str, into: &mut Vec<Place>) {
    let (mut depth, mut start) = (0, 0);
    for (at, byte) in tree.bytes().chain([b',']).enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            b',' if depth == 0 => {
                let one = tree[start..at].trim();
                start = at + 1;
                if let Some(brace) = one.find('{') {
                    let inner = &one[brace + 1..one.rfind('}').unwrap()];
                    spread(&format!("{before}{}", &one[..brace]), inner, into);
                } else if !one.is_empty() {
                    let one = one.split(" as ").next().unwrap();
                    let path = format!("{before}{one}");
                    into.push(path.split("::").map(|part| part.trim().to_owned()).collect());
                }
            }
            _ => {}
        }
    }
}

/// What stands behind `use` in a text, and whether it is made known to others.
fn uses(text: &str) -> Vec<(bool, Place)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("use ") {
        let line = &text[text[..at].rfind('\n').map_or(0, |end| end + 1)..at];
        let is_word = line.trim().is_empty() || line.trim().starts_with("pub");
        let Some(end) = text[at..].find(';').filter(|_| is_word) else { continue };
        let mut all = Vec::new();
        spread("", &text[at + "use ".len()..at + end], &mut all);
        found.extend(all.into_iter().map(|place| (line.contains("pub"), place)));
    }
    found
}

/// The paths that stand in a text beside its imports.
fn paths(text: &str) -> Vec<Place> {
    let is_of_path = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':';
    let words = text.split(|letter: char| !letter.is_ascii() || !is_of_path(letter as u8));
    words
        .filter(|word| ["crate::", "super::", "self::"].iter().any(|start| word.starts_with(start)))
        .map(|word| word.split("::").map(str::to_owned).collect())
        .collect()
}

/// Which modules each module names, also by what another makes known of them.
fn named(modules: &BTreeMap<Place, String>) -> BTreeMap<Place, BTreeSet<Place>> {
    let mut known: BTreeMap<(Place, String), Place> = BTreeMap::new();
    for (place, text) in modules {
        for (_, path) in uses(text).into_iter().filter(|(is_known, _)| *is_known) {
            let path = path.strip_prefix(&["self".to_owned()][..]).unwrap_or(&path);
            let [child, .., name] = path else { continue };
            let child = [&place[..], std::slice::from_ref(child)].concat();
            if modules.contains_key(&child) {
                known.insert((place.clone(), name.clone()), child);
            }
        }
    }
    let resolve = |place: &Place, path: &Place| -> Option<Place> {
        let mut rest = path.iter().peekable();
        let mut at = match rest.next()?.as_str() {
            "crate" => Place::new(),
            "self" => place.clone(),
            "super" => place[..place.len().checked_sub(1)?].to_vec(),
            _ => return None,
        };
        while rest.peek().is_some_and(|part| *part == "super") {
            rest.next();
            at.pop();
        }
        for part in rest {
            let next = [&at[..], std::slice::from_ref(part)].concat();
            if modules.contains_key(&next) {
                at = next;
            } else {
                return Some(known.get(&(at.clone(), part.clone())).cloned().unwrap_or(at));
            }
        }
        Some(at)
    };
    let of = |(place, text): (&Place, &String)| {
        let imported = uses(text).into_iter().map(|(_, path)| path);
        let all = imported.chain(paths(text)).filter_map(|path| resolve(place, &path));
        (place.clone(), all.filter(|other| other != place).collect())
    };
    modules.iter().map(of).collect()
}

/// A circle among these, as the way round; none where dependencies run one way.
fn circle(edges: &BTreeMap<String, BTreeSet<String>>) -> Option<Vec<String>> {
    let mut done = BTreeSet::new();
    let none = BTreeSet::new();
    for start in edges.keys() {
        let mut way: Vec<(&String, _)> = vec![(start, edges[start].iter())];
        while let Some((_, rest)) = way.last_mut() {
            let Some(next) = rest.next() else {
                done.insert(way.pop().unwrap().0);
                continue;
            };
            if let Some(from) = way.iter().position(|(one, _)| *one == next) {
                return Some(way[from..].iter().map(|(one, _)| (*one).clone()).collect());
            }
            if !done.contains(next) {
                way.push((next, edges.get(next).unwrap_or(&none).iter()));
            }
        }
    }
    None
}

/// Who names whom among what lies directly within a module.
fn within(
    room: &[String],
    named: &BTreeMap<Place, BTreeSet<Place>>,
) -> BTreeMap<String, BTreeSet<String>> {
    let child = |place: &Place| place.strip_prefix(room).and_then(|rest| rest.first()).cloned();
    let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (place, others) in named {
        let Some(one) = child(place) else { continue };
        let others = others.iter().filter_map(child).filter(|other| *other != one);
        edges.entry(one.clone()).or_default().extend(others);
    }
    edges
}

#[test]
fn dependencies_run_one_way_among_rooms_and_within_each() {
    let modules = modules();
    let named = named(&modules);
    let rooms: BTreeSet<&[String]> =
        modules.keys().filter_map(|place| place.split_last()).map(|(_, room)| room).collect();
    assert!(rooms.len() > 10, "{rooms:?}");
    for room in rooms {
        let edges = within(room, &named);
        assert_eq!(circle(&edges), None, "a circle within {:?}", room.join("::"));
    }
    // That it sees what there is.
    let of_house = within(&[], &named);
    for (one, other) in [("authz", "token"), ("checker", "authz"), ("grpc", "checker")] {
        assert!(of_house[one].contains(other), "{one} names {other}");
    }
}

#[test]
fn a_circle_is_seen_however_it_is_written() {
    let circle_of = |files: &[(&str, &str)]| {
        let place = |name: &str| name.split('/').map(str::to_owned).collect::<Place>();
        let modules = files.iter().map(|(name, text)| (place(name), code(text))).collect();
        circle(&within(&["room".to_owned()], &named(&modules)))
    };
    let room = ("room", "mod a;\nmod b;\npub use a::A;\npub use b::B;\n");
    for (a, b) in [
        ("use super::b::B;", "use super::a::A;"),
        ("use super::{\n    b::{self, B},\n};", "use crate::room::{c, a::A};"),
        ("use super::B;", "fn f() -> crate::room::a::A {}"),
        ("fn f(b: super::B) {}", "use crate::room::A;"),
    ] {
        assert!(circle_of(&[room, ("room/a", a), ("room/b", b)]).is_some(), "{a} {b}");
    }
    let one_way = [
        ("use super::B;", "use super::C;"),
        ("use super::B;", "// use super::a::A;"),
        ("use super::B;", "#[cfg(test)]\nmod tests {\n    use super::super::A;\n}"),
    ];
    for (a, b) in one_way {
        assert_eq!(circle_of(&[room, ("room/a", a), ("room/b", b)]), None, "{a} {b}");
    }
}
