//! What a token says of its bearer, in types that hold it to its word.

use std::sync::Arc;

use serde_json::{Map, Value};

use super::{
    json::Members,
    refusal::Refusal,
    role::{Role, Roles},
    shape::TokenShape,
    user_id::UserId,
};
use crate::clock::Timestamp;

/// The claims of RFC 7519, section 4.1, and those of this service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The user's name, in `sub` unless the configuration says otherwise, as
    /// all four.
    pub name: String,
    /// The user's id, in `userId`.
    pub user_id: UserId,
    /// The user's role.
    pub role: Role,
    /// The user's email, unless it is null or empty.
    pub email: Option<String>,
    /// `exp`: not accepted from then on.
    pub expires_at: Timestamp,
    /// `iat`.
    pub issued_at: Option<Timestamp>,
    /// `nbf`: not accepted before.
    pub not_before: Option<Timestamp>,
    /// `iss`.
    pub issuer: Option<String>,
    /// `aud`: one or several.
    pub audience: Option<Vec<String>>,
    /// `jti`: the token's own id.
    pub token_id: Option<String>,
    /// Whether the token says that it comes of a single sign-on.
    pub is_sso: bool,
    /// The configured issuer's name; none for a token of this service.
    pub issued_by: Option<Arc<str>>,
    /// `scope`, divided by blanks (RFC 8693, section 4.2).
    pub scope: Option<String>,
    /// `act`: who acts for the user (RFC 8693, section 4.1).
    pub actor: Option<Map<String, Value>>,
    /// `sid`: the session.
    pub session_id: Option<String>,
    /// `auth_time`: when the user signed in (OpenID Connect Core, section 2).
    pub auth_time: Option<Timestamp>,
}

/// What every token says in the same way.
pub(super) struct Common {
    pub(super) expires_at: Timestamp,
    pub(super) issued_at: Option<Timestamp>,
    pub(super) not_before: Option<Timestamp>,
    pub(super) issuer: Option<String>,
    pub(super) audience: Option<Vec<String>>,
    pub(super) token_id: Option<String>,
    pub(super) actor: Option<Map<String, Value>>,
    pub(super) session_id: Option<String>,
    pub(super) auth_time: Option<Timestamp>,
}

impl Common {
    pub(super) fn read(payload: &mut Members<'_>) -> Result<Self, Refusal> {
        Ok(Self {
            expires_at: time(payload.get("exp").ok_or(Refusal::MissingClaim)?)?,
            issued_at: payload.get("iat").map(time).transpose()?,
            not_before: payload.get("nbf").map(time).transpose()?,
            issuer: payload.take("iss").map(text).transpose()?,
            audience: payload.take("aud").map(audience).transpose()?,
            token_id: payload.take("jti").map(text).transpose()?,
            actor: match payload.take("act") {
                Some(Value::Object(actor)) => Some(actor),
                _ => None,
            },
            session_id: payload.take("sid").and_then(|sid| text(sid).ok()),
            auth_time: payload.get("auth_time").and_then(|at| time(at).ok()),
        })
    }
}

impl Claims {
    /// Reads the claims out of a payload.
    ///
    /// # Errors
    ///
    /// [`Refusal::MissingClaim`] and [`Refusal::BadClaim`];
    /// [`Refusal::BadAudience`] for an `aud` of another type.
    pub(super) fn read(
        mut payload: Members<'_>,
        shape: &TokenShape,
        roles: &Roles,
    ) -> Result<Self, Refusal> {
        // Read before the rest is taken out: one claim may be two of these.
        let get = |name: &str, payload: &Members<'_>| payload.get(name).cloned();
        let required = |name: &str| get(name, &payload).ok_or(Refusal::MissingClaim);
        let names = &shape.claims;
        time(&required("exp")?)?;
        let user_id = user_id(required(&names.id)?)?;
        let name = if names.name == names.id {
            user_id.as_str().to_owned()
        } else {
            text(required(&names.name)?)?
        };
        let role = required(&names.role)?;
        let role = role.as_str().and_then(|name| shape.roles.read(name, roles));
        let email = get(&names.email, &payload).map(email).transpose()?.flatten();
        let method = shape.method().and_then(|name| payload.get(name));
        let is_sso = method.is_some_and(|method| method == "sso");
        let scope = payload.get("scope").or_else(|| payload.get("scp")).and_then(scope);
        let role = role.ok_or(Refusal::BadClaim)?;
        let common = Common::read(&mut payload)?;
        Ok(Self::of(common, user_id, name, role).with(email, scope, is_sso))
    }

    pub(super) fn of(common: Common, user_id: UserId, name: String, role: Role) -> Self {
        Self {
            name,
            user_id,
            role,
            email: None,
            expires_at: common.expires_at,
            issued_at: common.issued_at,
            not_before: common.not_before,
            issuer: common.issuer,
            audience: common.audience,
            token_id: common.token_id,
            is_sso: false,
            issued_by: None,
            scope: None,
            actor: common.actor,
            session_id: common.session_id,
            auth_time: common.auth_time,
        }
    }

    /// The session of this service that the token is of. What other issuers call
    /// a session is their own matter.
    #[must_use]
    pub fn own_session_id(&self) -> Option<&str> {
        self.session_id.as_deref().filter(|_| self.issued_by.is_none())
    }

    /// The same, and when it began, where the token says both.
    #[must_use]
    pub fn session(&self) -> Option<(&str, Timestamp)> {
        self.own_session_id().zip(self.auth_time)
    }

    pub(super) fn with(self, email: Option<String>, scope: Option<String>, is_sso: bool) -> Self {
        Self { email, is_sso, scope, ..self }
    }
}

/// A JSON number; one written as a string is not.
fn time(value: &Value) -> Result<Timestamp, Refusal> {
    match value {
        Value::Number(number) => match number.as_i64() {
            Some(secs) => Ok(Timestamp::from_secs(secs)),
            None => number.as_f64().map(Timestamp::from_numeric_date).ok_or(Refusal::BadClaim),
        },
        _ => Err(Refusal::BadClaim),
    }
}

/// Scopes as one text, of a text or a list of texts.
pub(super) fn scope(value: &Value) -> Option<String> {
    match value {
        Value::String(scope) => Some(scope.clone()),
        Value::Array(list) => {
            let texts: Option<Vec<&str>> = list.iter().map(Value::as_str).collect();
            texts.map(|texts| texts.join(" "))
        }
        _ => None,
    }
    .filter(|scope| !scope.is_empty())
}

pub(super) fn text(value: Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) if !text.is_empty() => Ok(text),
        _ => Err(Refusal::BadClaim),
    }
}

pub(super) fn user_id(value: Value) -> Result<UserId, Refusal> {
    let id = match value {
        Value::String(id) => UserId::new(id),
        Value::Number(id) if id.is_i64() || id.is_u64() => UserId::new(id.to_string()),
        _ => None,
    };
    id.ok_or(Refusal::BadClaim)
}

pub(super) fn email(value: Value) -> Result<Option<String>, Refusal> {
    match value {
        Value::Null => Ok(None),
        Value::String(email) => Ok(Some(email).filter(|email| !email.is_empty())),
        _ => Err(Refusal::BadClaim),
    }
}

fn audience(value: Value) -> Result<Vec<String>, Refusal> {
    let name = |value| match value {
        Value::String(name) => Ok(name),
        _ => Err(Refusal::BadAudience),
    };
    match value {
        Value::Array(names) => names.into_iter().map(name).collect(),
        one => Ok(vec![name(one)?]),
    }
}
