//! Tokens for upstreams: made of a credential that was good, for one audience
//! and a minute, signed by a key that everybody can verify by.

use std::{
    sync::{Arc, PoisonError},
    time::Duration,
};

use jsonwebtoken::Header;
use serde_json::{Map, Value};

use super::{
    known::Verified,
    mint::{MintError, algorithm, random_id},
    minted_tokens::{LIFETIME, Minted},
    verify::Verifier,
};
use crate::clock::Timestamp;

/// How much of its life is left at least when an upstream gets it.
const LEAST_LEFT: Duration = Duration::from_secs(10);

impl Verifier {
    /// The value of `authorization` by which an upstream of this audience knows
    /// the bearer of a credential: `Bearer` and a token. The same one for most of
    /// a minute.
    ///
    /// # Errors
    ///
    /// [`MintError`]: there is no key to sign it with, or it could not be signed.
    pub fn minted(
        &self,
        verified: &Arc<Verified>,
        audience: &Arc<str>,
        now: Timestamp,
    ) -> Result<Arc<str>, MintError> {
        if let Some(bearer) = verified.minted.find(audience, now) {
            return Ok(bearer);
        }
        // The next request with the same credential has to find it.
        let verified = self.keep(verified);
        let _signing = verified.minted.signing.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bearer) = verified.minted.find(audience, now) {
            return Ok(bearer);
        }
        let (bearer, expires_at) = self.mint_of(&verified, audience, now)?;
        // One that ends with what it was made of cannot be had for longer: it serves
        // to its end, so that the last requests are not signed for one by one.
        let end = Timestamp::from_secs(expires_at.as_secs());
        let is_the_last = expires_at < now.plus(LIFETIME);
        let until = if is_the_last { end } else { end.minus(LEAST_LEFT) };
        let minted = Minted { audience: Arc::clone(audience), until, bearer: Arc::clone(&bearer) };
        verified.minted.put(minted, now);
        Ok(bearer)
    }

    fn mint_of(
        &self,
        verified: &Verified,
        audience: &str,
        now: Timestamp,
    ) -> Result<(Arc<str>, Timestamp), MintError> {
        let key = self.keys().first_pair().ok_or(MintError::NoKey)?;
        let issuer = self.upstream_issuer().ok_or(MintError::NoKey)?;
        let mut header = Header::new(algorithm(key.algorithm()));
        // Of a type that this service takes from nobody (RFC 9068, section 2.1).
        header.typ = Some("at+jwt".to_owned());
        header.kid = key.id().map(str::to_owned);

        let claims = &verified.claims;
        // What it was made of may end sooner; within the leeway, it has ended.
        let leeway = self.settings().leeway;
        let expires_at = now.plus(LIFETIME).min(claims.expires_at.plus(leeway));
        let text = |text: &str| Some(Value::from(text));
        let members = [
            ("iss", text(issuer)),
            ("aud", text(audience)),
            ("sub", text(claims.user_id.as_str())),
            ("name", text(&claims.name)),
            ("email", claims.email.as_deref().and_then(text)),
            ("role", text(self.roles().name(claims.role))),
            ("scope", claims.scope.as_deref().and_then(text)),
            ("act", claims.actor.clone().map(Value::Object)),
            ("sid", claims.session_id.as_deref().and_then(text)),
            ("iat", Some(now.as_secs().into())),
            ("exp", Some(expires_at.as_secs().into())),
            ("jti", Some(random_id()?.into())),
        ];
        let payload: Map<String, Value> = members
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), value?)))
            .collect();
        let token = jsonwebtoken::encode(&header, &payload, key.signing())
            .map_err(|_| MintError::Signing)?;
        Ok((format!("Bearer {token}").into(), expires_at))
    }
}
