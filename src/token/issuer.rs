//! Issuers beside this service itself: whose tokens are good, and what theirs
//! say here.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use serde_json::Value;

use super::{
    algorithm::Algorithm,
    claims::{self, Claims, Common},
    json::Members,
    key_set::IssuerKeys,
    refusal::Refusal,
    role::{Role, Roles},
    user_id::UserId,
    way::ClaimWay,
};

/// Where the tokens of an issuer say who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimWays {
    /// The user's id.
    pub id: ClaimWay,
    /// The user's name; the id stands for one that is not there.
    pub name: ClaimWay,
    /// The user's email.
    pub email: ClaimWay,
    /// The user's role or roles.
    pub role: ClaimWay,
    /// The scopes; `scp` when there is nothing.
    pub scope: ClaimWay,
}

/// What is known of an issuer, but for its keys.
#[derive(Clone, Debug)]
pub struct IssuerSettings {
    /// Its name in logs, metrics and metadata.
    pub name: Arc<str>,
    /// Its `iss`, to the letter; none for tokens that have none.
    pub issuer: Option<String>,
    /// One of these must be in `aud`; when there is none, a token with an `aud`
    /// is meant for somebody else.
    pub audience: Vec<String>,
    /// What its tokens may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// The types of token that are accepted, in lower case and without
    /// `application/`.
    pub types: Vec<String>,
    /// Whether its ID tokens are good, too.
    pub id_tokens: bool,
    /// Where its tokens say who it is.
    pub claims: ClaimWays,
    /// What its roles are here; without it, they have the names that they have
    /// here.
    pub role_map: Option<BTreeMap<String, Role>>,
    /// The role of whom the token gives none.
    pub default_role: Option<Role>,
    /// What stands before its ids, so that no two issuers can mean one user.
    pub id_prefix: String,
    /// The longest life of its tokens.
    pub max_lifetime: Duration,
}

/// An issuer and its keys.
#[derive(Debug)]
pub struct Issuer {
    /// What is known of it.
    pub settings: IssuerSettings,
    /// Its keys.
    pub keys: Arc<IssuerKeys>,
}

impl IssuerSettings {
    /// What a payload that the issuer has signed says of its bearer.
    pub(super) fn read(&self, mut payload: Members<'_>, roles: &Roles) -> Result<Claims, Refusal> {
        // What is told of an event, such as a sign-out, gives nobody access, though
        // the same issuer has signed it (RFC 8417; OpenID Connect Back-Channel
        // Logout, section 2.4).
        if payload.get("events").is_some() {
            return Err(Refusal::BadClaim);
        }
        // An ID token tells its client who it is; no access token has these
        // (OpenID Connect Core, sections 3.1.3.6 and 3.3.2.11). Keycloak says so.
        let is_id_token = ["at_hash", "c_hash"].iter().any(|name| payload.get(name).is_some())
            || payload.get("typ").and_then(Value::as_str) == Some("ID");
        if is_id_token && !self.id_tokens {
            return Err(Refusal::BadClaim);
        }
        let ways = &self.claims;
        let id = claims::user_id(ways.id.find(&payload).cloned().ok_or(Refusal::MissingClaim)?)?;
        let name = match ways.name.find(&payload) {
            Some(name) => claims::text(name.clone())?,
            None => id.as_str().to_owned(),
        };
        let email = match ways.email.find(&payload) {
            // Nobody has seen to it that it is theirs (OpenID Connect Core, 5.1).
            Some(_) if says_no(payload.get("email_verified")) => None,
            Some(email) => claims::email(email.clone())?,
            None => None,
        };
        let role = self.role(ways.role.find(&payload), roles)?;
        let scope = ways.scope.find(&payload).or_else(|| payload.get("scp"));
        let scope = scope.and_then(claims::scope);
        let common = Common::read(&mut payload)?;
        let id = UserId::new(format!("{}{id}", self.id_prefix)).ok_or(Refusal::BadClaim)?;
        let claims = Claims::of(common, id, name, role).with(email, scope, false);
        Ok(Claims { issued_by: Some(Arc::clone(&self.name)), ..claims })
    }

