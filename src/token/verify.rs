//! The verification of a token, from its first byte to its revocation.

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use serde_json::Value;

use super::{
    claims::Claims,
    issuer::Issuer,
    json::Members,
    jws::{Header, MAX_CLAIMS, Parts, decode},
    key::KeyRing,
    known::{KnownTokens, Verified},
    refusal::Refusal,
    renewals::Renewals,
    revocation::{RevocationList, TokenRef},
    role::Roles,
    settings::VerifierSettings,
};
use crate::clock::Timestamp;

/// The longest header that is kept, in bytes.
const MAX_KEPT_HEADER: usize = 256;

/// Verifies tokens: keys, settings, roles and the list of revoked ones.
#[derive(Debug)]
pub struct Verifier {
    keys: KeyRing,
    settings: VerifierSettings,
    roles: Roles,
    revoked: Arc<RevocationList>,
    /// Those that the configuration names, if it names any.
    always_revoked: Option<RevocationList>,
    issuers: Vec<Issuer>,
    /// Whether all that a token says is kept.
    keeps_payloads: bool,
    /// How this service calls itself in tokens for upstreams.
    upstream_issuer: Option<String>,
    known: KnownTokens,
    pub(super) renewals: Renewals,
    last_header: ArcSwapOption<AcceptedHeader>,
}

