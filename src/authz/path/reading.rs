//! The other ways to read a path that holds a form of `check.path_allow`.
//!
//! The operator has said that such a form may come; which servers stand
//! behind, and how each of them reads it, is not known. So all the readings
//! are made, none may hold an empty or a dot segment, and the engine asks
//! that the same rule decides each of them.

use std::{borrow::Cow, collections::BTreeSet};

use super::{BadPath, PathAllow, check_segments, decode_segment, is_treacherous};

/// How often an encoding may be encoded again.
const MAX_DEPTH: usize = 4;
/// As many paths may be made of one.
const MAX_PATHS: usize = 32;

/// Decoded segments.
type Segments<'a> = Vec<Cow<'a, str>>;

/// The readings of `raw` (a path without its first slash) that differ from
/// `literal`, in which each segment was decoded once; then those of servers to which a
/// semicolon ends the path, as a question mark does.
pub(super) fn others<'a>(
    raw: &'a str,
    literal: &[Cow<'a, str>],
    allow: PathAllow,
) -> Result<(Vec<Segments<'a>>, Vec<Segments<'a>>), BadPath> {
    // Each segment is cut at its parameters before it is decoded, or after.
    let cut_before = raw
        .split('/')
        .map(|segment| decode_segment(before(segment, ';'), allow))
        .collect::<Result<Segments<'_>, _>>()?;
    let cut_after =
        literal.iter().map(|segment| Cow::Owned(before(segment, ';').to_owned())).collect();

    // Or the path is decoded, and only then cut into its segments.
    let made = made_of(&[literal.join("/"), cut_before.join("/")], MAX_PATHS, false)?;
    // Or it ends at a semicolon, before it is decoded, or after.
    let cut = decode_all(before(raw, ';'), allow)?;
    let starts = [literal.join("/"), cut_before.join("/"), cut.join("/")];
    let ending = made_of(&starts, 2 * MAX_PATHS, true)?;

    let mut readings = vec![cut_before, cut_after];
    readings.extend(made.iter().map(|path| split(path)));
    readings.sort();
    readings.dedup();
    readings.retain(|reading| reading != literal);
    let mut ended = vec![cut];
    ended.extend(ending.iter().map(|path| split(path)));
    ended.sort();
    ended.dedup();
    ended.retain(|reading| reading != literal && !readings.contains(reading));
    for reading in readings.iter().chain(&ended) {
        check_segments(reading)?;
    }
    Ok((readings, ended))
}

fn decode_all(raw: &str, allow: PathAllow) -> Result<Segments<'_>, BadPath> {
    raw.split('/').map(|segment| decode_segment(segment, allow)).collect()
}

/// All that servers make of these paths, each of which was decoded once: one after the
/// other they decode it again, cut off its parameters, and what looks like a query or a
/// fragment, in whatever order.
fn made_of(
    paths: &[String],
    most: usize,
    semicolon_ends: bool,
) -> Result<BTreeSet<String>, BadPath> {
    let mut made = BTreeSet::new();
    let mut new: Vec<(String, usize)> = paths.iter().map(|path| (path.clone(), 1)).collect();
    while let Some((path, depth)) = new.pop() {
        if made.contains(&path) {
            continue;
        }
        let decoded = decoded(&path)?;
        if decoded != path {
            if depth == MAX_DEPTH {
                return Err(BadPath::TwoReadings);
            }
            new.push((decoded, depth + 1));
        }
        let bare: Vec<&str> = path.split('/').map(|segment| before(segment, ';')).collect();
        let until = if semicolon_ends { before(&path, ';') } else { &path };
        for cut in [&bare.join("/"), before(&path, '?'), before(&path, '#'), until] {
            if cut != path {
                new.push((cut.to_owned(), depth));
            }
        }
        made.insert(path);
        if made.len() > most {
            return Err(BadPath::TwoReadings);
        }
    }
    Ok(made)
}

fn split<'a>(path: &str) -> Vec<Cow<'a, str>> {
    path.split('/').map(|segment| Cow::Owned(segment.to_owned())).collect()
}

fn before(text: &str, end: char) -> &str {
    text.split(end).next().unwrap_or_default()
}

/// Decodes once more, if there is something to decode.
fn decoded(path: &str) -> Result<String, BadPath> {
    let decoded = percent_encoding::percent_decode_str(path)
        .decode_utf8()
        .map_err(|_| BadPath::Utf8)?
        .into_owned();
    if decoded.contains('\\') || decoded.chars().any(is_hidden_structure) {
        return Err(BadPath::Encoded);
    }
    Ok(decoded)
}

fn is_hidden_structure(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_control() } else { is_treacherous(c) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_readings_are_made_and_not_one_more() {
        for (path, count) in [("a", 1), ("a;b", 2), ("a?b#c", 3), ("a%253Fb;c", 7)] {
            let of = |most| made_of(&[path.to_owned()], most, false).map(|made| made.len());
            assert_eq!(of(100), Ok(count), "{path}");
            assert_eq!(of(count), Ok(count), "{path}");
            assert_eq!(of(count - 1), Err(BadPath::TwoReadings), "{path}");
        }
    }
    #[test]
    fn those_that_end_at_semicolons_may_be_twice_as_many() {
        let allow = PathAllow {
            encoded_slash: false,
            semicolon: true,
            encoded_percent: true,
            encoded_hash: true,
            encoded_question_mark: true,
        };
        // There are 28 of the ones, and 37 of the others.
        let raw = "a%25253Fc%3Bd/e;fac/d%3Fe%23f/c/d%253Fe;f";
        let literal = decode_all(raw, allow).unwrap();
        assert!(others(raw, &literal, allow).is_ok());
    }
}
