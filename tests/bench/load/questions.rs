//! The questions: one that stands, or one after the other with a token of its
//! own.

use std::{ops::Range, path::Path};

use aws_lc_rs::hmac;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};

/// Makes questions, as they go over the wire.
pub(crate) struct Questions {
    bytes: Vec<u8>,
    renewal: Option<Renewal>,
}

/// What of the question changes: all of it keeps its length, since lengths
/// stand before everything in a message.
struct Renewal {
    key: hmac::Key,
    /// Where the token is in the question.
    token: Range<usize>,
    /// `header.` in base64url.
    head: String,
    claims: String,
    /// Where in the claims the value of `jti` is.
    id: Range<usize>,
    count: u64,
}

impl Questions {
    /// Renewed tokens are numbered from `count` on.
    pub(crate) fn new(bytes: Vec<u8>, key: Option<&Path>, count: u64) -> Self {
        let read = |key| std::fs::read(key).expect("the key");
        let renewal = key.map(|key| Renewal::new(&bytes, &read(key), count));
        Self { bytes, renewal }
    }

    /// Of each of them, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn next(&mut self) -> &[u8] {
        if let Some(renewal) = &mut self.renewal {
            let token = renewal.next();
            self.bytes[renewal.token.clone()].copy_from_slice(token.as_bytes());
        }
        &self.bytes
    }
}

impl Renewal {
    fn new(bytes: &[u8], key: &[u8], count: u64) -> Self {
        let scheme = b"Bearer ";
        let at = bytes.windows(scheme.len()).position(|window| window == scheme);
        let at = at.expect("a bearer token") + scheme.len();
        let is_of_token = |byte: &&u8| byte.is_ascii_alphanumeric() || b"-_.".contains(byte);
        let token: Vec<u8> = bytes[at..].iter().take_while(is_of_token).copied().collect();
        let token = String::from_utf8(token).unwrap();
        let mut parts = token.split('.');
        let head = format!("{}.", parts.next().unwrap());
        let claims = URL_SAFE_NO_PAD.decode(parts.next().expect("claims")).unwrap();
        let claims = String::from_utf8(claims).unwrap();
        let from = claims.find(r#""jti":""#).expect("a jti") + r#""jti":""#.len();
        let length = claims[from..].find('"').unwrap();
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            token: at..at + token.len(),
            head,
            claims,
            id: from..from + length,
            count,
        }
    }

    fn next(&mut self) -> String {
        self.count += 1;
        let id = format!("{:0width$}", self.count, width = self.id.len());
        self.claims.replace_range(self.id.clone(), &id);
        let mut token = self.head.clone();
        URL_SAFE_NO_PAD.encode_string(&self.claims, &mut token);
        let tag = hmac::sign(&self.key, token.as_bytes());
        token.push('.');
        URL_SAFE_NO_PAD.encode_string(tag, &mut token);
        token
    }
}