/// A header that can be accepted, as it was written.
#[derive(Debug)]
struct AcceptedHeader {
    text: Box<str>,
    header: Header,
}

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
            issuers: Vec::new(),
            keeps_payloads: false,
            upstream_issuer: None,
            known: KnownTokens::default(),
            renewals: Renewals::default(),
            last_header: ArcSwapOption::empty(),
        }
    }

    /// The same, which refuses what is on this list, too: it is this verifier's
    /// alone, so that the next one need not.
    #[must_use]
    pub fn refusing(self, list: RevocationList) -> Self {
        Self { always_revoked: Some(list).filter(|list| !list.is_empty()), ..self }
    }

    /// The same, which accepts the tokens of these issuers, too. Each has an
    /// `iss` of its own.
    #[must_use]
    pub fn trusting(self, issuers: Vec<Issuer>) -> Self {
        Self { issuers, ..self }
    }

    /// The same, which keeps all that a token says, for conditions that ask for
    /// it.
    #[must_use]
    pub fn keeping_payloads(self, keeps_payloads: bool) -> Self {
        Self { keeps_payloads, ..self }
    }

    /// The same, which calls itself this in tokens for upstreams.
    #[must_use]
    pub fn known_upstream_as(self, issuer: impl Into<String>) -> Self {
        Self { upstream_issuer: Some(issuer.into()), ..self }
    }

    /// The issuers beside this service.
    #[must_use]
    pub fn issuers(&self) -> &[Issuer] {
        &self.issuers
    }

    pub(super) fn upstream_issuer(&self) -> Option<&str> {
        self.upstream_issuer.as_deref()
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

    /// Whether all is void that a user was issued at that time, or whenever it was.
    pub(crate) fn cuts_off(&self, user_id: &str, issued_at: Option<Timestamp>) -> bool {
        let always = self.always_revoked.as_ref();
        self.revoked.cuts_off(user_id, issued_at)
            || always.is_some_and(|list| list.cuts_off(user_id, issued_at))
    }

    /// The service's own keys.
    #[must_use]
    pub fn keys(&self) -> &KeyRing {
        &self.keys
    }

    pub(super) fn settings(&self) -> &VerifierSettings {
        &self.settings
    }

    /// A token in compact form (RFC 7515, section 3.1) that is good at the time
    /// `now`.
    ///
    /// # Errors
    ///
    /// The first [`Refusal`] met. No claim but `iss` is looked at before a key
    /// has vouched for it.
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Arc<Verified>, Refusal> {
        let known = self.known.find(token).filter(|known| self.is_still_signed(known, now));
        let is_known = known.is_some();
        let verified = match known {
            Some(known) => known,
            None => Arc::new(self.read(token, now)?),
        };
        let claims = &*verified.claims;
        let issuer = verified.source.as_ref().and_then(|(at, _)| self.issuers.get(*at));
        self.check_times(claims, issuer, now)?;
        self.check_parties(claims, issuer)?;
        let (issued_at, always) = (self.issued_at(claims, issuer), self.always_revoked.as_ref());
        let names = || (verified.name(), verified.session_name());
        if self.revoked.refuses(claims, issued_at, names)
            || always.is_some_and(|list| list.refuses(claims, issued_at, names))
        {
            return Err(Refusal::Revoked);
        }
        // One that is not good here is not worth a place: whoever has many such
        // would push out those that are.
        Ok(if is_known { verified } else { self.known.meet(verified) })
    }

    /// Whether the keys by which a remembered token was verified are still those
    /// of its issuer.
    fn is_still_signed(&self, known: &Verified, now: Timestamp) -> bool {
        let Some((at, set)) = &known.source else { return true };
        self.issuers.get(*at).is_some_and(|issuer| issuer.keys.are(set, now))
    }

    /// Remembers a token at once.
    pub(super) fn keep(&self, verified: &Arc<Verified>) -> Arc<Verified> {
        self.known.keep(verified)
    }

    /// A token that one of the keys of its issuer has signed.
    fn read(&self, token: &str, now: Timestamp) -> Result<Verified, Refusal> {
        let parts = Parts::split(token)?;
        let accepted = self.accepted(&parts)?;
        let header = &accepted.header;
        if self.issuers.is_empty() {
            return self.read_own(token, &parts, header);
        }
        // `iss` picks one issuer before any key is looked at, and says no more
        // than which keys have to vouch for it.
        let payload = decode(parts.payload)?;
        let payload = Members::parse(&payload, MAX_CLAIMS).map_err(|_| Refusal::Malformed)?;
        let Some(at) = self.issuer_of(&payload)? else {
            return self.read_own(token, &parts, header);
        };
        let issuer = self.issuers.get(at).ok_or(Refusal::UnknownIssuer)?;
        let settings = &issuer.settings;
        if !settings.algorithms.contains(&header.algorithm) {
            return Err(Refusal::BadAlgorithm);
        }
        if !header.is_of_type(&settings.types) {
            return Err(Refusal::Malformed);
        }
        let set = issuer.keys.good(now)?;
        set.vouch(&parts, header).inspect_err(|refusal| {
            if *refusal == Refusal::UnknownKey {
                issuer.keys.miss();
            }
        })?;
        let kept = self.kept(&payload);
        let claims = settings.read(payload, &self.roles)?;
        Ok(Verified::new(token, claims, Some((at, set)), kept))
    }

    /// Where the issuer is that a payload names; none for this service itself.
    fn issuer_of(&self, payload: &Members<'_>) -> Result<Option<usize>, Refusal> {
        let iss = match payload.get("iss") {
            None => None,
            Some(Value::String(iss)) => Some(iss.as_str()),
            Some(_) => return Err(Refusal::BadClaim),
        };
        let is_named = |issuer: &Issuer| issuer.settings.issuer.as_deref() == iss;
        if let Some(at) = self.issuers.iter().position(is_named) {
            return Ok(Some(at));
        }
        let is_own = iss.is_none() || iss == self.settings.issuer.as_deref();
        if is_own && !self.keys.is_empty() { Ok(None) } else { Err(Refusal::UnknownIssuer) }
    }

    /// The issuer that a token says it is of, of which nothing has been verified;
    /// none for this service itself, or one that is not known.
    #[must_use]
    pub fn issuer_named_by(&self, token: &str) -> Option<&Issuer> {
        let payload = decode(Parts::split(token).ok()?.payload).ok()?;
        let payload = Members::parse(&payload, MAX_CLAIMS).ok()?;
        self.issuers.get(self.issuer_of(&payload).ok()??)
    }

    fn read_own(
        &self,
        token: &str,
        parts: &Parts<'_>,
        header: &Header,
    ) -> Result<Verified, Refusal> {
        if header.typ.as_deref().is_some_and(|typ| typ != "JWT") {
            return Err(Refusal::Malformed);
        }
        let mut candidates = self.keys.candidates(header)?;
        // Decoded to hold it to its canonical spelling, which the
        // comparison of the bytes would not.
        let signature = decode(parts.signature)?;
        if !candidates.any(|key| key.verifies(parts.signing_input.as_bytes(), &signature)) {
            return Err(Refusal::BadSignature);
        }
        let payload = decode(parts.payload)?;
        let payload = Members::parse(&payload, MAX_CLAIMS).map_err(|_| Refusal::Malformed)?;
        let kept = self.kept(&payload);
        let claims = Claims::read(payload, &self.settings.shape, &self.roles)?;
        Ok(Verified::new(token, claims, None, kept))
    }

    fn kept(&self, payload: &Members<'_>) -> Option<serde_json::Map<String, Value>> {
        self.keeps_payloads.then(|| payload.to_map())
    }

    /// The header of a token, when it can be accepted. Nearly all tokens have
    /// the very same one, which is read once.
    fn accepted(&self, parts: &Parts<'_>) -> Result<Arc<AcceptedHeader>, Refusal> {
        if let Some(last) = self.last_header.load_full()
            && *last.text == *parts.header
        {
            return Ok(last);
        }
        let header = Header::read(&decode(parts.header)?)?;
        let header = Arc::new(AcceptedHeader { text: parts.header.into(), header });
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
    pub fn name_of(&self, token: &str, now: Timestamp) -> Result<(TokenRef, Timestamp), Refusal> {
        let verified = self.read(token, now)?;
        Ok((verified.name(), verified.claims.expires_at))
    }

    /// What names the session of such a token, and when that began; none for one of
    /// no session.
    ///
    /// # Errors
    ///
    /// As [`Self::name_of`].
    pub fn session_of(
        &self,
        token: &str,
        now: Timestamp,
    ) -> Result<Option<(TokenRef, Timestamp)>, Refusal> {
        let verified = self.read(token, now)?;
        let began = verified.claims.auth_time.unwrap_or(now);
        Ok(verified.session_name().zip(Some(began)))
    }

    /// When a token was issued, as far as can be told. One of a session counts as
    /// old as that is: it may have been renewed since a cut-off.
    fn issued_at(&self, claims: &Claims, issuer: Option<&Issuer>) -> Option<Timestamp> {
        let assumed = self.settings.assume_lifetime.filter(|_| issuer.is_none());
        let own = claims.issued_at.or_else(|| Some(claims.expires_at.minus(assumed?)))?;
        Some(claims.session().map_or(own, |(_, began)| own.min(began)))
    }

    /// Whether a token was signed by one of the keys in lower case: by an issuer
    /// that changes its secret before it uses it. Such a token is refused; this
    /// is for telling the operator what to do.
    #[must_use]
    pub fn is_signed_in_lower_case(&self, token: &str) -> bool {
        let Ok(parts) = Parts::split(token) else { return false };
        let (Ok(accepted), Ok(signature)) = (self.accepted(&parts), decode(parts.signature)) else {
            return false;
        };
        let candidates = self.keys.candidates(&accepted.header);
        candidates.is_ok_and(|mut candidates| {
            candidates.any(|key| key.verifies_in_lower_case(parts.signing_input, &signature))
        })
    }

    fn check_times(
        &self,
        claims: &Claims,
        issuer: Option<&Issuer>,
        now: Timestamp,
    ) -> Result<(), Refusal> {
        let VerifierSettings { leeway, max_lifetime, assume_lifetime, .. } = self.settings;
        let (max_lifetime, assume_lifetime) = match issuer {
            None => (max_lifetime, assume_lifetime),
            Some(issuer) => (issuer.settings.max_lifetime, None),
        };
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
            || (claims.issued_at.is_none() && assume_lifetime.is_some_and(outlives))
        {
            return Err(Refusal::LivesTooLong);
        }
        Ok(())
    }

    fn check_parties(&self, claims: &Claims, issuer: Option<&Issuer>) -> Result<(), Refusal> {
        // RFC 7519, section 4.1.3: who does not identify itself with a value
        // of `aud` must refuse a token that has one.
        if let Some(issuer) = issuer {
            let expected = &issuer.settings.audience;
            return match &claims.audience {
                None if expected.is_empty() => Ok(()),
                Some(named) if named.iter().any(|one| expected.contains(one)) => Ok(()),
                _ => Err(Refusal::BadAudience),
            };
        }
        if let Some(issuer) = &self.settings.issuer
            && claims.issuer.as_ref() != Some(issuer)
        {
            return Err(Refusal::BadIssuer);
        }
        match (&self.settings.audience, &claims.audience) {
            (None, None) => Ok(()),
            (Some(expected), Some(named)) if named.contains(expected) => Ok(()),
            _ => Err(Refusal::BadAudience),
        }
    }
}
