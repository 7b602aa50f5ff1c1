//! Why a condition came to no answer, without a value of the request.

use std::fmt;

use cel::ExecutionError;

use super::facts::Unreadable;

/// Why a condition came to no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// Something that it reads is not there.
    Missing(String),
    /// Something that it names by a value is not there.
    MissingByValue,
    /// A value is of a type with which it cannot be done.
    WrongType,
    /// A value is there, and has no one reading.
    Unreadable(String),
    /// It took more steps than it may.
    TooMuchWork,
    /// A number became too large, or was divided by zero.
    Arithmetic(&'static str),
    /// A function was given what it makes nothing of.
    Function(String),
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(name) => write!(f, "there is no {name}"),
            Self::MissingByValue => {
                f.write_str("something that it names through a value is not there")
            }
            Self::WrongType => f.write_str("a value has a type that does not allow this operation"),
            Self::Unreadable(why) => f.write_str(why),
            Self::TooMuchWork => f.write_str("it took too much work"),
            Self::Arithmetic(what) => f.write_str(what),
            Self::Function(name) => write!(f, "{name}() cannot handle its arguments"),
        }
    }
}

impl From<Unreadable> for Problem {
    fn from(Unreadable(why): Unreadable) -> Self {
        Self::Unreadable(why.to_owned())
    }
}

impl From<ExecutionError> for Problem {
    fn from(error: ExecutionError) -> Self {
        match error {
            ExecutionError::NoSuchKey(name) | ExecutionError::UndeclaredReference(name) => {
                Self::Missing(name.to_string())
            }
            ExecutionError::DivisionByZero(_) | ExecutionError::RemainderByZero(_) => {
                Self::Arithmetic("a number was divided by zero")
            }
            ExecutionError::Overflow(..) => Self::Arithmetic("a number became too large"),
            ExecutionError::IndexOutOfBounds(_) => Self::Missing("such place in the list".into()),
            ExecutionError::FunctionError { function, message } if function == "read" => {
                // Its messages are those of `Unreadable`, which are our own.
                Self::Unreadable(message)
            }
            ExecutionError::FunctionError { function, .. } => Self::Function(function),
            _ => Self::WrongType,
        }
    }
}
