//! The verification of a token, from its first byte to its revocation.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{
    claims::Claims,
    json::Members,
    key::KeyRing,
    known::{KnownTokens, name},
    refusal::Refusal,
    revocation::{RevocationList, TokenRef},
    role::Roles,
    shape::TokenShape,
};
use crate::clock::Timestamp;

/// A header is read before anybody has vouched for it: few members will do.
const MAX_HEADER_MEMBERS: usize = 16;
const MAX_CLAIMS: usize = 256;

/// The longest header that is kept, in bytes.
const MAX_KEPT_HEADER: usize = 256;

/// Header parameters by which a token would bring its own key.
const KEYS_IN_HEADER: [&str; 4] = ["jwk", "jku", "x5c", "x5u"];

/// What a token must fulfil beside its signature.
#[derive(Clone, Debug)]
pub struct VerifierSettings {
    /// When set, `iss` must be this.
    pub issuer: Option<String>,
    /// When set, `aud` must name this; when not, a token with an `aud` is
    /// meant for somebody else.
    pub audience: Option<String>,
    /// How far clocks may differ, for `exp`, `nbf` and `iat`.
    pub leeway: Duration,
    /// The longest life of a token, `exp - iat`, or `exp - now` without `iat`;
    /// the leeway comes on top, since that is a matter of clocks, too.
    pub max_lifetime: Duration,
    /// How long a token without `iat` is taken to live: it counts as issued so
    /// long before its `exp`.
    pub assume_lifetime: Option<Duration>,
    /// How tokens are written.
    pub shape: TokenShape,
}

impl VerifierSettings {
    /// For how long a user's cut-off counts: as long as a token could be
    /// accepted that was issued in its second.
    ///
    /// Such a token lives for `max_lifetime`, with a leeway on it where the two
    /// are compared with one, and is accepted for a leeway after its end; any
    /// leeway can be set while the service runs. One without `iat` counts as
    /// issued `max_lifetime` before its end: nobody knows it to be older.
    #[must_use]
    pub fn cut_offs_count_for(&self) -> Duration {
        self.max_lifetime.saturating_add(2 * MAX_LEEWAY + Duration::from_secs(1))
    }
}

/// Verifies tokens: keys, settings, roles and the list of revoked ones.
#[derive(Debug)]
pub struct Verifier {
    keys: KeyRing,
    settings: VerifierSettings,
    roles: Roles,
    revoked: Arc<RevocationList>,
    /// Those that the configuration names, if it names any.
    always_revoked: Option<RevocationList>,
    known: KnownTokens,
    last_header: ArcSwapOption<AcceptedHeader>,
}

/// A header that can be accepted, as it was written.
#[derive(Debug)]
struct AcceptedHeader {
    text: Box<str>,
    kid: Option<String>,
}

/// The most that `leeway` may be: for so long after its end, a revoked token is
/// remembered.
pub const MAX_LEEWAY: Duration = Duration::from_secs(3600);

impl Verifier {
    /// A verifier of these parts.
    #[must_use]
    pub fn new(
        keys: KeyRing,
        settings: VerifierSettings,
        roles: Roles,
        revoked: Arc<RevocationList>,
    ) -> Self {
        Self {
            keys,
            settings,
            roles,
            revoked,
            always_revoked: None,
            known: KnownTokens::default(),
            last_header: ArcSwapOption::empty(),
        }
    }

    /// The same, which refuses what is on this list, too: it is this verifier's
    /// alone, so that the next one need not.
    #[must_use]
    pub fn refusing(self, list: RevocationList) -> Self {
        Self { always_revoked: Some(list).filter(|list| !list.is_empty()), ..self }
    }

    /// The roles that a token may name.
    #[must_use]
    pub fn roles(&self) -> &Roles {
        &self.roles
    }

    /// The list of revoked tokens that is looked into.
    #[must_use]
    pub fn revocations(&self) -> &RevocationList {
        &self.revoked
    }

