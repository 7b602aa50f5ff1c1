//! The normal form of a path.
//!
//! A gateway, this service and an upstream each read the path for themselves.
//! Where two of them could read different things, a rule would be applied to
//! one resource and another one served; so such a path is refused, and only a
//! [`NormalPath`] can be matched.

mod reading;

use std::borrow::Cow;

use thiserror::Error;
use unicode_normalization::UnicodeNormalization as _;

/// The longest path without its query, in bytes.
pub const MAX_PATH_BYTES: usize = 8 * 1024;

/// As often may a path be cut at a dot of its last segment.
const MAX_EXTENSIONS: usize = 32;

/// Forms that are refused unless the upstream is known to need them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a form of its own")]
pub struct PathAllow {
    /// `%2F` within a segment.
    pub encoded_slash: bool,
    /// `;`, raw or encoded.
    pub semicolon: bool,
    /// `%25`.
    pub encoded_percent: bool,
    /// `%23`.
    pub encoded_hash: bool,
    /// `%3F`.
    pub encoded_question_mark: bool,
}

impl PathAllow {
    /// Whether this character may come out of a percent-encoding.
    fn decoded(self, byte: u8) -> bool {
        match byte {
            b'/' => self.encoded_slash,
            b';' => self.semicolon,
            b'%' => self.encoded_percent,
            b'#' => self.encoded_hash,
            b'?' => self.encoded_question_mark,
            b'\\' => false,
            _ => !byte.is_ascii_control(),
        }
    }
}

/// Why a path is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadPath {
    /// Over [`MAX_PATH_BYTES`].
    #[error("it is longer than {MAX_PATH_BYTES} bytes")]
    TooLong,
    /// `*`, an absolute URL, nothing at all.
    #[error("it does not start with a slash")]
    NoSlash,
    /// `//`.
    #[error("it has an empty segment")]
    EmptySegment,
    /// `.` or `..`, however it is spelled.
    #[error("it has a dot segment")]
    DotSegment,
    /// A byte that is not sent raw, or that servers disagree about.
    #[error("it holds a character that servers read differently")]
    Character,
    /// `%` without two hexadecimal digits.
    #[error("it has a broken percent-encoding")]
    Escape,
    /// An encoded character that servers disagree about.
    #[error("it holds an encoded character that servers read differently")]
    Encoded,
    /// Bytes that are not UTF-8, overlong forms among them.
    #[error("it is not UTF-8 once decoded")]
    Utf8,
    /// A form of `path_allow` stands where it changes which rule decides.
    #[error("it can be read as two different paths")]
    TwoReadings,
}

/// A path that every server reads alike, decoded and cut into its segments.
///
/// With a form of [`PathAllow`] in it there are further readings, each of
/// which some server has; see [`NormalPath::readings`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NormalPath<'a> {
    segments: Vec<Cow<'a, str>>,
    others: Vec<Vec<Cow<'a, str>>>,
    ended: Vec<Vec<Cow<'a, str>>>,
}

impl<'a> NormalPath<'a> {
    /// Parses a path without its query.
    ///
    /// # Errors
    ///
    /// [`BadPath`] when two servers could read it differently.
    pub fn parse(path: &'a str, allow: PathAllow) -> Result<Self, BadPath> {
        if path.len() > MAX_PATH_BYTES {
            return Err(BadPath::TooLong);
        }
        let rest = path.strip_prefix('/').ok_or(BadPath::NoSlash)?;
        let raw_ok = |byte: u8| match byte {
            b'\\' | b'?' | b'#' | b' ' => false,
            b';' => allow.semicolon,
            _ => byte.is_ascii() && !byte.is_ascii_control(),
        };
        if !rest.bytes().all(raw_ok) {
            return Err(BadPath::Character);
        }
        if !rest.bytes().any(|byte| matches!(byte, b'%' | b';')) {
            let segments: Vec<_> = rest.split('/').map(Cow::Borrowed).collect();
            check_segments(&segments)?;
            return Ok(Self { segments, others: Vec::new(), ended: Vec::new() });
        }
        let segments =
            rest.split('/').map(|raw| decode_segment(raw, allow)).collect::<Result<Vec<_>, _>>()?;
        check_segments(&segments)?;

        // A form that was let through: read the path as other servers would.
        let special = |segment: &Cow<'_, str>| segment.contains(['/', ';', '%', '#', '?']);
        let (others, ended) = if segments.iter().any(special) {
            reading::others(rest, &segments, allow)?
        } else {
            (Vec::new(), Vec::new())
        };
        Ok(Self { segments, others, ended })
    }

