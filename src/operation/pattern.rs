//! Names of tools, methods and models, as rules write them.

use std::fmt;

use thiserror::Error;

/// A name, or what names begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern {
    text: String,
    is_prefix: bool,
}

/// The text is no name, or has a `*` that is not at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("is no name: it is empty, has control characters, or a * that is not at its end")]
pub struct BadPattern;

impl NamePattern {
    /// Reads one.
    ///
    /// # Errors
    ///
    /// [`BadPattern`].
    pub fn parse(text: &str) -> Result<Self, BadPattern> {
        let (text, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        let is_good = (is_prefix && text.is_empty()) || super::is_name(text);
        if !is_good || text.contains('*') {
            return Err(BadPattern);
        }
        Ok(Self { text: text.to_owned(), is_prefix })
    }

    /// Whether this is one of its names, exactly.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        if self.is_prefix { name.starts_with(&self.text) } else { name == self.text }
    }

    /// How closely it names a name of its own: a name itself more closely than what it
    /// begins with, and more of that more closely than less.
    fn rank(&self) -> Rank {
        Rank(!self.is_prefix, self.text.len() + 1)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.is_prefix { "*" } else { "" })
    }
}

/// How closely a rule names what is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Rank(bool, usize);

/// The closest of those that match.
pub(super) fn closest(patterns: &[NamePattern], name: &str) -> Option<Rank> {
    patterns.iter().filter(|pattern| pattern.matches(name)).map(NamePattern::rank).max()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_at_the_end_alone() {
        for good in ["*", "delete_*", "send_mail", "gpt-4o-mini", "ft:gpt:*"] {
            assert_eq!(NamePattern::parse(good).unwrap().to_string(), good);
        }
        for bad in ["", "a*b", "*a", "a**", "a\n", " a", "a\u{0}*"] {
            assert_eq!(NamePattern::parse(bad), Err(BadPattern), "{bad:?}");
        }
    }

    #[test]
    fn names_match_exactly_and_the_closest_pattern_is_known() {
        let pattern = |text| NamePattern::parse(text).unwrap();
        assert!(
            pattern("delete_*").matches("delete_all") && pattern("delete_*").matches("delete_")
        );
        assert!(!pattern("delete_*").matches("Delete_all") && !pattern("a").matches("ab"));
        assert!(pattern("*").matches("anything"));
        let all = ["ab", "ab*", "a*", "*"].map(pattern);
        for pair in all.windows(2) {
            assert!(closest(&pair[..1], "ab") > closest(&pair[1..], "ab"));
        }
        assert_eq!(closest(&all[..2], "b"), None);
    }
}
