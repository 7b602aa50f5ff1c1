//! How errors name keys and values.

use figment::error::{Actual, Kind};

/// The key that this one is a slip of the pen away from.
pub(super) fn nearest<'k>(key: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let slips = |known: &&str| strsim::osa_distance(key, known);
    known.min_by_key(slips).filter(|near| slips(near) <= near.len() / 3)
}

/// A value as an error may show it: not where it could hold a password.
pub(super) fn quoted(text: &str) -> String {
    if text.contains('@') { "the value".to_owned() } else { format!("{text:?}") }
}

/// Why a value is of another type than is wanted, without the value: it may
/// be a secret, or hold one.
pub(super) fn what_is_wrong(kind: &Kind) -> String {
    match kind {
        Kind::InvalidType(actual, expected) | Kind::InvalidValue(actual, expected) => {
            let actual = match actual {
                Actual::Bool(_) => "true or false",
                Actual::Unsigned(_) | Actual::Signed(_) | Actual::Float(_) => "a number",
                Actual::Char(_) | Actual::Str(_) => "a string",
                Actual::Seq => "a list",
                Actual::Map => "a table",
                _ => "another type",
            };
            format!("it is {actual}, and should be {expected}")
        }
        _ => "it cannot be understood".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slip_of_the_pen_is_one_and_another_word_is_none() {
        let known = ["access", "listen", "path", "path_prefix", "kid"];
        let meant = |key| nearest(key, known.into_iter());
        for (key, near) in [
            ("acess", "access"),
            ("accses", "access"),
            ("listn", "listen"),
            ("path_prefx", "path_prefix"),
            ("paht", "path"),
            ("kit", "kid"),
        ] {
            assert_eq!(meant(key), Some(near));
        }
        for key in ["exchange", "prefix", "host", ""] {
            assert_eq!(meant(key), None, "{key}");
        }
    }
}
