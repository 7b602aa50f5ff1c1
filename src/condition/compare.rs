//! Values, and how two of them compare (cel-spec, "Equality" and "Ordering").

use std::{borrow::Cow, cmp::Ordering};

use serde_json::Value;

use super::problem::Problem;

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
}

impl Constant {
    /// Numbers are what they are worth.
    pub(super) fn equals(&self, other: &Self) -> bool {
        Found::constant(self).equals(&Found::constant(other))
    }
}

/// A value, as it is compared.
#[derive(Debug)]
pub(super) enum Found<'f> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'f, str>),
    Texts(Vec<Cow<'f, str>>),
    List(&'f [Value]),
    Map(&'f serde_json::Map<String, Value>),
}

impl<'f> Found<'f> {
    pub(super) fn constant(constant: &'f Constant) -> Self {
        match constant {
            Constant::Null => Self::Null,
            Constant::Bool(is) => Self::Bool(*is),
            Constant::Int(int) => Self::Int(*int),
            Constant::Uint(uint) => Self::Uint(*uint),
            Constant::Double(double) => Self::Double(*double),
            Constant::Text(text) => Self::Text(Cow::Borrowed(text)),
        }
    }

    pub(super) fn json(value: &'f Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(is) => Self::Bool(*is),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Self::Int(int),
                (_, Some(uint)) => Self::Uint(uint),
                _ => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::List(items),
            Value::Object(members) => Self::Map(members),
        }
    }

    /// Values of different types are not equal; numbers are what they are worth.
    pub(super) fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Texts(a), Self::Texts(b)) => a == b,
            (Self::Texts(texts), Self::List(items)) | (Self::List(items), Self::Texts(texts)) => {
                texts.len() == items.len()
                    && texts.iter().zip(*items).all(|(text, item)| item == &**text)
            }
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len()
                    && a.iter().zip(*b).all(|(a, b)| Self::json(a).equals(&Self::json(b)))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(name, value)| {
                        let value = Found::json(value);
                        b.get(name).is_some_and(|other| value.equals(&Found::json(other)))
                    })
            }
            (a, b) => a.compare_numbers(b) == Some(Ordering::Equal),
        }
    }

    pub(super) fn compare(&self, other: &Self) -> Result<Ordering, Problem> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Ok(a.cmp(b)),
            (a, b) => a.compare_numbers(b).ok_or(Problem::WrongType),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "cel-spec compares with a double as doubles")]
    fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        use Found::{Double, Int, Uint};
        match (self, other) {
            (Int(a), Int(b)) => Some(a.cmp(b)),
            (Uint(a), Uint(b)) => Some(a.cmp(b)),
            (Int(a), Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Uint(a), Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Double(a), Double(b)) => a.partial_cmp(b),
            (Int(a), Double(b)) => (*a as f64).partial_cmp(b),
            (Double(a), Int(b)) => a.partial_cmp(&(*b as f64)),
            (Uint(a), Double(b)) => (*a as f64).partial_cmp(b),
            (Double(a), Uint(b)) => a.partial_cmp(&(*b as f64)),
            _ => None,
        }
    }
}
