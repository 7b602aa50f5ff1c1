//! Regular expressions, compiled once, as values that an expression can hold.

use std::any::Any;

use cel::common::{
    types::Type,
    value::{StaticVal, Val},
};
use regex::{Regex, RegexBuilder};

/// How large one may become, compiled, in KiB.
const MAX_COMPILED: usize = 32;
/// How much it may keep of what it has worked out, in bytes.
const MAX_KEPT: usize = 256 * 1024;

/// The type of a compiled pattern, which no condition can name.
pub(super) static PATTERN_TYPE: Type = Type::new_unspecified_type("@pattern");

/// A compiled pattern (RE2's syntax, with its classes of ASCII): it takes time by
/// the length of the text and by its own size alone.
#[derive(Clone, Debug)]
pub(super) struct Pattern {
    regex: Regex,
    /// Compiled, in KiB: the least power of two in which it fits.
    size: usize,
}

impl Pattern {
    /// Compiles one.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn compile(text: &str) -> Result<Self, String> {
        let text = with_ascii_classes(text);
        let mut size = 1;
        loop {
            let mut builder = RegexBuilder::new(&text);
            match builder.size_limit(size * 1024).dfa_size_limit(MAX_KEPT).build() {
                Ok(regex) => return Ok(Self { regex, size }),
                Err(regex::Error::CompiledTooBig(_)) if size < MAX_COMPILED => size *= 2,
                Err(regex::Error::CompiledTooBig(_)) => {
                    return Err("the regular expression is too large: repeat less in it".into());
                }
                Err(error) => return Err(format!("it is not a regular expression: {error}")),
            }
        }
    }

    /// The steps that a search through so many bytes takes at most.
    pub(super) fn steps(&self, bytes: usize) -> u64 {
        1 + (bytes * self.size / 2) as u64
    }

    pub(super) fn is_in(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

/// In RE2 `\\d`, `\\w`, `\\s` and `\\b` are of ASCII. Those of all scripts would
/// be a hundred times as large.
fn with_ascii_classes(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut chars, mut in_class) = (text.chars(), false);
    while let Some(c) = chars.next() {
        let escaped = if c == '\\' { chars.next() } else { None };
        match (c, escaped) {
            ('\\', Some(class @ ('d' | 'w' | 's'))) => {
                let members = match class {
                    'd' => "0-9",
                    'w' => "0-9A-Za-z_",
                    _ => "\\t\\n\\x0C\\r ",
                };
                let is_alone = !in_class;
                out.extend(is_alone.then_some('['));
                out.push_str(members);
                out.extend(is_alone.then_some(']'));
            }
            ('\\', Some('b')) if !in_class => out.push_str("(?-u:\\b)"),
            ('\\', Some(other)) => out.extend(['\\', other]),
            _ => {
                in_class = match c {
                    '[' => true,
                    ']' => false,
                    _ => in_class,
                };
                out.push(c);
            }
        }
    }
    out
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
