//! Who a request is from: its credential, and what that says.

use super::{
    CheckInput, Forward, Reason,
    carried::Credential,
    decision::Denial,
    engine::Engine,
    identified::{Identified, Proof},
};
use crate::{
    api_key::{GoodKey, KeyHash, KeyId, KeyRefusal, KeyText, Shown},
    clock::Timestamp,
};

impl Engine {
    /// Who a request to this service itself is from, whatever the rules say.
    ///
    /// # Errors
    ///
    /// The [`Denial`] to answer with.
    pub fn authenticate<'a>(
        &self,
        input: &CheckInput<'a>,
        now: Timestamp,
    ) -> Result<Identified<'a>, Denial> {
        if !self.verifier.revocations().is_loaded() {
            return Err(Denial::of(Reason::NotReady));
        }
        let identified = self.identify(input, &self.credentials.forward, now);
        match identified.map_err(Denial::of)? {
            // A key begins no session, and ends none.
            Identified { proof: Proof::Key(_), .. } => Err(Denial::of(Reason::CredentialKind)),
            identified => Ok(identified),
        }
    }

    /// Who the request is from.
    pub(super) fn identify<'a>(
        &self,
        input: &CheckInput<'a>,
        forward: &Forward,
        now: Timestamp,
    ) -> Result<Identified<'a>, Reason> {
        let shown = Shown { address: input.source_address, now };
        let good = match (self.credentials.find(input, forward)?, &self.api_keys) {
            (Credential::Token(token), _) => {
                let verified = self.verifier.verify(&token, now).map_err(Reason::Token)?;
                return Ok(Identified { verified, proof: Proof::Token(token) });
            }
            (Credential::Key(key), Some(keys)) => keys.verify(&key, shown, &self.verifier),
            (Credential::Foreign(key), Some(keys)) => {
                keys.verify_foreign(&key, shown, &self.verifier)
            }
            (Credential::Key(_) | Credential::Foreign(_), None) => Err(KeyRefusal::Malformed),
        };
        let GoodKey { id, verified } = good.map_err(|refusal| match refusal {
            KeyRefusal::NotReady => Reason::NotReady,
            refusal => Reason::Key(refusal),
        })?;
        Ok(Identified { verified, proof: Proof::Key(id) })
    }

    /// What names the key of a request, also of one that is not accepted.
    pub(super) fn key_id(
        &self,
        identity: &Result<Identified<'_>, Reason>,
        input: &CheckInput<'_>,
    ) -> Option<KeyId> {
        match identity {
            Ok(identified) => identified.key_id(),
            // Also of one that is not whole: each costs the same.
            Err(Reason::Key(refusal)) => {
                match self.credentials.find(input, &self.credentials.forward).ok()? {
                    Credential::Key(key) => KeyText::parse(&key).map(|key| key.id),
                    // Of one that nobody knows, that would tell what it is.
                    Credential::Foreign(_) if *refusal == KeyRefusal::UnknownId => None,
                    Credential::Foreign(key) => Some(KeyHash::of(&key).as_id()),
                    Credential::Token(_) => None,
                }
            }
            Err(_) => None,
        }
    }

    /// Whether the token of a request was signed by one of the keys in lower
    /// case: what to tell an operator of a bad signature.
    #[must_use]
    pub fn is_signed_in_lower_case(&self, input: &CheckInput<'_>) -> bool {
        match self.credentials.find(input, &self.credentials.forward) {
            Ok(Credential::Token(token)) => self.verifier.is_signed_in_lower_case(&token),
            _ => false,
        }
    }
}
