//! What a rule says of the hosts and paths that it is for.

use std::{borrow::Cow, fmt};

use thiserror::Error;

use super::{
    host::NormalHost,
    path::{NormalPath, PathAllow},
};

/// Why a pattern cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PatternError {
    /// No path that is matched ever looks like this.
    #[error("{0:?} can never match, since such a path is refused: {1}")]
    NeverMatches(String, super::path::BadPath),
    /// An asterisk, which has no meaning in a path.
    #[error("{0:?}: \"*\" is literal in a path, so it matches nothing else")]
    Asterisk(String),
    /// A brace in a template that is not around a whole segment.
    #[error("{0:?}: a variable is one whole segment, as in \"/users/{{id}}/runs\"")]
    Brace(String),
    /// A template without a variable.
    #[error("{0:?} has no variable; write an exact path as `path`")]
    NoVariable(String),
    /// Not a host name, perhaps after `*.`.
    #[error(
        "{0:?} is no host name; write \"app.example.com\" or \"*.example.com\", without a port"
    )]
    BadHost(String),
}

impl PatternError {
    /// What to do about it.
    #[must_use]
    pub fn fix(&self) -> &'static str {
        match self {
            Self::Asterisk(_) => {
                "write path_prefix for a path and all below it, path_template with {name} for one \
                 segment, or %2A for an asterisk"
            }
            Self::BadHost(_) => "correct the host",
            _ => "correct the pattern",
        }
    }
}

/// The hosts of a rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum HostPattern {
    /// This host.
    Exact(String),
    /// Every host below this one, at any depth: `*.example.com`.
    Below(String),
    /// Any host.
    Any,
}

impl HostPattern {
    /// Parses `app.example.com` or `*.example.com`.
    ///
    /// # Errors
    ///
    /// [`PatternError::BadHost`] for anything else.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        let (name, below) = match text.strip_prefix("*.") {
            Some(parent) => (parent, true),
            None => (text, false),
        };
        let has_port = name.contains(':') && !name.starts_with('[');
        match NormalHost::parse(name) {
            Some(host) if below && host.is_address() => Err(PatternError::BadHost(text.to_owned())),
            Some(host) if !name.contains('*') && !has_port && !name.contains("]:") => {
                let host = host.as_str().to_owned();
                Ok(if below { Self::Below(host) } else { Self::Exact(host) })
            }
            _ => Err(PatternError::BadHost(text.to_owned())),
        }
    }

    /// Whether the host is one of these.
    #[must_use]
    pub fn matches(&self, host: &NormalHost<'_>) -> bool {
        match self {
            Self::Exact(name) => host.as_str() == name,
            Self::Below(parent) => host.parents().any(|name| name == parent),
            Self::Any => true,
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(name) => f.write_str(name),
            Self::Below(parent) => write!(f, "*.{parent}"),
            Self::Any => f.write_str("any other host"),
        }
    }
}

/// One segment of a path pattern.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Segment {
    /// This very text, decoded.
    Literal(String),
    /// Any text but none.
    Variable,
}

/// The paths of a rule, as decoded segments.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PathPattern {
    /// This very path; a trailing slash counts.
    Exact(Vec<Segment>),
    /// Paths of this shape.
    Template(Vec<Segment>),
    /// This path and all below it, by whole segments.
    Prefix(Vec<Segment>),
}

impl PathPattern {
    /// Parses an exact path.
    ///
    /// # Errors
    ///
    /// [`PatternError::NeverMatches`].
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        Ok(Self::Exact(literals(text)?))
    }

    /// Parses a prefix. A slash at its end changes nothing.
    ///
    /// # Errors
    ///
    /// [`PatternError::NeverMatches`].
    pub fn prefix(text: &str) -> Result<Self, PatternError> {
        let mut segments = literals(text)?;
        if segments.last() == Some(&Segment::Literal(String::new())) {
            segments.pop();
        }
        Ok(Self::Prefix(segments))
    }

    /// Parses a template, in which `{name}` stands for one whole segment. A
    /// brace that is meant is written encoded.
    ///
    /// # Errors
    ///
    /// [`PatternError`].
    pub fn template(text: &str) -> Result<Self, PatternError> {
        // Told apart before decoding, so that `%7Bid%7D` is a literal.
        let is_variable = |raw: &str| {
            raw.len() > 2
                && raw.starts_with('{')
                && raw.ends_with('}')
                && raw.matches(['{', '}']).count() == 2
        };
        let raw = text.split('/').skip(1);
        let segments: Vec<Segment> = literals(text)?
            .into_iter()
            .zip(raw.clone())
            .map(|(literal, raw)| if is_variable(raw) { Segment::Variable } else { literal })
            .collect();
        if raw.clone().any(|raw| raw.contains(['{', '}']) && !is_variable(raw)) {
            return Err(PatternError::Brace(text.to_owned()));
        }
        if !segments.contains(&Segment::Variable) {
            return Err(PatternError::NoVariable(text.to_owned()));
        }
        Ok(Self::Template(segments))
    }

    /// The variables of a template as it is written: which segment each is, and
    /// its name.
    #[must_use]
    pub fn variables(template: &str) -> Vec<(usize, String)> {
        let name = |raw: &str| Some(raw.strip_prefix('{')?.strip_suffix('}')?.to_owned());
        let raw = template.split('/').skip(1).enumerate();
        raw.filter_map(|(at, raw)| Some((at, name(raw)?))).collect()
    }

    /// The same with its texts in one case.
    pub(super) fn folded(&self) -> Self {
        let all = |segments: &[Segment]| {
            let one = |segment: &Segment| match segment {
                Segment::Literal(text) => Segment::Literal(folded(text)),
                Segment::Variable => Segment::Variable,
            };
            segments.iter().map(one).collect()
        };
        match self {
            Self::Exact(segments) => Self::Exact(all(segments)),
            Self::Template(segments) => Self::Template(all(segments)),
            Self::Prefix(segments) => Self::Prefix(all(segments)),
        }
    }

    /// Whether the path, given as decoded segments, is one of these.
    #[must_use]
    pub fn matches(&self, path: &[Cow<'_, str>]) -> bool {
        let fits = |pattern: &[Segment]| {
            pattern.iter().zip(path).all(|(segment, text)| match segment {
                Segment::Literal(literal) => literal == text,
                Segment::Variable => !text.is_empty(),
            })
        };
        match self {
            Self::Exact(pattern) | Self::Template(pattern) => {
                pattern.len() == path.len() && fits(pattern)
            }
            Self::Prefix(pattern) => pattern.len() <= path.len() && fits(pattern),
        }
    }

    /// The segments.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        match self {
            Self::Exact(segments) | Self::Template(segments) | Self::Prefix(segments) => segments,
        }
    }
}