    /// The highest of the roles that are named; names that mean nothing here are
    /// passed over.
    fn role(&self, named: Option<&Value>, roles: &Roles) -> Result<Role, Refusal> {
        let of = |name: &str| match &self.role_map {
            Some(map) => map.get(name).copied(),
            None => roles.get(name),
        };
        let role = match named {
            None => None,
            Some(Value::String(name)) => of(name),
            Some(Value::Array(list)) => {
                let list: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
                list.ok_or(Refusal::BadClaim)?.into_iter().filter_map(of).max()
            }
            Some(_) => return Err(Refusal::BadClaim),
        };
        role.or(self.default_role).ok_or(match named {
            None => Refusal::MissingClaim,
            Some(_) => Refusal::BadClaim,
        })
    }
}

/// Some write this as text.
fn says_no(value: Option<&Value>) -> bool {
    match value {
        Some(Value::Bool(verified)) => !verified,
        Some(Value::String(text)) => text != "true",
        None => false,
        Some(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn settings() -> IssuerSettings {
        let way = |text: &str| ClaimWay::new(text).unwrap();
        IssuerSettings {
            name: "acme".into(),
            issuer: None,
            audience: Vec::new(),
            algorithms: Vec::new(),
            types: Vec::new(),
            id_tokens: false,
            claims: ClaimWays {
                id: way("sub"),
                name: way("name"),
                email: way("email"),
                role: way("role"),
                scope: way("scope"),
            },
            role_map: None,
            default_role: None,
            id_prefix: String::new(),
            max_lifetime: Duration::from_secs(3600),
        }
    }

    /// What a payload with this in it says.
    fn read(settings: &IssuerSettings, name: &str, value: Value) -> Result<Claims, Refusal> {
        let mut payload = json!({
            "sub": "7", "name": "ann", "email": "ann@example.com", "role": "REGULAR", "exp": 9,
        });
        payload[name] = value;
        let roles = Roles::new(vec!["REGULAR".into()]).unwrap();
        let payload = payload.to_string();
        settings.read(Members::parse(payload.as_bytes(), 16).unwrap(), &roles)
    }

    #[test]
    fn an_email_that_nobody_has_verified_is_none() {
        let email = |said| read(&settings(), "email_verified", said).unwrap().email;
        for yes in [json!(true), json!("true")] {
            assert_eq!(email(yes.clone()).as_deref(), Some("ann@example.com"), "{yes}");
        }
        for no in [json!(false), json!("false"), json!("yes"), json!(1), json!(null), json!([])] {
            assert_eq!(email(no.clone()), None, "{no}");
        }
        // Not said at all: access tokens do not, and their issuer vouches for them.
        let claims = read(&settings(), "scope", json!("a")).unwrap();
        assert_eq!(claims.email.as_deref(), Some("ann@example.com"));
    }

    #[test]
    fn an_id_token_is_none_for_access_unless_it_is_said_to_be() {
        let too = IssuerSettings { id_tokens: true, ..settings() };
        for name in ["at_hash", "c_hash"] {
            assert_eq!(read(&settings(), name, json!("x")).err(), Some(Refusal::BadClaim));
            assert!(read(&too, name, json!("x")).is_ok());
        }
        assert_eq!(read(&settings(), "typ", json!("ID")).err(), Some(Refusal::BadClaim));
        assert!(read(&too, "typ", json!("ID")).is_ok());
        for (name, value) in [("hash", "x"), ("typ", "Bearer"), ("typ", "id"), ("type", "ID")] {
            assert!(read(&settings(), name, json!(value)).is_ok(), "{name} {value}");
        }
        assert_eq!(read(&too, "events", json!({})).err(), Some(Refusal::BadClaim));
    }
}
