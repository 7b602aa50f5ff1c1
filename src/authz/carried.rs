//! What a request can carry to say whom it is from.

use std::borrow::Cow;

/// The longest credential, in bytes.
pub(super) const MAX_CREDENTIAL_BYTES: usize = 8 * 1024;

/// What a credential is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CredentialKind {
    /// A token.
    Token,
    /// A key for machines.
    ApiKey,
}

/// The credential of a request.
pub(super) enum Credential<'a> {
    /// A token.
    Token(Cow<'a, str>),
    /// A key of this service.
    Key(Cow<'a, str>),
    /// A key of somebody else's making.
    Foreign(Cow<'a, str>),
}

impl Credential<'_> {
    pub(super) fn fits(&self) -> bool {
        let (Self::Token(text) | Self::Key(text) | Self::Foreign(text)) = self;
        text.len() <= MAX_CREDENTIAL_BYTES
    }
}
