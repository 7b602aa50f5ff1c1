//! What is wrong with a configuration, and what would fix it.

use std::fmt;

/// One problem: where it is, its cause and its fix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The key, as in `check.listen` or `rules[2].roles`; empty for a problem
    /// of a whole file.
    pub key: String,
    /// The file or the environment variable that it came from.
    pub source: Option<String>,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.source, self.key.is_empty()) {
            (Some(source), false) => write!(f, "{} ({source}): ", self.key)?,
            (Some(source), true) => write!(f, "{source}: ")?,
            (None, false) => write!(f, "{}: ", self.key)?,
            (None, true) => {}
        }
        write!(f, "{}\n  fix: {}", self.cause, self.fix)
    }
}
