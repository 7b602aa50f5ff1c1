//! Tokens for upstreams: made of a credential that was good, for one audience
//! and a minute, signed by a key that everybody can verify by.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::Header;
use serde_json::{Map, Value};

use super::{
    known::Verified,
    mint::{MintError, algorithm, random_id},
    verify::Verifier,
};
use crate::clock::Timestamp;

/// How long one lives.
const LIFETIME: Duration = Duration::from_secs(60);
/// How much of that is left at least when an upstream gets it.
const LEAST_LEFT: Duration = Duration::from_secs(10);
/// The most that those of one credential have that are remembered, in bytes; the
/// last one is in any case.
const MAX_BYTES: usize = 8 * 1024;

/// One that was made.
#[derive(Clone)]
struct Minted {
    audience: Arc<str>,
    /// It is not handed out from then on.
    until: Timestamp,
    /// With its scheme, as it stands in a header.
    bearer: Arc<str>,
}

/// Those that were made of one credential.
#[derive(Default)]
pub(super) struct MintedTokens {
    all: ArcSwapOption<Vec<Minted>>,
    /// Held by who signs: one signature a minute and audience.
    signing: Mutex<()>,
}

impl MintedTokens {
    fn find(&self, audience: &str, now: Timestamp) -> Option<Arc<str>> {
        let all = self.all.load();
        // Not one of a time that lies ahead, when a clock has been set back.
        let fits = |minted: &&Minted| {
            let is_of_now = now < minted.until && minted.until <= now.plus(LIFETIME);
            is_of_now && *minted.audience == *audience
        };
        all.as_ref()?.iter().find(fits).map(|minted| Arc::clone(&minted.bearer))
    }

    fn put(&self, minted: Minted, now: Timestamp) {
        let mut all = vec![minted];
        if let Some(before) = &*self.all.load() {
            let stays = |old: &&Minted| {
                now < old.until && all.iter().all(|new| new.audience != old.audience)
            };
            let kept: Vec<Minted> = before.iter().filter(stays).cloned().collect();
            all.extend(kept);
        }
        let mut bytes = 0;
        let fits = |minted: &&Minted| {
            bytes += minted.bearer.len();
            bytes <= MAX_BYTES
        };
        let count = all.iter().take_while(fits).count();
        all.truncate(count.max(1));
        self.all.store(Some(Arc::new(all)));
    }
}

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
