//! Secrets that are made here and shown once: codes, states, verifiers.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use secrecy::SecretString;

use crate::store::StoreError;

/// The length of 256 bits as base64url.
const CHARACTERS: usize = 43;

/// 256 random bits as base64url.
///
/// # Errors
///
/// [`StoreError::Failed`] when the system has no random numbers.
pub(crate) fn random() -> Result<SecretString, StoreError> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes)
        .map_err(|_| StoreError::Failed("no random numbers".into()))?;
    Ok(URL_SAFE_NO_PAD.encode(bytes).into())
}

/// SHA-256 as base64url: the S256 challenge of a verifier (RFC 7636, section
/// 4.2).
pub(crate) fn s256(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// Whether this could be one of [`random`] or [`s256`].
pub(crate) fn is_well_formed(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    text.len() == CHARACTERS && text.bytes().all(plain)
}
