//! How the service's own tokens are written: the names of their claims, and
//! what others call its roles.

use serde_json::{Map, Value};

use super::{
    role::{Role, Roles},
    user_id::UserId,
};

/// The largest integer that all readers of JSON take for what it is (RFC 8259,
/// section 6).
const MAX_SAFE_INTEGER: i64 = (1 << 53) - 1;

/// Claims whose meaning is fixed (RFC 7519, section 4.1).
pub const REGISTERED_CLAIMS: [&str; 6] = ["exp", "iat", "nbf", "iss", "aud", "jti"];
/// Claims that tell of a session (OpenID Connect Core, section 2, and Front-Channel
/// Logout, section 3).
pub const SESSION_CLAIMS: [&str; 2] = ["sid", "auth_time"];

/// The claims that say who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClaimNames {
    /// The user's id.
    pub id: String,
    /// The user's name; perhaps the same claim as the id.
    pub name: String,
    /// The user's email.
    pub email: String,
    /// The user's role.
    pub role: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        let [id, name, email, role] = ["userId", "sub", "email", "role"].map(str::to_owned);
        Self { id, name, email, role }
    }
}

impl ClaimNames {
    /// All four.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        [&self.id, &self.name, &self.email, &self.role].into_iter().map(String::as_str)
    }
}

/// What roles are called in tokens, where that is not their own name.
#[derive(Clone, Debug, Default)]
pub struct RoleNames(Vec<(String, Role)>);

impl RoleNames {
    /// Other names, each with its role. Of several for one role, the first one
    /// is written.
    #[must_use]
    pub fn new(names: Vec<(String, Role)>) -> Self {
        Self(names)
    }

    /// The role of this name. A role that has another one is not known by its
    /// own.
    pub(super) fn read(&self, name: &str, roles: &Roles) -> Option<Role> {
        let mapped = self.0.iter().find(|(other, _)| other == name).map(|(_, role)| *role);
        mapped.or_else(|| roles.get(name).filter(|role| self.of(*role).is_none()))
    }

    /// The name that the role is written by.
    pub(super) fn write<'a>(&'a self, role: Role, roles: &'a Roles) -> &'a str {
        self.of(role).unwrap_or_else(|| roles.name(role))
    }

    fn of(&self, role: Role) -> Option<&str> {
        self.0.iter().find(|(_, own)| *own == role).map(|(name, _)| name.as_str())
    }
}

/// A claim that is added to the tokens that are made.
#[derive(Clone, Debug, PartialEq)]
pub enum Extra {
    /// How the user signed in: `password` or `sso`.
    Method,
    /// The user's id.
    Id,
    /// The user's name.
    Name,
    /// The user's email.
    Email,
    /// The name of the user's role.
    Role,
    /// Always the same.
    Fixed(Value),
}

impl Extra {
    /// What stands for a known value, or else for itself.
    #[must_use]
    pub fn new(value: Value) -> Self {
        match value.as_str() {
            Some("method") => Self::Method,
            Some("id") => Self::Id,
            Some("name") => Self::Name,
            Some("email") => Self::Email,
            Some("role") => Self::Role,
            _ => Self::Fixed(value),
        }
    }
}

/// All of it.
#[derive(Clone, Debug)]
pub struct TokenShape {
    /// The names of the claims.
    pub claims: ClaimNames,
    /// The names of the roles.
    pub roles: RoleNames,
    /// What is added, by the name of its claim.
    pub extra: Vec<(String, Extra)>,
}

impl Default for TokenShape {
    fn default() -> Self {
        let extra = vec![("login_method".to_owned(), Extra::Method)];
        Self { claims: ClaimNames::default(), roles: RoleNames::default(), extra }
    }
}

/// What a token says of its user.
pub(super) struct Said<'a> {
    pub(super) id: &'a UserId,
    pub(super) name: &'a str,
    pub(super) email: Option<&'a str>,
    pub(super) role: &'a str,
    pub(super) method: Option<&'a str>,
}

impl TokenShape {
    /// The claim that tells how the user signed in.
    pub(super) fn method(&self) -> Option<&str> {
        self.extra.iter().find(|(_, extra)| *extra == Extra::Method).map(|(name, _)| name.as_str())
    }

    /// Writes what a token says of its user. Where two are in one claim, the id
    /// is what stands there.
    pub(super) fn write(&self, said: &Said<'_>, payload: &mut Map<String, Value>) {
        let names = &self.claims;
        let text = |value: &str| Value::from(value);
        payload.insert(names.role.clone(), text(said.role));
        payload.extend(said.email.map(|email| (names.email.clone(), text(email))));
        payload.insert(names.name.clone(), text(said.name));
        payload.insert(names.id.clone(), id(said.id));
        for (name, extra) in &self.extra {
            let value = match extra {
                Extra::Method => said.method.map(text),
                Extra::Id => Some(id(said.id)),
                Extra::Name => Some(text(said.name)),
                Extra::Email => said.email.map(text),
                Extra::Role => Some(text(said.role)),
                Extra::Fixed(value) => Some(value.clone()),
            };
            payload.extend(value.map(|value| (name.clone(), value)));
        }
    }
}

/// An id that is an integer is written as one: some libraries refuse a string
/// where they ask for a number.
fn id(id: &UserId) -> Value {
    let integer = id.as_str().parse::<i64>().ok().filter(|integer| {
        integer.unsigned_abs() <= MAX_SAFE_INTEGER.unsigned_abs()
            && integer.to_string() == id.as_str()
    });
    integer.map_or_else(|| id.as_str().into(), Value::from)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_id_that_is_a_canonical_integer_is_a_number() {
        for (text, expected) in [
            ("7", json!(7)),
            ("0", json!(0)),
            ("-7", json!(-7)),
            ("9007199254740991", json!(9_007_199_254_740_991_i64)),
            ("9007199254740992", json!("9007199254740992")),
            ("-9007199254740992", json!("-9007199254740992")),
            ("007", json!("007")),
            ("+7", json!("+7")),
            ("-0", json!("-0")),
            ("7.0", json!("7.0")),
            ("7 ", json!("7 ")),
            ("1e3", json!("1e3")),
            ("sso:7", json!("sso:7")),
            ("٧", json!("٧")),
        ] {
            assert_eq!(id(&UserId::new(text).unwrap()), expected, "{text}");
        }
    }

    #[test]
    fn a_role_with_another_name_is_known_by_that_alone() {
        let roles = Roles::new(["REGULAR", "ADMIN"].map(str::to_owned).to_vec()).unwrap();
        let admin = roles.get("ADMIN").unwrap();
        let names = RoleNames::new(vec![("proxy_admin".into(), admin), ("boss".into(), admin)]);
        assert_eq!(names.read("proxy_admin", &roles), Some(admin));
        assert_eq!(names.read("boss", &roles), Some(admin));
        assert_eq!(names.read("ADMIN", &roles), None);
        assert_eq!(names.read("REGULAR", &roles), roles.get("REGULAR"));
        assert_eq!(names.write(admin, &roles), "proxy_admin");
        assert_eq!(names.write(roles.get("REGULAR").unwrap(), &roles), "REGULAR");
    }
}
