//! The decision: synchronous, without any input or output, the same for every
//! transport.

use std::sync::Arc;

use super::{
    Answer, CheckInput, CredentialKind, Decision, Forward, Grant, KeyPlaces, Principal, Reason,
    Verdict,
    asks::{Asked, Asks},
    cookie,
    decision::Denial,
    engine::Engine,
    facts::Notes,
    host::NormalHost,
    identified::{Identified, Proof},
    key_place::{KEY_HEADER, MISPLACED},
    loosely::Also,
    path::NormalPath,
    place::Place,
    policy::Found,
    resource::Resource,
    rule::{Access, Rule},
};
use crate::{clock::Timestamp, token::Refusal};

impl Engine {
    /// Decides a request at the time `now`. The first step that fails decides.
    #[must_use]
    pub fn decide<'a>(&'a self, input: &CheckInput<'a>, now: Timestamp) -> Decision<'a> {
        self.decide_noting(input, now, None)
    }

    /// The same, and notes what conditions read.
    #[must_use]
    pub fn decide_noting<'a>(
        &'a self,
        input: &CheckInput<'a>,
        now: Timestamp,
        notes: Option<&Notes>,
    ) -> Decision<'a> {
        if !self.verifier.revocations().is_loaded() {
            return Decision::deny(Reason::NotReady);
        }
        let Some(host) = NormalHost::parse(input.host) else {
            return Decision::deny(Reason::BadHost);
        };
        let (path, _) = input.path_and_query();
        let Ok(path) = NormalPath::parse(path, self.path_allow) else {
            return Decision::deny(Reason::BadPath);
        };
        if !input.has_good_methods() {
            return Decision::deny(Reason::BadMethod);
        }
        if self.identity.dropped_by_connection(&input.headers) {
            return Decision::deny(Reason::BadHeader("connection"));
        }
        if !self.upgrades.admit(&input.headers) {
            return Decision::deny(Reason::BadHeader("upgrade"));
        }
        if let Some(answer) = self.policy.answer(&host, path.segments(), input.method) {
            return Decision::answer(answer);
        }
        let asks = Asks::new(self.mcp_source, self.max_body_bytes, input);
        let Some(found) = self.find(&host, &path, input, Some(&asks)) else {
            return Decision::deny(Reason::BadPath);
        };
        let Ok(also) = self.loosely(&host, &path, input, Some(&asks)) else {
            return Decision::deny(Reason::BadPath);
        };
        let at = Place { engine: self, host: &host, path: &path, input, asks: &asks, now, notes };
        let decision = self.decide_found(found, &at, &also);
        Decision { asked: asks.into_asked(), ..decision }
    }

    /// What this service answers itself at such a host and path, whoever asks.
    #[must_use]
    pub fn answer(&self, input: &CheckInput<'_>) -> Option<Answer<'_>> {
        let host = NormalHost::parse(input.host)?;
        let path = NormalPath::parse(input.path_and_query().0, self.path_allow).ok()?;
        self.policy.answer(&host, path.segments(), input.method)
    }

    /// The rule for the path; none when its readings disagree about that.
    pub(super) fn find(
        &self,
        host: &NormalHost<'_>,
        path: &NormalPath<'_>,
        input: &CheckInput<'_>,
        asks: Option<&Asks<'_, '_>>,
    ) -> Option<Found<'_>> {
        let preflight_of = input.preflight_of();
        let mut readings = path.readings().map(|segments| {
            self.policy.find_asked(host, segments, input.method, preflight_of, asks)
        });
        let first = readings.next()?;
        readings.all(|other| other.agrees(&first)).then_some(first)
    }

    fn decide_found<'a>(
        &'a self,
        found: Found<'a>,
        at: &Place<'_, 'a>,
        also: &[Also<'_, 'a>],
    ) -> Decision<'a> {
        let Place { host, path, input, now, .. } = *at;
        let needs_identity = matches!(found, Found::Rule(rule) if rule.access != Access::Deny);
        let forward = match found {
            Found::Rule(rule) | Found::Preflight(rule) => rule.forward.as_ref(),
            Found::Nothing | Found::NoMethod | Found::NoOperation | Found::Unclear(_) => None,
        };
        let forward = forward.unwrap_or(&self.credentials.forward);
        // A token for somebody else is none here, also where nobody has to have one.
        let resource = self.policy.resource(host, path.segments());
        let named = match found {
            Found::Rule(rule) => Some(rule),
            _ => None,
        };
        let for_it = |identified: Identified<'a>| {
            let mut about =
                also.iter().map(|it| (it.resource, it.rule())).chain([(resource, named)]);
            let is_meant = about.all(|(resource, named)| {
                resource.is_none_or(|resource| is_for(resource, &identified, named))
            });
            if is_meant { Ok(identified) } else { Err(Reason::Token(Refusal::BadAudience)) }
        };
        let identity = (needs_identity || self.policy.has_shadows())
            .then(|| self.identify(input, forward, now).and_then(for_it));

        let (rule, denied) = match found {
            Found::Nothing => (None, Some(Reason::NoRule.into())),
            Found::NoMethod => (None, Some(Reason::Method.into())),
            Found::NoOperation => (None, Some(Reason::Operation.into())),
            Found::Unclear(reason) => (None, Some(reason.into())),
            Found::Preflight(rule) => (Some(rule), None),
            Found::Rule(rule) => (Some(rule), at.refusal(rule, identity.as_ref())),
        };
        let refused_also = if denied.is_none() {
            also.iter().find_map(|it| Some((it, it.refusal(at, identity.as_ref())?)))
        } else {
            None
        };
        let (rule, denied, resource) = match refused_also {
            Some((it, refused)) => (it.rule(), Some(refused), it.resource.or(resource)),
            None => (rule, denied, resource),
        };
        let shadow = self
            .policy
            .shadows(host, path.segments(), input.method)
            .filter(|rule| match at.asks.rank(rule) {
                Ok(None) => false,
                Ok(Some(_)) => at.refusal(rule, identity.as_ref()).is_some(),
                Err(_) => true,
            })
            .map(|rule| rule.name.as_str())
            .collect();

        // It was found out for the shadows, too, and is theirs alone then.
        let identity = identity.filter(|_| needs_identity);
        let key_id = identity.as_ref().and_then(|identity| self.key_id(identity, input));
        let identity = identity.and_then(Result::ok);
        let (denied, unmet) = denied.map_or((None, None), |it| (Some(it.reason), it.unmet));
        let verdict = match denied {
            Some(reason) => Verdict::Deny(self.denial(reason, rule, resource, input)),
            None => match self.grant(input, identity.as_ref(), forward, now) {
                Ok(grant) => Verdict::Allow(grant),
                Err(reason) => Verdict::Deny(self.denial(reason, rule, resource, input)),
            },
        };
        let principal = identity.map(|identified| {
            let claims = Arc::clone(identified.claims());
            Principal { role: self.verifier.roles().name(claims.role), claims }
        });
        Decision { rule, principal, key_id, unmet, shadow, asked: Asked::default(), verdict }
    }

    fn denial(
        &self,
        reason: Reason,
        rule: Option<&Rule>,
        resource: Option<&Arc<Resource>>,
        input: &CheckInput<'_>,
    ) -> Denial {
        let sign_in =
            self.sign_in.as_ref().filter(|_| reason.status() == 401 && input.is_navigation());
        let location = sign_in.map(|page| page.location(input, &self.credentials.query_parameter));
        let tells =
            reason == Reason::InsufficientScope || (resource.is_some() && reason.status() == 401);
        let scope = rule.filter(|_| tells);
        let scope = scope.map(|rule| rule.needs.scopes.join(" "));
        Denial { reason, location, scope, resource: resource.cloned() }
    }

    /// What becomes of the request.
    fn grant<'a>(
        &'a self,
        input: &CheckInput<'a>,
        identity: Option<&Identified<'_>>,
        forward: &Forward,
        now: Timestamp,
    ) -> Result<Grant<'a>, Reason> {
        let mut set = identity.map_or_else(Vec::new, |identified| {
            let claims = identified.claims();
            self.identity.of(claims, self.verifier.roles().name(claims.role))
        });
        let keys = self.credentials.keys.as_ref();
        let mut key_headers: Vec<&str> = keys.into_iter().flat_map(KeyPlaces::headers).collect();
        if keys.is_some_and(|keys| keys.strays(input)) {
            key_headers.push(KEY_HEADER);
        }
        if self.credentials.has_key_in_query(input) {
            return Err(MISPLACED);
        }
        let mut also = key_headers.clone();
        let mut remove_query = Vec::new();
        // A key never goes on, whatever becomes of tokens.
        let goes_on = *forward == Forward::AsIs && !self.credentials.carries_key(input);
        if !goes_on {
            also.push("authorization");
            match (forward, identity) {
                (
                    Forward::AuthorizationHeader,
                    Some(Identified { proof: Proof::Token(token), .. }),
                ) => {
                    set.push(("authorization", format!("Bearer {token}")));
                }
                (Forward::Minted(audience), Some(Identified { verified, .. })) => {
                    // Never without: the upstream takes the token's word alone.
                    let minted = self.verifier.minted(verified, audience, now);
                    let bearer = minted.map_err(|_| Reason::Internal)?;
                    set.push(("authorization", bearer.as_ref().to_owned()));
                }
                _ => {}
            }
            remove_query = self.parameters_to_remove(input);
        }
        // Beside a key, it is somebody else's.
        if !goes_on || identity.is_some_and(|it| it.key_id().is_some()) {
            match self.cookies_without_ours(input) {
                None => {}
                Some(rest) if rest.is_empty() => also.push("cookie"),
                Some(rest) => set.push(("cookie", rest)),
            }
        }
        let remove = self.identity.to_remove(&input.headers, &also, &set);
        let keeps_credential = goes_on && self.replaces_credentials();
        let set_cookie = identity.and_then(|who| self.renewal(input, who, forward, now));
        let identity = Some(&self.identity.headers);
        Ok(Grant { set, remove, identity, key_headers, remove_query, keeps_credential, set_cookie })
    }

    /// Whether there are requests whose credential does not go on as it came.
    fn replaces_credentials(&self) -> bool {
        self.credentials.forward != Forward::AsIs
            || self.credentials.keys.is_some()
            || self.policy.has_forwards()
    }

    /// The cookies but for the token's; `None` when that is not among them.
    fn cookies_without_ours(&self, input: &CheckInput<'_>) -> Option<String> {
        // Where the two forms of the headers differ, no cookie is trusted.
        let Some(lines) = input.headers.cookies() else { return Some(String::new()) };
        let rest = cookie::without(&lines, &self.credentials.cookie)?;
        Some(String::from_utf8(rest).unwrap_or_default())
    }

    /// The token's parameter as the query spells it, when that holds it: on
    /// a public route also in a spelling that is refused elsewhere. Never on
    /// CONNECT, whose path is not the gateway's to change.
    fn parameters_to_remove<'a>(&self, input: &CheckInput<'a>) -> Vec<&'a str> {
        let (_, query) = input.path_and_query();
        let names = query
            .into_iter()
            .flat_map(|query| query.split('&'))
            .map(|pair| pair.split('=').next().unwrap_or_default());
        let mut found: Vec<&str> =
            names.filter(|name| self.credentials.is_parameter(name)).collect();
        if input.method == "CONNECT" {
            found.clear();
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}

/// Whether a credential is for a resource: a token that names it, exactly. A key is for
/// nobody in particular, and is taken where a rule takes keys by name.
fn is_for(resource: &Resource, identified: &Identified<'_>, rule: Option<&Rule>) -> bool {
    let audience = &identified.claims().audience;
    match identified.kind() {
        CredentialKind::Token => audience.iter().flatten().any(|one| one == resource.url()),
        CredentialKind::ApiKey => {
            rule.is_some_and(|rule| rule.needs.credentials.contains(&CredentialKind::ApiKey))
        }
    }
}
