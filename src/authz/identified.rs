//! Who somebody has proved to be, and by what.

use std::{borrow::Cow, fmt, sync::Arc};

use super::CredentialKind;
use crate::{
    api_key::KeyId,
    token::{Claims, Verified},
};

/// A good credential: what it says, and itself.
pub struct Identified<'a> {
    /// What it says.
    pub verified: Arc<Verified>,
    /// What it was.
    pub proof: Proof<'a>,
}

/// What somebody has proved themselves by.
pub enum Proof<'a> {
    /// A token, for forwarding it.
    Token(Cow<'a, str>),
    /// The key of this id.
    Key(KeyId),
}

/// Without the token.
impl fmt::Debug for Proof<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Token(_) => f.write_str("Token"),
            Self::Key(id) => f.debug_tuple("Key").field(id).finish(),
        }
    }
}

/// Without the token.
impl fmt::Debug for Identified<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Identified").field("claims", self.claims()).finish_non_exhaustive()
    }
}

impl Identified<'_> {
    /// What names the key that it was.
    #[must_use]
    pub fn key_id(&self) -> Option<KeyId> {
        match self.proof {
            Proof::Key(id) => Some(id),
            Proof::Token(_) => None,
        }
    }

    /// The token that it was.
    #[must_use]
    pub fn token(&self) -> Option<&str> {
        match &self.proof {
            Proof::Token(token) => Some(token),
            Proof::Key(_) => None,
        }
    }

    pub(super) fn kind(&self) -> CredentialKind {
        match self.proof {
            Proof::Token(_) => CredentialKind::Token,
            Proof::Key(_) => CredentialKind::ApiKey,
        }
    }

    /// Its claims.
    #[must_use]
    pub fn claims(&self) -> &Arc<Claims> {
        &self.verified.claims
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::token::tests::claims_of;

    #[test]
    fn whoever_prints_it_sees_who_it_is_and_no_token() {
        let verified = Verified::of_key("name", claims_of("ann"), Map::new());
        let proof = Proof::Token("secret".into());
        assert_eq!(format!("{proof:?}"), "Token");
        let shown = format!("{:?}", Identified { verified: Arc::new(verified), proof });
        assert!(shown.starts_with("Identified { claims: Claims {"), "{shown}");
        assert!(shown.contains("ann") && !shown.contains("secret"), "{shown}");
    }
}
