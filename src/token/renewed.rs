//! Tokens that follow another one of the same session: signed here when a part of
//! its life is over, at most one a minute for each session.
//!
//! What was signed is handed to all who ask with a token of that session within the
//! minute, so that any number of requests at once cost one signature. It lives
//! within one [`Verifier`], as the keys that it was signed by.

use std::{sync::Arc, time::Duration};

use jsonwebtoken::Header;
use secrecy::SecretString;
use serde_json::Value;

use super::{
    claims::Claims,
    json::Members,
    jws::{MAX_CLAIMS, Parts, decode},
    known::Verified,
    mint::{MintError, algorithm, random_id},
    renewals::{RenewedSession, RenewedToken},
    verify::Verifier,
};
use crate::clock::Timestamp;

/// This part of a token's life passes before another one follows.
const PART: u32 = 10;

/// How long a session may go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionLimits {
    /// How long a token of it lives: how long one may stay away.
    pub lifetime: Duration,
    /// How long after its sign-in it ends, whatever was renewed.
    pub absolute: Duration,
}

impl SessionLimits {
    /// When a session ends that began then.
    #[must_use]
    pub fn end(&self, began: Timestamp) -> Timestamp {
        began.plus(self.absolute)
    }
}

impl Verifier {
    /// Whether so much of a token's life is over that another one should follow.
    #[must_use]
    pub fn is_due(claims: &Claims, now: Timestamp) -> bool {
        let Some(issued_at) = claims.issued_at.filter(|_| claims.session().is_some()) else {
            return false;
        };
        now >= issued_at.plus(claims.expires_at.since(issued_at) / PART)
    }

    /// A token of the same session that says the same, and lives longer than this
    /// one; the same one for a minute. `None` when none can live longer, when it is
    /// of no session, when there is no key, or no room for another session.
    #[must_use]
    pub fn renewed(
        &self,
        verified: &Verified,
        limits: SessionLimits,
        now: Timestamp,
    ) -> Option<Arc<RenewedToken>> {
        let claims = &verified.claims;
        let (_, began) = claims.session()?;
        let end = now.plus(limits.lifetime).min(limits.end(began));
        let end = Timestamp::from_secs(end.as_secs());
        if end <= claims.expires_at || end <= now || self.keys().is_empty() {
            return None;
        }
        let slot = self.renewals.slot(verified.session_name()?, verified, now)?;
        if !slot.is_for(claims) {
            return None;
        }
        let token = slot.token.get_or_init(|| {
            let token = self.follow(verified, end, now).ok()?;
            Some(Arc::new(RenewedToken { token, expires_at: end }))
        });
        token.clone().filter(|token| token.expires_at > claims.expires_at)
    }

    /// The sessions that were renewed since this was asked last.
    #[must_use]
    pub fn renewed_sessions(&self) -> Vec<RenewedSession> {
        self.renewals.told()
    }

    /// All that a token says, but for its own times and id, signed anew.
    fn follow(
        &self,
        verified: &Verified,
        end: Timestamp,
        now: Timestamp,
    ) -> Result<SecretString, MintError> {
        let key = self.keys().first().ok_or(MintError::NoKey)?;
        let mut header = Header::new(algorithm(key.algorithm()));
        header.kid = key.id().map(str::to_owned);
        let payload = Parts::split(verified.text()).and_then(|parts| decode(parts.payload));
        let payload = payload.map_err(|_| MintError::Signing)?;
        let payload = Members::parse(&payload, MAX_CLAIMS).map_err(|_| MintError::Signing)?;
        let mut payload = payload.to_map();
        payload.remove("nbf");
        let own: [(&str, Value); 3] = [
            ("iat", now.as_secs().into()),
            ("exp", end.as_secs().into()),
            ("jti", random_id()?.into()),
        ];
        payload.extend(own.map(|(name, value)| (name.to_owned(), value)));
        jsonwebtoken::encode(&header, &payload, key.signing())
            .map(SecretString::from)
            .map_err(|_| MintError::Signing)
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::token::{Minter, NewToken, SessionClaims, UserId, tests::verifier};

    #[test]
    fn a_token_is_followed_by_one_that_lives_longer_and_never_by_itself() {
        let at = |secs: i64| Timestamp::from_secs(1_800_000_000 + secs);
        let verifier = verifier();
        let lifetime = Duration::from_secs(1000);
        let user_id = UserId::new("7").unwrap();
        let new = NewToken {
            name: "ann",
            user_id: &user_id,
            role: verifier.roles().get("ADMIN").unwrap(),
            email: None,
            lifetime,
            login_method: None,
            session: Some(SessionClaims { id: "s", began: at(0) }),
        };
        let first = Minter::new(&verifier).mint(&new, at(0)).unwrap();
        let accepted =
            |token: &SecretString, secs| verifier.verify(token.expose_secret(), at(secs)).unwrap();
        let first = accepted(&first, 100);
        assert!(Verifier::is_due(&first.claims, at(100)));
        assert!(!Verifier::is_due(&first.claims, at(99)));
        let limits = SessionLimits { lifetime, absolute: Duration::from_secs(5000) };
        let next = verifier.renewed(&first, limits, at(100)).unwrap();
        assert_eq!(next.expires_at, at(1100));
        // Whoever else asks within the minute has the same; with that itself, none.
        let again = verifier.renewed(&first, limits, at(130)).unwrap();
        assert!(Arc::ptr_eq(&next, &again));
        let own = accepted(&next.token, 130);
        assert!(verifier.renewed(&own, limits, at(130)).is_none());
        // None outlives the session, nor the one before.
        let short = SessionLimits { absolute: Duration::from_secs(1000), ..limits };
        assert!(verifier.renewed(&first, short, at(200)).is_none());
        let longer = SessionLimits { absolute: Duration::from_secs(1001), ..limits };
        assert_eq!(verifier.renewed(&first, longer, at(200)).unwrap().expires_at, at(1001));
    }
}
