//! Why a provider was of no help.

use thiserror::Error;

use crate::issuers::FetchError;

/// Why the provider was of no help.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProviderError {
    /// It cannot be asked.
    #[error("{what}: {cause}")]
    Unreachable {
        /// What it was asked for.
        what: &'static str,
        /// Why there was no answer.
        cause: String,
    },
    /// It answered with something that is not understood.
    #[error("{what}: {cause}")]
    Garbled {
        /// What it was asked for.
        what: &'static str,
        /// What is wrong with the answer.
        cause: String,
    },
    /// It answered with an error of OAuth (RFC 6749, section 5.2).
    #[error("the provider answered with the error {0}")]
    Refused(String),
}

/// It has answered what is not understood.
pub(super) fn garbled(what: &'static str, cause: impl Into<String>) -> ProviderError {
    ProviderError::Garbled { what, cause: cause.into() }
}

/// It could not be asked, or its answer was none.
pub(super) fn unreachable(what: &'static str) -> impl FnOnce(FetchError) -> ProviderError {
    move |error| match error {
        FetchError::TooLong | FetchError::Status(_) | FetchError::Garbled(_) => {
            garbled(what, error.to_string())
        }
        FetchError::TimedOut | FetchError::Failed(_) => {
            ProviderError::Unreachable { what, cause: error.to_string() }
        }
    }
}