    /// The key that signs.
    pub(super) fn keys(&self) -> &KeyRing {
        &self.keys
    }

    pub(super) fn settings(&self) -> &VerifierSettings {
        &self.settings
    }

    /// The claims of a token in compact form (RFC 7515, section 3.1) that is
    /// good at the time `now`.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] met. No claim is looked at before a key has
    /// vouched for it.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Claims>, Refusal> {
        let known = self.known.find(token);
        let claims = if let Some(known) = &known {
            Arc::clone(&known.claims)
        } else {
            let claims = Arc::new(self.read(token)?);
            self.known.meet(token, &claims);
            claims
        };
        self.check_times(&claims, now)?;
        self.check_parties(&claims)?;
        let name = || known.as_ref().map_or_else(|| name(token, &claims), |known| known.name());
        let (issued_at, always) = (self.issued_at(&claims), self.always_revoked.as_ref());
        if self.revoked.refuses(&claims, issued_at, name)
            || always.is_some_and(|list| list.refuses(&claims, issued_at, name))
        {
            return Err(Refusal::Revoked);
        }
        Ok(claims)
    }

    /// The claims of a token that one of the keys has signed.
    fn read(&self, token: &str) -> Result<Claims, Refusal> {
        let parts = Parts::split(token)?;
        let header = self.accepted(&parts)?;

        let mut candidates = self.keys.candidates(header.kid.as_deref()).peekable();
        if candidates.peek().is_none() {
            return Err(Refusal::UnknownKey);
        }
        // Decoded to hold it to its canonical spelling, which the
        // comparison of the bytes would not.
        let signature = decode(parts.signature)?;
        if !candidates.any(|key| key.verifies(parts.signing_input, &signature)) {
            return Err(Refusal::BadSignature);
        }

        let payload = decode(parts.payload)?;
        let payload = Members::parse(&payload, MAX_CLAIMS).map_err(|_| Refusal::Malformed)?;
        Claims::read(payload, &self.settings.shape, &self.roles)
    }

    /// The header of a token, when it can be accepted. Nearly all tokens have
    /// the very same one, which is read once.
    fn accepted(&self, parts: &Parts<'_>) -> Result<Arc<AcceptedHeader>, Refusal> {
        if let Some(last) = self.last_header.load_full()
            && *last.text == *parts.header
        {
            return Ok(last);
        }
        let kid = accept_header(&decode(parts.header)?)?;
        let header = Arc::new(AcceptedHeader { text: parts.header.into(), kid });
        if header.text.len() <= MAX_KEPT_HEADER {
            self.last_header.store(Some(Arc::clone(&header)));
        }
        Ok(header)
    }

    /// What names a token that one of the keys has signed, and its end, also
    /// when it would not be accepted now: for revoking it.
    ///
    /// # Errors
    ///
    /// A [`Refusal`] when it is none of ours.
    pub fn name_of(&self, token: &str) -> Result<(TokenRef, Timestamp), Refusal> {
        let claims = self.read(token)?;
        Ok((name(token, &claims), claims.expires_at))
    }

    /// When a token was issued, as far as can be told.
    fn issued_at(&self, claims: &Claims) -> Option<Timestamp> {
        let assumed = || Some(claims.expires_at.minus(self.settings.assume_lifetime?));
        claims.issued_at.or_else(assumed)
    }

    /// Whether a token was signed by one of the keys in lower case: by an issuer
    /// that changes its secret before it uses it. Such a token is refused; this
    /// is for telling the operator what to do.
    #[must_use]
    pub fn is_signed_in_lower_case(&self, token: &str) -> bool {
        let Ok(parts) = Parts::split(token) else { return false };
        let (Ok(header), Ok(signature)) = (self.accepted(&parts), decode(parts.signature)) else {
            return false;
        };
        let mut candidates = self.keys.candidates(header.kid.as_deref());
        candidates.any(|key| key.verifies_in_lower_case(parts.signing_input, &signature))
    }

    fn check_times(&self, claims: &Claims, now: Timestamp) -> Result<(), Refusal> {
        let VerifierSettings { leeway, max_lifetime, .. } = self.settings;
        if now >= claims.expires_at.plus(leeway) {
            return Err(Refusal::Expired);
        }
        let lies_ahead = |time: Option<Timestamp>| time.is_some_and(|time| time > now.plus(leeway));
        if lies_ahead(claims.not_before) || lies_ahead(claims.issued_at) {
            return Err(Refusal::NotYetValid);
        }
        let life = claims.expires_at.since(claims.issued_at.unwrap_or(now));
        // One that lives longer than it is taken to do would count as issued in
        // the future, and outlive a cut-off.
        let outlives = |assumed: Duration| life > assumed.saturating_add(leeway);
        if life > max_lifetime.saturating_add(leeway)
            || (claims.issued_at.is_none() && self.settings.assume_lifetime.is_some_and(outlives))
        {
            return Err(Refusal::LivesTooLong);
        }
        Ok(())
    }

    fn check_parties(&self, claims: &Claims) -> Result<(), Refusal> {
        if let Some(issuer) = &self.settings.issuer
            && claims.issuer.as_ref() != Some(issuer)
        {
            return Err(Refusal::BadIssuer);
        }
        // RFC 7519, section 4.1.3: who does not identify itself with a value
        // of `aud` must refuse a token that has one.
        match (&self.settings.audience, &claims.audience) {
            (None, None) => Ok(()),
            (Some(expected), Some(named)) if named.contains(expected) => Ok(()),
            _ => Err(Refusal::BadAudience),
        }
    }
}

