//! The other ways to read a path that holds a form of `check.path_allow`.
//!
//! The operator has said that such a form may come; which servers stand
//! behind, and how each of them reads it, is not known. So all the readings
//! are made, none may hold an empty or a dot segment, and the engine asks
//! that the same rule decides each of them.

use std::borrow::Cow;

use super::{BadPath, PathAllow, check_segments, decode_segment, is_treacherous};

/// How often an encoding may be encoded again.
const MAX_DEPTH: usize = 4;

/// The readings of `raw` (a path without its first slash) that differ from
/// `literal`, in which each segment was decoded once.
pub(super) fn others<'a>(
    raw: &'a str,
    literal: &[Cow<'a, str>],
    allow: PathAllow,
) -> Result<Vec<Vec<Cow<'a, str>>>, BadPath> {
    let no_parameters = |segment: &str| before(segment, &[';']).to_owned();
    // Each segment is cut at its parameters before it is decoded, or after.
    let cut_before = raw
        .split('/')
        .map(|segment| decode_segment(before(segment, &[';']), allow))
        .collect::<Result<Vec<_>, _>>()?;
    let cut_after = literal.iter().map(|segment| Cow::Owned(no_parameters(segment))).collect();
    let mut readings = vec![cut_before, cut_after];

    // The path is decoded, once or to the end, and only then cut into its
    // segments; as a whole, or up to where a query or a fragment begins.
    let decoded = literal.join("/");
    let bare = fully_decoded(decoded.clone())?;
    for path in [&decoded, before(&decoded, &['?', '#']), &bare, before(&bare, &['?', '#'])] {
        readings.push(split(path, str::to_owned));
        readings.push(split(path, no_parameters));
    }

    readings.sort();
    readings.dedup();
    readings.retain(|reading| reading != literal);
    for reading in &readings {
        check_segments(reading)?;
    }
    Ok(readings)
}

fn split<'a>(path: &str, keep: impl Fn(&str) -> String) -> Vec<Cow<'a, str>> {
    path.split('/').map(|segment| Cow::Owned(keep(segment))).collect()
}

fn before<'a>(text: &'a str, ends: &[char]) -> &'a str {
    text.split(ends).next().unwrap_or_default()
}

/// Decodes until nothing is left to decode.
fn fully_decoded(mut path: String) -> Result<String, BadPath> {
    for _ in 0..MAX_DEPTH {
        let next = percent_encoding::percent_decode_str(&path)
            .decode_utf8()
            .map_err(|_| BadPath::Utf8)?
            .into_owned();
        if next.contains('\\') || next.chars().any(is_hidden_structure) {
            return Err(BadPath::Encoded);
        }
        if next == path {
            return Ok(path);
        }
        path = next;
    }
    Err(BadPath::TwoReadings)
}

fn is_hidden_structure(c: char) -> bool {
    if c.is_ascii() { c.is_ascii_control() } else { is_treacherous(c) }
}
