//! The bench on which cases are tried: the engine of a configuration, and a key
//! of this run alone, by which it takes whoever a case says to be known.

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis::{
    api_key::{ApiKey, KeyChange, KeyList, KeySays, NewKey},
    app::{self, Lists},
    authz::{CheckInput, Decision, Engine, Header, Headers, KEY_HEADER},
    clock::{Clock as _, SystemClock, Timestamp},
    config::{Config, KeysFrom},
    token::{
        Algorithm, IssuerKeys, IssuerSettings, Key, KeySet, Minter, NewToken, RevocationList,
        UserId, peek,
    },
};
use secrecy::{ExposeSecret as _, SecretSlice};
use serde_json::{Map, Value, json};

use super::cases::{Case, Somebody, Who};
use crate::cli::issued::{self, Wanted};

/// How long a token of a case lives, in seconds.
const LIFETIME: i64 = 60;

/// The engine, and what is needed to make tokens for it.
pub(in crate::cli) struct Bench {
    pub(in crate::cli) engine: Engine,
    issuers: Vec<IssuerSettings>,
    keys: Arc<KeyList>,
    secret: SecretSlice<u8>,
    now: Timestamp,
}

impl Bench {
    /// # Errors
    ///
    /// When the operating system gives no random numbers.
    pub(in crate::cli) fn new(mut config: Config) -> Result<Self, &'static str> {
        let mut bytes = [0; 32];
        aws_lc_rs::rand::fill(&mut bytes).map_err(|_| "there are no random numbers")?;
        let secret = SecretSlice::from(bytes.to_vec());
        let key = || Key::new(Some(KID.to_owned()), &secret).map_err(|_| "no key could be made");
        config.keys = config.keys.with(key()?);
        for issuer in &mut config.issuers {
            let set = KeySet::of_secrets(vec![key()?]).map_err(|_| "no key could be made")?;
            issuer.keys = KeysFrom::Here(Arc::new(IssuerKeys::fixed(set)));
            issuer.settings.algorithms = vec![Algorithm::Hs256];
        }
        let issuers = config.issuers.iter().map(|issuer| issuer.settings.clone()).collect();
        let lists = Lists::from(Arc::new(RevocationList::empty()));
        let keys = Arc::clone(&lists.keys);
        let engine = app::engine(config, lists);
        Ok(Self { engine, issuers, keys, secret, now: SystemClock.now() })
    }

    /// What comes of a case; `look` sees the decision.
    ///
    /// # Errors
    ///
    /// What is wrong with the case.
    pub(super) fn decide<T>(
        &self,
        case: &Case,
        look: impl FnOnce(&Decision<'_>) -> T,
    ) -> Result<T, String> {
        let request = &case.request;
        let mut headers: Vec<(String, String)> =
            request.headers.iter().map(|(name, value)| (name.clone(), value.clone())).collect();
        let bearer = |token: &str| ("authorization".to_owned(), format!("Bearer {token}"));
        headers.extend(match (&case.token, &case.who) {
            (Some(_), Some(_)) => return Err("it has both `as` and `token`".to_owned()),
            (Some(token), None) => Some(bearer(token)),
            (None, Some(Who::Somebody(somebody))) if somebody.key => Some(self.key(somebody)?),
            (None, Some(Who::Somebody(somebody))) => Some(bearer(&self.token(somebody)?)),
            (None, Some(Who::Nobody) | None) => None,
        });
        let map =
            headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() }).collect();
        let source = request.source.as_ref();
        let input = CheckInput {
            method: request.method.as_deref().unwrap_or("GET"),
            scheme: request.scheme.as_deref().unwrap_or("https"),
            host: request.host.as_deref().unwrap_or("localhost"),
            path: request.path.as_deref().unwrap_or_default(),
            headers: Headers::new(map, Vec::new()),
            source_address: source.and_then(|it| it.address.as_deref()).unwrap_or_default(),
            source_principal: source.and_then(|it| it.principal.as_deref()).unwrap_or_default(),
            context: case.context.iter().map(|(name, value)| (&**name, &**value)).collect(),
            ..CheckInput::default()
        };
        Ok(look(&self.engine.decide(&input, self.now)))
    }

    /// A token of these claims, by whoever their `iss` names. What a token has to
    /// have beside who it is for is added where it is not there.
    pub(in crate::cli) fn signed(&self, mut claims: Map<String, Value>) -> String {
        let iss = claims.get("iss").and_then(Value::as_str);
        let issuer = self.issuers.iter().find(|issuer| issuer.issuer.as_deref() == iss);
        let issuer = issuer.filter(|_| iss.is_some());
        let now = self.now.as_secs();
        claims.entry("iat").or_insert(now.into());
        claims.entry("exp").or_insert((now + LIFETIME).into());
        if let Some(audience) = issuer.and_then(|issuer| issuer.audience.first()) {
            claims.entry("aud").or_insert(audience.as_str().into());
        }
        let typ = issuer.and_then(|issuer| issuer.types.first()).map_or("JWT", |typ| typ);
        let header = json!({ "alg": "HS256", "typ": typ, "kid": KID });
        issued::signed_with(self.secret.expose_secret(), &header, &Value::Object(claims))
    }

    /// The header of a key for machines that says so.
    fn key(&self, somebody: &Somebody) -> Result<(String, String), String> {
        let places = self.engine.credentials.keys.as_ref();
        let places = places
            .ok_or("it has a key, but the configuration accepts none: [api_keys] is missing")?;
        if somebody.issuer.is_some() || somebody.email.is_some() || !somebody.claims.is_empty() {
            return Err("a key has neither an issuer nor an email nor claims".to_owned());
        }
        let new = NewKey::make().ok_or("there are no random numbers")?;
        let role = somebody.role.clone().ok_or("`as` has no role")?;
        let says = KeySays {
            user_id: id_of(somebody),
            name: somebody.name.clone().unwrap_or_else(|| "somebody".to_owned()),
            role,
            scopes: somebody.scopes.clone(),
            created: Some(self.now.as_secs()),
            ..KeySays::default()
        };
        if let Some(cause) = says.problem() {
            return Err(cause);
        }
        let key = ApiKey { id: new.id, hash: new.hash, says, expires: None, revoked: None };
        self.keys.apply(&[KeyChange::Key(Box::new(key))], |_, _, _| {});
        let text = new.text.expose_secret();
        Ok(if places.header {
            (KEY_HEADER.to_owned(), text.to_owned())
        } else if places.bearer {
            ("authorization".to_owned(), format!("Bearer {text}"))
        } else {
            ("authorization".to_owned(), format!("Basic {}", STANDARD.encode(format!(":{text}"))))
        })
    }

    fn token(&self, somebody: &Somebody) -> Result<String, String> {
        let id = id_of(somebody);
        let mut more = somebody.claims.clone();
        if !somebody.scopes.is_empty() && !more.contains_key("scope") {
            more.insert("scope".to_owned(), somebody.scopes.join(" ").into());
        }
        match somebody.issuer.as_deref() {
            None | Some("own") => self.own(somebody, &id, more),
            Some(name) => self.of_issuer(name, somebody, &id, more),
        }
    }

    /// A token of this service, as its sign-in would make it.
    fn own(
        &self,
        somebody: &Somebody,
        id: &str,
        more: Map<String, Value>,
    ) -> Result<String, String> {
        let verifier = &self.engine.verifier;
        let name = somebody.role.as_deref().ok_or("`as` has no role")?;
        let role = verifier.roles().get(name).ok_or_else(|| format!("{name:?} is not a role"))?;
        let user_id = UserId::new(id).ok_or("the id is empty")?;
        let token = NewToken {
            name: somebody.name.as_deref().unwrap_or("somebody"),
            user_id: &user_id,
            role,
            email: somebody.email.as_deref(),
            lifetime: std::time::Duration::from_secs(LIFETIME.unsigned_abs()),
            login_method: None,
            session: None,
        };
        let minted = Minter::new(verifier).mint(&token, self.now).map_err(|e| e.to_string())?;
        let (_, claims) = peek(minted.expose_secret()).map_err(|refusal| refusal.to_string())?;
        let Value::Object(mut claims) = claims else { return Err("it has no claims".to_owned()) };
        claims.extend(more);
        let header = json!({ "alg": "HS256", "typ": "JWT", "kid": KID });
        Ok(issued::signed_with(self.secret.expose_secret(), &header, &Value::Object(claims)))
    }

    fn of_issuer(
        &self,
        name: &str,
        somebody: &Somebody,
        id: &str,
        more: Map<String, Value>,
    ) -> Result<String, String> {
        let issuer = self.issuers.iter().find(|issuer| *issuer.name == *name);
        let issuer = issuer.ok_or_else(|| format!("there is no issuer {name:?}"))?;
        let more: Vec<(String, Value)> = more.into_iter().collect();
        let wanted = Wanted {
            id,
            name: somebody.name.as_deref().unwrap_or("somebody"),
            email: somebody.email.as_deref(),
            role: somebody.role.as_deref().unwrap_or_default(),
            claims: &more,
            now: self.now.as_secs(),
            lifetime: LIFETIME,
        };
        let header = json!({ "alg": "HS256", "typ": issuer.types.first(), "kid": KID });
        let claims = issued::claims(issuer, &wanted);
        Ok(issued::signed_with(self.secret.expose_secret(), &header, &claims))
    }
}

fn id_of(somebody: &Somebody) -> String {
    match &somebody.id {
        None => "1".to_owned(),
        Some(Value::String(id)) => id.clone(),
        Some(id) => id.to_string(),
    }
}

/// The `kid` of the key of this run.
const KID: &str = "portcullis test";