    /// The decoded segments; the last one is empty after a trailing slash.
    #[must_use]
    pub fn segments(&self) -> &[Cow<'a, str>] {
        &self.segments
    }

    /// Every way in which a server could read this path: its decoded segments
    /// first, then, where a form of [`PathAllow`] stands in it, the others.
    pub fn readings(&self) -> impl Iterator<Item = &[Cow<'a, str>]> {
        std::iter::once(self.segments.as_slice()).chain(self.others.iter().map(Vec::as_slice))
    }
}

impl NormalPath<'_> {
    /// The path as servers read it to which a semicolon ends it, as a question mark does:
    /// where parameters are what is meant, another path altogether.
    #[must_use]
    pub fn until_semicolon(&self) -> Vec<Self> {
        let one = |segments: &Vec<_>| Self {
            segments: segments.clone(),
            others: Vec::new(),
            ended: Vec::new(),
        };
        self.ended.iter().map(one).collect()
    }

    /// The path as servers read it that take an extension off its end, by each reading and
    /// each dot: `/a.tar.gz` is `/a` to one and `/a.tar` to another. What begins with its
    /// only dot is no extension.
    ///
    /// # Errors
    ///
    /// [`BadPath::TwoReadings`] when there are more of them than anybody needs.
    pub fn without_extension(&self) -> Result<Vec<Self>, BadPath> {
        let mut cut = Vec::new();
        for reading in self.readings() {
            // A slash at the end stays.
            let Some(at) = reading.iter().rposition(|segment| !segment.is_empty()) else {
                continue;
            };
            let text = reading.get(at).map_or("", |segment| segment.as_ref());
            for name in text.match_indices('.').filter_map(|(dot, _)| text.get(..dot)) {
                // Dots alone are no name.
                if name.bytes().all(|byte| byte == b'.') {
                    continue;
                }
                if cut.len() == MAX_EXTENSIONS {
                    return Err(BadPath::TwoReadings);
                }
                let mut segments = reading.to_vec();
                segments.splice(at..=at, [Cow::Owned(name.to_owned())]);
                cut.push(Self { segments, others: Vec::new(), ended: Vec::new() });
            }
        }
        Ok(cut)
    }
}

/// No empty segment but the last, no dot segment.
fn check_segments(segments: &[Cow<'_, str>]) -> Result<(), BadPath> {
    for (at, segment) in segments.iter().enumerate() {
        match segment.as_ref() {
            "" if at + 1 != segments.len() => return Err(BadPath::EmptySegment),
            "." | ".." => return Err(BadPath::DotSegment),
            _ => {}
        }
    }
    Ok(())
}

/// Decodes one raw segment, refusing what servers read differently.
fn decode_segment(raw: &str, allow: PathAllow) -> Result<Cow<'_, str>, BadPath> {
    if !raw.contains('%') {
        return Ok(Cow::Borrowed(raw));
    }
    let mut decoded = Vec::with_capacity(raw.len());
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let mut digit = || bytes.next().and_then(hex).ok_or(BadPath::Escape);
        let byte = digit()? << 4 | digit()?;
        if !allow.decoded(byte) {
            return Err(BadPath::Encoded);
        }
        decoded.push(byte);
    }
    let decoded = String::from_utf8(decoded).map_err(|_| BadPath::Utf8)?;
    if decoded.chars().any(|c| !c.is_ascii() && is_treacherous(c)) {
        return Err(BadPath::Encoded);
    }
    Ok(Cow::Owned(decoded))
}

/// Controls, and characters that compatibility normalisation turns into (or
/// makes to hold) one that structures a path: `／` is `/`, `‥` is `..`.
fn is_treacherous(c: char) -> bool {
    c.is_control()
        || std::iter::once(c).nfkc().any(|n| matches!(n, '/' | '\\' | '.' | ';' | '%' | '?' | '#'))
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).and_then(|value| u8::try_from(value).ok())
}

#[cfg(test)]
mod tests;
