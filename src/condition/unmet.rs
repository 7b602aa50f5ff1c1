//! What is told of a condition that was not true.

use std::fmt;

/// The part of a condition that was not true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// The part, as it was written.
    pub part: String,
    /// Why it came to no answer, without a value of the request; none when it is
    /// false.
    pub failure: Option<String>,
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.part, self.failure.as_deref().unwrap_or("it is false"))
    }
}
