//! Regular expressions, compiled once, as values that an expression can hold.

use std::any::Any;

use cel::common::{
    types::Type,
    value::{StaticVal, Val},
};
use regex::{Regex, RegexBuilder};

/// How large one may become, compiled, in bytes.
const MAX_COMPILED: usize = 64 * 1024;
/// How much it may keep of what it has worked out, in bytes.
const MAX_KEPT: usize = 256 * 1024;

/// The type of a compiled pattern, which no condition can name.
pub(super) static PATTERN_TYPE: Type = Type::new_unspecified_type("@pattern");

/// A compiled pattern (RE2's syntax: it takes time by the length of the text
/// alone).
#[derive(Clone, Debug)]
pub(super) struct Pattern(pub(super) Regex);

impl Pattern {
    /// Compiles one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let compiled =
            RegexBuilder::new(text).size_limit(MAX_COMPILED).dfa_size_limit(MAX_KEPT).build();
        compiled.map(Self).map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => {
                "the regular expression is too large: repeat less in it".to_owned()
            }
            error => format!("it is no regular expression: {error}"),
        })
    }
}

impl Val for Pattern {
    fn get_type(&self) -> &Type {
        &PATTERN_TYPE
    }

    fn cel_type() -> &'static Type {
        &PATTERN_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Pattern {}