/// Checks the header's parameters, and gives back the `kid` that it names.
fn accept_header(header: &[u8]) -> Result<Option<String>, Refusal> {
    let header = Members::parse(header, MAX_HEADER_MEMBERS).map_err(|_| Refusal::Malformed)?;
    if header.get("alg").and_then(Value::as_str) != Some("HS256") {
        return Err(Refusal::BadAlgorithm);
    }
    if header.get("typ").is_some_and(|typ| typ.as_str() != Some("JWT")) {
        return Err(Refusal::Malformed);
    }
    // RFC 7515, section 4.1.11: an extension that is not understood.
    if header.get("crit").is_some() || KEYS_IN_HEADER.iter().any(|name| header.get(name).is_some())
    {
        return Err(Refusal::Malformed);
    }
    match header.get("kid") {
        None => Ok(None),
        Some(Value::String(kid)) => Ok(Some(kid.clone())),
        Some(_) => Err(Refusal::Malformed),
    }
}

/// The segments of a token in compact form.
struct Parts<'a> {
    header: &'a str,
    payload: &'a str,
    signature: &'a str,
    signing_input: &'a str,
}

impl<'a> Parts<'a> {
    fn split(token: &'a str) -> Result<Self, Refusal> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Refusal::Malformed)?;
        if payload.contains('.') {
            return Err(Refusal::Malformed);
        }
        Ok(Self { header, payload, signature, signing_input })
    }
}

/// Canonical base64url: no padding, no stray bits in the last character.
fn decode(segment: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| Refusal::Malformed)
}

/// Header and claims of a token of which nothing has been verified, for
/// showing to the person who holds it.
///
/// # Errors
///
/// [`Refusal::Malformed`] when it is no JWT at all.
pub fn peek(token: &str) -> Result<(Value, Value), Refusal> {
    let object = |segment| {
        let bytes = decode(segment)?;
        Members::parse(&bytes, MAX_CLAIMS).map(Members::into_value).map_err(|_| Refusal::Malformed)
    };
    let parts = Parts::split(token)?;
    Ok((object(parts.header)?, object(parts.payload)?))
}
