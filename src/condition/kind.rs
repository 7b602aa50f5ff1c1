//! The types of values, as far as they are known before a request comes.

use std::fmt;

/// A type of CEL (cel-spec, "Values").
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Known when the value is.
    Any,
    Null,
    Bool,
    Int,
    Uint,
    Double,
    Text,
    Bytes,
    Time,
    Span,
    /// A type as a value.
    Type,
    List(Box<Kind>),
    Map(Box<Kind>, Box<Kind>),
    /// One of the objects with fields of its own.
    Object(super::facts::Object),
}

impl Kind {
    pub(super) fn list(of: Self) -> Self {
        Self::List(Box::new(of))
    }

    pub(super) fn map(keys: Self, values: Self) -> Self {
        Self::Map(Box::new(keys), Box::new(values))
    }

    pub(super) fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Uint | Self::Double)
    }

    /// Whether a value of the one type may equal one of the other: numbers are
    /// compared by what they are worth.
    pub(super) fn may_equal(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(a), Self::List(b)) => a.may_equal(b),
            (Self::Map(a, b), Self::Map(c, d)) => a.may_equal(c) && b.may_equal(d),
            (a, b) => a == b || a.is_number() && b.is_number(),
        }
    }

    /// Whether the one may be less than the other.
    pub(super) fn may_order(&self, other: &Self) -> bool {
        let is_ordered = |kind: &Self| {
            kind.is_number()
                || matches!(
                    kind,
                    Self::Any | Self::Bool | Self::Text | Self::Bytes | Self::Time | Self::Span
                )
        };
        is_ordered(self) && is_ordered(other) && self.may_equal(other)
    }

    /// What both of two values are.
    pub(super) fn join(self, other: Self) -> Self {
        match (self, other) {
            (a, b) if a == b => a,
            (Self::List(a), Self::List(b)) => Self::list(a.join(*b)),
            (Self::Map(a, b), Self::Map(c, d)) => Self::map(a.join(*c), b.join(*d)),
            _ => Self::Any,
        }
    }

    /// Whether a value of this type may be where one of `wanted` is asked for.
    pub(super) fn fits(&self, wanted: &Self) -> bool {
        match (self, wanted) {
            (Self::Any, _) | (_, Self::Any) => true,
            (Self::List(a), Self::List(b)) => a.fits(b),
            (Self::Map(a, b), Self::Map(c, d)) => a.fits(c) && b.fits(d),
            (a, b) => a == b,
        }
    }
}

/// By its name in CEL.
impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Any => "dyn",
            Self::Null => "null",
            Self::Bool => "bool",
            Self::Int => "int",
            Self::Uint => "uint",
            Self::Double => "double",
            Self::Text => "string",
            Self::Bytes => "bytes",
            Self::Time => "timestamp",
            Self::Span => "duration",
            Self::Type => "type",
            Self::List(of) => return write!(f, "list({of})"),
            Self::Map(keys, values) => return write!(f, "map({keys}, {values})"),
            Self::Object(object) => object.as_str(),
        })
    }
}
