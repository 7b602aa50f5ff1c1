//! Asking the provider, within limits.

use std::time::Duration;

use reqwest::{Client, redirect};
use thiserror::Error;

/// How long a whole answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum FetchError {
    /// It did not come in time.
    #[error("no answer within 5 seconds")]
    TimedOut,
    /// It is longer than anything that is expected.
    #[error("the answer is longer than 1 MiB")]
    TooLong,
    /// It cannot be reached.
    #[error("{0}")]
    Failed(String),
}

impl From<reqwest::Error> for FetchError {
    fn from(error: reqwest::Error) -> Self {
        if error.is_timeout() {
            return Self::TimedOut;
        }
        // The address holds nothing secret, yet the log has it already.
        let error = error.without_url();
        let mut text = error.to_string();
        let mut cause = std::error::Error::source(&error);
        while let Some(inner) = cause {
            text = inner.to_string();
            cause = inner.source();
        }
        Self::Failed(text)
    }
}

/// Asks a provider; follows no redirect, so that no secret goes elsewhere.
#[derive(Clone, Debug)]
pub(super) struct Fetch(Client);

impl Fetch {
    pub(super) fn new(https_only: bool) -> Result<Self, FetchError> {
        let client = Client::builder()
            .timeout(TIMEOUT)
            .redirect(redirect::Policy::none())
            .https_only(https_only)
            .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")))
            .build()?;
        Ok(Self(client))
    }

    /// The answer to a request, whole.
    pub(super) async fn send(
        &self,
        request: http::Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        let mut response = self.0.execute(request.try_into()?).await?;
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await? {
            if body.len() + chunk.len() > MAX_ANSWER_BYTES {
                return Err(FetchError::TooLong);
            }
            body.extend_from_slice(&chunk);
        }
        let mut whole = http::Response::new(body);
        *whole.status_mut() = response.status();
        *whole.headers_mut() = std::mem::take(response.headers_mut());
        Ok(whole)
    }
}
