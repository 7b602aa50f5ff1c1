//! From text to an expression that is not too long and not too deep.

use std::{fmt, thread};

use cel::{
    common::ast::{Expr, SourceInfo, operators},
    parser::{Expression, Parser},
};

use super::expression::children;

/// The longest condition, in bytes.
pub(super) const MAX_BYTES: usize = 4 * 1024;
/// The deepest one, in levels.
const MAX_DEPTH: usize = 32;
/// What the parser of a condition of [`MAX_BYTES`] may need of the stack, in
/// bytes, many times over.
const STACK: usize = 128 * 1024 * 1024;

/// What is wrong with a condition, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// What is wrong.
    pub cause: String,
    /// The line in which it is, and the column (from 0, in characters).
    pub at: Option<(String, usize)>,
}

/// The cause, then the line, then a caret below the place.
impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.cause)?;
        let Some((line, column)) = &self.at else { return Ok(()) };
        write!(f, "\n    {line}\n    {:>width$}", "^", width = column + 1)
    }
}

impl Trouble {
    /// Trouble of a condition as a whole.
    pub(super) fn of_all(cause: impl Into<String>) -> Self {
        Self { cause: cause.into(), at: None }
    }
}

/// An expression, and where its parts stand in the text.
pub(super) struct Source {
    pub(super) expr: Expression,
    info: SourceInfo,
}

impl Source {
    /// Parses a condition.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn parse(text: &str) -> Result<Self, Vec<Trouble>> {
        if text.trim().is_empty() {
            return Err(vec![Trouble::of_all("it is empty")]);
        }
        if text.len() > MAX_BYTES {
            let cause = format!("it has {} bytes, and at most {MAX_BYTES} are allowed", text.len());
            return Err(vec![Trouble::of_all(cause)]);
        }
        let parsed = thread::scope(|scope| {
            let parser = Parser::new().enable_ident_escape_syntax(true);
            let parse = || parser.parse_with_source_info(text);
            // The parser calls itself: on a stack that it cannot use up, and where
            // a panic of it is no more than an error.
            let parser = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, parse);
            parser.ok().and_then(|parser| parser.join().ok())
        });
        let Some(parsed) = parsed else {
            return Err(vec![Trouble::of_all("it cannot be parsed")]);
        };
        let (expr, info) = parsed.map_err(|errors| {
            errors.errors.iter().map(|error| parse_error(text, error)).collect::<Vec<_>>()
        })?;
        if !is_within(&expr, MAX_DEPTH) {
            let cause = format!("it has more than {MAX_DEPTH} levels of nesting");
            return Err(vec![Trouble::of_all(cause)]);
        }
        Ok(Self { expr, info })
    }

    /// As it was written.
    pub(super) fn text(&self) -> &str {
        &self.info.source
    }

    /// Trouble with this part of it.
    pub(super) fn trouble(&self, part: &Expression, cause: impl Into<String>) -> Trouble {
        let at = self
            .info
            .offset_for(part.id)
            .and_then(|(start, _)| line_of(&self.info.source, usize::try_from(start).ok()?));
        Trouble { cause: cause.into(), at }
    }
}

fn parse_error(text: &str, error: &cel::ParseError) -> Trouble {
    let (line, column) = error.pos;
    let line = usize::try_from(line - 1).ok().and_then(|line| text.lines().nth(line));
    let column = usize::try_from(column - 1).unwrap_or(0);
    // What the parser wraps is of its own making.
    let message = error.msg.trim_start_matches("Syntax error: ");
    let cause = if message.contains("has() macro") {
        "has() asks for a field, as has(claims.tenant): write \"name\" in request.headers"
            .to_owned()
    } else if message.contains("expecting '=='") || text.contains(" = ") && !text.contains(" == ") {
        format!("it is not a CEL expression (== compares): {message}")
    } else if message.contains("Recursion limit") {
        format!("it has more than {MAX_DEPTH} levels of nesting")
    } else {
        format!("it is not a CEL expression: {message}")
    };
    Trouble { cause, at: line.map(|line| (line.to_owned(), column.min(line.chars().count()))) }
}

/// The line with the character of this number, and its place there.
fn line_of(text: &str, at: usize) -> Option<(String, usize)> {
    let mut start = 0;
    for line in text.split('\n') {
        let length = line.chars().count();
        if at <= start + length {
            return Some((line.to_owned(), at - start));
        }
        start += length + 1;
    }
    None
}

/// Whether an expression has no more levels than that.
fn is_within(expr: &Expression, levels: usize) -> bool {
    levels > 0 && children(expr).into_iter().all(|child| is_within(child, levels - 1))
}

/// The parts that all have to be true, each with its text: what stands between
/// the `&&` of the outermost level.
pub(super) fn parts<'s>(text: &'s str, expr: &Expression) -> Vec<(&'s str, Expression)> {
    fn collect(expr: &Expression, into: &mut Vec<Expression>) {
        match &expr.expr {
            Expr::Call(call) if call.func_name == operators::LOGICAL_AND => {
                call.args.iter().for_each(|part| collect(part, into));
            }
            _ => into.push(expr.clone()),
        }
    }
    let mut exprs = Vec::new();
    collect(expr, &mut exprs);
    let texts = texts(text);
    if texts.len() == exprs.len() {
        return texts.into_iter().zip(exprs).collect();
    }
    // Parentheses around a conjunction: the parts are told of by the whole.
    exprs.into_iter().map(|expr| (text.trim(), expr)).collect()
}

/// What stands between the `&&` that are in no parentheses and in no text.
fn texts(text: &str) -> Vec<&str> {
    let bytes = text.as_bytes();
    let (mut depth, mut start, mut at) = (0_usize, 0, 0);
    let mut found = Vec::new();
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        match rest {
            [b'/', b'/', ..] => at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len()),
            [b'"' | b'\'', ..] => at += quoted(rest, is_raw(bytes, at)),
            [b'&', b'&', ..] if depth == 0 => {
                found.extend(text.get(start..at));
                at += 2;
                start = at;
            }
            [b'(' | b'[' | b'{', ..] => {
                depth += 1;
                at += 1;
            }
            [b')' | b']' | b'}', ..] => {
                depth = depth.saturating_sub(1);
                at += 1;
            }
            _ => at += 1,
        }
    }
    found.extend(text.get(start..));
    found.into_iter().map(str::trim).collect()
}

/// Whether the quote at this place begins a raw text.
fn is_raw(bytes: &[u8], at: usize) -> bool {
    let before = bytes.get(at.saturating_sub(2)..at).unwrap_or_default();
    before.iter().rev().take_while(|b| b.is_ascii_alphabetic()).any(|b| matches!(b, b'r' | b'R'))
}

/// How long the quoted text is that these bytes begin with.
fn quoted(bytes: &[u8], is_raw: bool) -> usize {
    let Some(&quote) = bytes.first() else { return 0 };
    let end: &[u8] = if bytes.starts_with(&[quote; 3]) { &[quote; 3] } else { &[quote] };
    let mut at = end.len();
    while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
        if rest.starts_with(end) {
            return at + end.len();
        }
        at += if rest.first() == Some(&b'\\') && !is_raw { 2 } else { 1 };
    }
    bytes.len()
}
