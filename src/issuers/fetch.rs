//! Asking an issuer over the network, within limits.

use std::time::Duration;

use http::{HeaderMap, Request, StatusCode, header};
use reqwest::{Certificate, Client, redirect};
use thiserror::Error;
use url::Url;

/// How long a whole answer may take.
const TIMEOUT: Duration = Duration::from_secs(5);
/// The longest answer, in bytes.
const MAX_ANSWER_BYTES: usize = 1024 * 1024;

/// What is asked for: some know their keys by the type of RFC 7517, section 8.5.2,
/// alone.
const DOCUMENT: &str = "application/json, application/jwk-set+json";

/// How many redirects are followed within one origin.
const MAX_REDIRECTS: usize = 3;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FetchError {
    /// It did not come in time.
    #[error("no answer within 5 seconds")]
    TimedOut,
    /// It is longer than anything that is expected.
    #[error("the answer is longer than 1 MiB")]
    TooLong,
    /// It cannot be reached.
    #[error("{0}")]
    Failed(String),
    /// It has nothing, or something else.
    #[error("it answered with the status {0}")]
    Status(StatusCode),
    /// It is not what it should be.
    #[error("{0}")]
    Garbled(String),
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

/// Asks an issuer. Nothing that is asked with a secret follows a redirect, and
/// nothing else one to another origin.
#[derive(Clone, Debug)]
pub struct Fetch {
    still: Client,
    following: Client,
}

impl Fetch {
    /// Asks over TLS alone, unless it need not be; with these certificates of
    /// authorities, in PEM, in the place of the usual ones.
    ///
    /// # Errors
    ///
    /// [`FetchError::Failed`] for certificates that are none.
    pub fn new(https_only: bool, authorities: Option<&[u8]>) -> Result<Self, FetchError> {
        let authorities = authorities.map(Certificate::from_pem_bundle).transpose()?;
        let client = |redirects| {
            let builder = Client::builder()
                .timeout(TIMEOUT)
                .redirect(redirects)
                .https_only(https_only)
                .user_agent(concat!("portcullis/", env!("CARGO_PKG_VERSION")));
            // What is asked without TLS is on this machine, or on a way of which
            // somebody has said that nobody is on it.
            let builder = if https_only { builder } else { builder.no_proxy() };
            match &authorities {
                Some(authorities) => builder.tls_certs_only(authorities.clone()),
                None => builder,
            }
            .build()
        };
        let within_origin = redirect::Policy::custom(|attempt| {
            let from = attempt.previous().first().map(Url::origin);
            let is_own = from.as_ref() == Some(&attempt.url().origin());
            if is_own && attempt.previous().len() <= MAX_REDIRECTS {
                attempt.follow()
            } else {
                attempt.stop()
            }
        });
        Ok(Self { still: client(redirect::Policy::none())?, following: client(within_origin)? })
    }

    /// The answer to a request, whole, and not followed anywhere.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn send(
        &self,
        request: Request<Vec<u8>>,
    ) -> Result<http::Response<Vec<u8>>, FetchError> {
        whole(&self.still, request).await
    }

    /// A document that everybody may read: its bytes and the headers of the
    /// answer; no bytes when it is still that of this entity tag.
    ///
    /// # Errors
    ///
    /// [`FetchError`].
    pub async fn document(
        &self,
        url: &Url,
        etag: Option<&str>,
    ) -> Result<(Option<Vec<u8>>, HeaderMap), FetchError> {
        let mut request = Request::builder().uri(url.as_str()).header(header::ACCEPT, DOCUMENT);
        if let Some(etag) = etag {
            request = request.header(header::IF_NONE_MATCH, etag);
        }
        let request = request.body(Vec::new());
        let request = request.map_err(|error| FetchError::Failed(error.to_string()))?;
        let (parts, body) = whole(&self.following, request).await?.into_parts();
        match parts.status {
            StatusCode::OK => Ok((Some(body), parts.headers)),
            StatusCode::NOT_MODIFIED if etag.is_some() => Ok((None, parts.headers)),
            status => Err(FetchError::Status(status)),
        }
    }
}

async fn whole(
    client: &Client,
    request: Request<Vec<u8>>,
) -> Result<http::Response<Vec<u8>>, FetchError> {
    let mut response = client.execute(request.try_into()?).await?;
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
