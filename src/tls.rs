//! TLS of the listeners: certificates that can be exchanged while they serve,
//! and the connections that use them.

use std::{
    fmt, io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
    time::{Duration, Instant},
};

use ::aws_lc_rs::digest;
use arc_swap::ArcSwap;
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
    server::WebPkiClientVerifier,
};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::{Accept, TlsAcceptor, server::TlsStream};
use tokio_util::sync::CancellationToken;
use x509_cert::{Certificate, der::Decode as _};

use crate::places::Seated;

/// How often a failed handshake is told of: whoever connects can fail.
const COMPLAINT_PAUSE: Duration = Duration::from_secs(1);

/// Why there can be no TLS. The texts name no content of the files.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TlsError {
    /// There is no certificate in the file, or something else as well.
    #[error("it contains no PEM certificate, or a broken one")]
    Certificate,
    /// There is no key in the file.
    #[error("it contains no PEM private key, or a broken or encrypted one")]
    Key,
    /// There is no certificate of an authority in the file.
    #[error("it contains no PEM certificate of an authority, or a broken one")]
    ClientCa,
    /// The key is another's, or of a kind that is not supported.
    #[error("the key does not belong to the first certificate, the server's own: {0}")]
    Mismatch(String),
}

/// What a listener shows, and what it asks to be shown.
#[derive(Clone)]
pub struct Tls {
    server: Arc<ServerConfig>,
    expires: i64,
    asks_clients: bool,
    /// What it is made of.
    digest: [u8; 32],
}

/// Without the key.
impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tls").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Tls {
    /// TLS 1.2 and 1.3 with this chain and key, in PEM; with the certificates
    /// of authorities, for clients alone that show a certificate of theirs.
    /// `protocol` is what is spoken within (ALPN).
    ///
    /// # Errors
    ///
    /// [`TlsError`].
    pub fn new(
        chain: &[u8],
        key: &[u8],
        client_ca: Option<&[u8]>,
        protocol: &[u8],
    ) -> Result<Self, TlsError> {
        let mut digest = digest::Context::new(&digest::SHA256);
        for part in [chain, key, client_ca.unwrap_or_default()] {
            digest.update(&part.len().to_be_bytes());
            digest.update(part);
        }
        let digest = digest.finish().as_ref().try_into().unwrap_or_default();
        let chain = certificates(chain).ok_or(TlsError::Certificate)?;
        let expires = chain.iter().map(expiry).min().flatten().ok_or(TlsError::Certificate)?;
        let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| TlsError::Key)?;
        let mismatch = |error: rustls::Error| TlsError::Mismatch(error.to_string());
        let provider = Arc::new(aws_lc_rs::default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(mismatch)?;
        let builder = match client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => {
                let mut roots = RootCertStore::empty();
                for authority in certificates(authorities).ok_or(TlsError::ClientCa)? {
                    roots.add(authority).map_err(|_| TlsError::ClientCa)?;
                }
                let verifier =
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .map_err(|_| TlsError::ClientCa)?;
                builder.with_client_cert_verifier(verifier)
            }
        };
        let mut server = builder.with_single_cert(chain, key).map_err(mismatch)?;
        server.alpn_protocols = vec![protocol.to_vec()];
        Ok(Self { server: Arc::new(server), expires, asks_clients: client_ca.is_some(), digest })
    }

    /// Whether clients have to show a certificate.
    #[must_use]
    pub fn asks_clients(&self) -> bool {
        self.asks_clients
    }

    /// When the first certificate of the chain expires, in seconds since 1970.
    #[must_use]
    pub fn expires(&self) -> i64 {
        self.expires
    }
}

/// All certificates in it; `None` for none, or for one that is broken.
fn certificates(pem: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    all.ok().filter(|all| !all.is_empty())
}

fn expiry(certificate: &CertificateDer<'_>) -> Option<i64> {
    let certificate = Certificate::from_der(certificate).ok()?;
    let end = certificate.tbs_certificate.validity.not_after.to_unix_duration();
    i64::try_from(end.as_secs()).ok()
}

/// What new connections get, and when those that got it are to leave.
#[derive(Debug, Default)]
struct Current {
    tls: Option<Tls>,
    leave: CancellationToken,
}

/// The TLS that a listener has at the moment, if any.
#[derive(Debug, Default)]
pub struct TlsSwitch {
    current: ArcSwap<Current>,
    complained: Mutex<Option<Instant>>,
}

impl TlsSwitch {
    /// What new connections get. Where it is another, sessions of the earlier
    /// one are not resumed and its connections are asked to leave, so that
    /// whoever is not trusted any more does not stay.
    pub fn set(&self, tls: Option<&Tls>) {
        let before = self.current.load();
        if before.tls.as_ref().map(|tls| tls.digest) != tls.map(|tls| tls.digest) {
            let leave = CancellationToken::new();
            self.current.store(Arc::new(Current { tls: tls.cloned(), leave }));
            before.leave.cancel();
        }
    }

    /// A connection that has come, of which nothing is read yet, and when it is
    /// to leave.
    pub(crate) fn accept(self: &Arc<Self>, stream: Seated) -> (Wire, CancellationToken) {
        let current = self.current.load();
        let wire = match &current.tls {
            None => Wire::Plain(stream),
            Some(tls) => {
                let accept = TlsAcceptor::from(Arc::clone(&tls.server)).accept(stream);
                Wire::Handshake(Box::new(accept), Arc::clone(self))
            }
        };
        (wire, current.leave.clone())
    }

    fn complain(&self, error: &io::Error) {
        let mut last = self.complained.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|at| at.elapsed() >= COMPLAINT_PAUSE) {
            *last = Some(Instant::now());
            tracing::warn!(
                %error,
                fix = "connect with TLS, trust the certificate, and show one where client_ca_file is set",
                "a connection was refused in the TLS handshake"
            );
        }
    }
}

/// A connection, with or without TLS.
pub(crate) enum Wire {
    Plain(Seated),
    Handshake(Box<Accept<Seated>>, Arc<TlsSwitch>),
    Tls(Box<TlsStream<Seated>>),
    /// The handshake has failed: there is nobody to speak with.
    Failed,
}

impl Wire {
    /// Ready when the handshake is done. Whoever waits sets the limit.
    pub(crate) fn poll_ready(&mut self, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Self::Handshake(accept, switch) = self {
            let accepted = ready!(Pin::new(accept.as_mut()).poll(task));
            let accepted = accepted.inspect_err(|error| switch.complain(error));
            // A handshake that has ended must not be polled again.
            *self = accepted.map_or(Self::Failed, |stream| Self::Tls(Box::new(stream)));
        }
        match self {
            Self::Failed => Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into())),
            _ => Poll::Ready(Ok(())),
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(task))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_read(task, buffer),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_read(task, buffer),
            Self::Handshake(..) | Self::Failed => Poll::Pending,
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(task))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write(task, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write(task, bytes),
            Self::Handshake(..) | Self::Failed => Poll::Pending,
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        task: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_ready(task))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(task, bytes),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_write_vectored(task, bytes),
            Self::Handshake(..) | Self::Failed => Poll::Pending,
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_ready(task))?;
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_flush(task),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_flush(task),
            Self::Handshake(..) | Self::Failed => Poll::Pending,
        }
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, task: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut *self {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(task),
            Self::Tls(stream) => Pin::new(stream.as_mut()).poll_shutdown(task),
            // There is nobody yet to say farewell to.
            Self::Handshake(..) | Self::Failed => Poll::Ready(Ok(())),
        }
    }
}
