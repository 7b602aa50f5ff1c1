//! Whom the provider has signed in, and who that is here.

use serde_json::{Map, Value};

use super::SsoSettings;
use crate::{
    login::{Account, Accounts, ByEmail, SignInError, SignedIn},
    token::{Role, RoleSet, Roles},
};

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 256;

/// Whom the provider has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The provider's `sub`.
    pub subject: String,
    /// A name for people.
    pub name: String,
    /// The email, when the provider says that it is verified.
    pub email: Option<String>,
    /// The role that the provider's claims give.
    pub role: Option<Role>,
}

/// Who may sign in.
#[derive(Clone, Debug)]
pub enum Admitted {
    /// The holder of an account.
    Account(Account),
    /// Somebody without one.
    Guest(SignedIn),
}

impl Person {
    /// Whether the claims leave something open that the userinfo endpoint may
    /// tell.
    pub(super) fn is_incomplete(claims: &Map<String, Value>, settings: &SsoSettings) -> bool {
        let asks_email = settings.scopes.iter().any(|scope| scope == "email");
        let lacks = |name| !claims.contains_key(name);
        let role = settings.role_claim.as_ref();
        (asks_email && (lacks("email") || lacks("email_verified")))
            || role.is_some_and(|name| claim(claims, name).is_none())
            || (lacks("name") && lacks("preferred_username"))
    }

    /// The person of these claims, of which `sub` is verified.
    pub(super) fn read(claims: &Map<String, Value>, settings: &SsoSettings) -> Self {
        let text = |name| claims.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
        // A mailbox that nobody has proved to hold is nobody's name.
        let is_verified = claims.get("email_verified") == Some(&Value::Bool(true));
        let email = text("email").filter(|_| is_verified);
        let subject = text("sub").unwrap_or_default();
        let name = text("name").or(text("preferred_username")).or(email).unwrap_or(subject);
        let mapped = |value: &Value| settings.role_map.get(value.as_str()?).copied();
        let role = settings.role_claim.as_ref().and_then(|name| match claim(claims, name)? {
            Value::Array(values) => values.iter().filter_map(mapped).max(),
            value => mapped(value),
        });
        Self {
            subject: subject.to_owned(),
            name: name.get(..name.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or_default().into(),
            email: email.map(str::to_owned),
            role: role.or(settings.default_role),
        }
    }

    /// Who that is here: the account of the same email, when accounts are
    /// linked, or somebody whose id no account can have.
    ///
    /// # Errors
    ///
    /// [`SignInError::Forbidden`] for a disabled account, for an email that
    /// two accounts have, and for a role that may not sign in.
    pub fn admit(
        self,
        accounts: &Accounts,
        is_linked: bool,
        may: RoleSet,
        roles: &Roles,
    ) -> Result<Admitted, SignInError> {
        let email = self.email.as_deref().filter(|_| is_linked);
        match email.map_or(ByEmail::Nobody, |email| accounts.by_email(email)) {
            ByEmail::One(account) if !account.disabled && may.contains(account.role) => {
                Ok(Admitted::Account(account.clone()))
            }
            ByEmail::One(_) | ByEmail::Several => Err(SignInError::Forbidden),
            ByEmail::Nobody => {
                let role = self.role.filter(|role| may.contains(*role));
                let role = role.ok_or(SignInError::Forbidden)?;
                Ok(Admitted::Guest(SignedIn {
                    user_id: format!("sso:{}", self.subject),
                    name: self.name,
                    email: self.email,
                    role: roles.name(role).to_owned(),
                    method: "sso".to_owned(),
                    cut_off: None,
                }))
            }
        }
    }
}

/// The claim of this name; one with dots in it may also be a way through
/// objects, such as `realm_access.roles`.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    let way = || {
        let mut steps = name.split('.');
        let first = claims.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    };
    claims.get(name).or_else(way)
}