impl fmt::Display for PathPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for segment in self.segments() {
            match segment {
                Segment::Literal(text) => write!(f, "/{text}")?,
                Segment::Variable => f.write_str("/{}")?,
            }
        }
        match self {
            Self::Prefix(segments) if segments.is_empty() => f.write_str("/*"),
            Self::Prefix(_) => f.write_str("[/*]"),
            _ => Ok(()),
        }
    }
}

/// A text in one case. More falls together here than in any one server, since each has
/// its own idea of `İ`, `ı`, `ſ` and `ß`.
pub(super) fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_ascii_lowercase();
    }
    // The dot that stays of an `İ` is dropped by servers that fold letter by letter.
    let folded = caseless::default_case_fold_str(&text.to_uppercase());
    folded.replace("i\u{307}", "i")
}

/// The segments of a pattern, which may be written decoded or encoded.
fn literals(text: &str) -> Result<Vec<Segment>, PatternError> {
    if text.contains('*') {
        return Err(PatternError::Asterisk(text.to_owned()));
    }
    // Raw characters that a request sends encoded are encoded first, so that
    // both spellings take the one way through the path's own parser.
    let is_raw = |c: char| !c.is_ascii() || matches!(c, ' ' | '?' | '#' | ';');
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        if is_raw(c) {
            let mut utf8 = [0; 4];
            let bytes = c.encode_utf8(&mut utf8).as_bytes();
            encoded.extend(percent_encoding::percent_encode(
                bytes,
                percent_encoding::NON_ALPHANUMERIC,
            ));
        } else {
            encoded.push(c);
        }
    }
    let every_form = PathAllow {
        encoded_slash: false,
        semicolon: true,
        encoded_percent: true,
        encoded_hash: true,
        encoded_question_mark: true,
    };
    let path = NormalPath::parse(&encoded, every_form)
        .map_err(|error| PatternError::NeverMatches(text.to_owned(), error))?;
    Ok(path.segments().iter().map(|text| Segment::Literal(text.clone().into_owned())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mistake_has_its_remedy() {
        let fix = |error: PatternError| error.fix();
        assert!(fix(PathPattern::exact("/a/*").unwrap_err()).starts_with("write path_prefix for"));
        assert_eq!(fix(HostPattern::parse("a.example.com:80").unwrap_err()), "correct the host");
        assert_eq!(fix(PathPattern::template("/a/{b").unwrap_err()), "correct the pattern");
    }

    #[test]
    fn nobody_is_below_an_address() {
        for text in ["*.10.0.0.1", "*.[::1]"] {
            assert_eq!(HostPattern::parse(text), Err(PatternError::BadHost(text.to_owned())));
        }
        assert_eq!(HostPattern::parse("10.0.0.1"), Ok(HostPattern::Exact("10.0.0.1".to_owned())));
    }

    #[test]
    fn patterns_are_shown_as_they_are_written() {
        let host = |text| HostPattern::parse(text).unwrap().to_string();
        assert_eq!(host("App.example.com"), "app.example.com");
        assert_eq!(host("*.example.com"), "*.example.com");
        assert_eq!(HostPattern::Any.to_string(), "any other host");
        assert_eq!(PathPattern::exact("/a/b").unwrap().to_string(), "/a/b");
        assert_eq!(PathPattern::prefix("/a/").unwrap().to_string(), "/a[/*]");
        assert_eq!(PathPattern::prefix("/").unwrap().to_string(), "/*");
        assert_eq!(PathPattern::template("/a/{b}").unwrap().to_string(), "/a/{}");
    }
}
