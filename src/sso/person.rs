//! Whom the provider has signed in, and who that is here.

use serde_json::Value;

use super::{SsoSettings, id_token::Claims};
use crate::{
    login::{Account, Accounts, ByEmail, SignInError, SignedIn, canonical_name},
    token::{Role, RoleSet, Roles},
};

/// The longest name, in bytes.
const MAX_NAME_BYTES: usize = 256;
/// The longest email, in bytes (RFC 5321, section 4.5.3.1).
const MAX_EMAIL_BYTES: usize = 320;

/// The longest `sid`, in bytes, as that of a `sub`.
const MAX_SESSION_BYTES: usize = 255;

/// Whom the provider has signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Person {
    /// The provider's `sub`.
    pub subject: String,
    /// The provider's `sid`, by which it can end the session.
    pub session_id: Option<String>,
    /// A name for people.
    pub name: String,
    /// The email, when the provider says that it is verified.
    pub email: Option<String>,
    /// The email, when it does not: good for refusing somebody alone.
    pub claimed_email: Option<String>,
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
    pub(super) fn is_incomplete(claims: &Claims, settings: &SsoSettings) -> bool {
        let asks_email = settings.scopes.iter().any(|scope| scope == "email");
        let lacks = |name| !claims.contains_key(name);
        let role = settings.role_claim.as_ref();
        (asks_email && (lacks("email") || lacks("email_verified")))
            || role.is_some_and(|name| find(claims, name).is_none())
            || (lacks("name") && lacks("preferred_username"))
    }

    /// The person of an ID token, whose `sub` is verified, and of the userinfo
    /// for what that leaves open.
    pub(super) fn read(signed: &Claims, more: &Claims, settings: &SsoSettings) -> Self {
        let text = |claims: &Claims, name| {
            let text = claims.get(name)?.as_str().filter(|text| !text.is_empty())?;
            Some(text.to_owned())
        };
        let either = |name| text(signed, name).or_else(|| text(more, name));
        // An email and its verification belong together: both are of one
        // source, the signed one where it has both.
        let has_both = signed.contains_key("email") && signed.contains_key("email_verified");
        let told = if has_both { signed } else { more };
        let email = text(told, "email").filter(|email| email.len() <= MAX_EMAIL_BYTES);
        // A mailbox that nobody has proved to hold is nobody's name.
        let is_verified = told.get("email_verified") == Some(&Value::Bool(true));
        let (email, claimed_email) = if is_verified { (email, None) } else { (None, email) };

        let subject = text(signed, "sub").unwrap_or_default();
        let name = either("name").or_else(|| either("preferred_username"));
        let name = name.or_else(|| email.clone()).unwrap_or_else(|| subject.clone());
        let mapped = |value: &Value| settings.role_map.get(value.as_str()?).copied();
        let claim = settings.role_claim.as_ref();
        let claim = claim.and_then(|name| find(signed, name).or_else(|| find(more, name)));
        let role = claim.and_then(|claim| match claim {
            Value::Array(values) => values.iter().filter_map(mapped).max(),
            value => mapped(value),
        });
        Self {
            subject,
            session_id: text(signed, "sid").filter(|sid| sid.len() <= MAX_SESSION_BYTES),
            name: name.get(..name.floor_char_boundary(MAX_NAME_BYTES)).unwrap_or_default().into(),
            email,
            claimed_email,
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
        let is_disabled = |email: &String| matches!(accounts.by_email(email), ByEmail::One(account) if account.disabled);
        // Who was shut out does not come in by taking the proof back.
        if is_linked && self.claimed_email.as_ref().is_some_and(is_disabled) {
            return Err(SignInError::Forbidden);
        }
        let email = self.email.as_deref().filter(|_| is_linked);
        match email.map_or(ByEmail::Nobody, |email| accounts.by_email(email)) {
            ByEmail::One(account) if !account.disabled && may.contains(account.role) => {
                Ok(Admitted::Account(account.clone()))
            }
            ByEmail::One(_) | ByEmail::Several => Err(SignInError::Forbidden),
            ByEmail::Nobody => {
                let role = self.role.filter(|role| may.contains(*role));
                let role = role.ok_or(SignInError::Forbidden)?;
                let user_id = format!("sso:{}", self.subject);
                // People choose their names at most providers: an account's is
                // not for them.
                let is_taken = accounts.by_name(&canonical_name(&self.name)).is_some();
                Ok(Admitted::Guest(SignedIn {
                    name: if is_taken { user_id.clone() } else { self.name },
                    user_id,
                    email: self.email,
                    role: roles.name(role).to_owned(),
                    method: "sso".to_owned(),
                    cut_off: None,
                    at_issuer: None,
                }))
            }
        }
    }
}

/// The claim of this name; one with dots in it may also be a way through
/// objects, such as `realm_access.roles`.
fn find<'a>(claims: &'a Claims, name: &str) -> Option<&'a Value> {
    let way = || {
        let mut steps = name.split('.');
        let first = claims.get(steps.next()?)?;
        steps.try_fold(first, |value, step| value.get(step))
    };
    claims.get(name).or_else(way)
}

#[cfg(test)]
pub(super) mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use serde_json::json;
    use url::Url;

    use super::*;
    use crate::sso::ClientAuth;

    pub(in crate::sso) fn settings(scopes: &[&str], role_claim: Option<&str>) -> SsoSettings {
        let url = Url::parse("https://eu.example.com/").unwrap();
        SsoSettings {
            issuer: "https://idp.example.com".to_owned(),
            client_id: "us".to_owned(),
            client_secret: None,
            client_auth: ClientAuth::Basic,
            scopes: scopes.iter().map(|&scope| scope.to_owned()).collect(),
            state_ttl: Duration::ZERO,
            link_by_email: false,
            default_role: None,
            role_claim: role_claim.map(str::to_owned),
            role_map: BTreeMap::new(),
            redirect_uri: url.clone(),
            after_logout: url,
            leeway: Duration::ZERO,
        }
    }

    fn claims(value: &Value) -> Claims {
        value.as_object().unwrap().clone()
    }

    #[test]
    fn the_userinfo_is_asked_for_what_the_id_token_leaves_open_and_for_nothing_else() {
        let email = json!({ "name": "Ann", "email": "ann@example.com", "email_verified": true });
        for (scopes, role_claim, told, is_incomplete) in [
            (&["openid"][..], None, json!({ "name": "Ann" }), false),
            (&["openid"], None, json!({ "preferred_username": "ann" }), false),
            (&["openid"], None, json!({}), true),
            (&["openid", "email"], None, email.clone(), false),
            (&["email"], None, json!({ "name": "Ann", "email": "a@b.c" }), true),
            (&["email"], None, json!({ "name": "Ann", "email_verified": true }), true),
            (&["openid"], Some("groups"), json!({ "name": "Ann", "groups": [] }), false),
            (&["openid"], Some("groups"), json!({ "name": "Ann" }), true),
            (&["email"], Some("groups"), email, true),
        ] {
            let settings = settings(scopes, role_claim);
            assert_eq!(Person::is_incomplete(&claims(&told), &settings), is_incomplete, "{told}");
        }
    }

    #[test]
    fn what_is_too_long_for_an_email_or_a_session_is_none_and_a_name_is_cut() {
        let read = |email: usize, session: usize| {
            let email = "x".repeat(email);
            let told = json!({
                "sub": "7", "name": "ö".repeat(200), "sid": "s".repeat(session),
                "email": email, "email_verified": true,
            });
            Person::read(&claims(&told), &Claims::new(), &settings(&[], None))
        };
        let (fits, exceeds) = (read(320, 255), read(321, 256));
        assert_eq!(fits.email.map(|email| email.len()), Some(320));
        assert_eq!(fits.session_id.map(|sid| sid.len()), Some(255));
        assert_eq!((exceeds.email, exceeds.claimed_email, exceeds.session_id), (None, None, None));
        assert_eq!(fits.name, "ö".repeat(128));
    }

    #[test]
    fn an_email_and_its_proof_are_of_one_source() {
        let (signed, more) = (
            json!({ "sub": "7", "email": "ann@example.com" }),
            json!({ "sub": "7", "email": "eve@example.com", "email_verified": false }),
        );
        let person = Person::read(&claims(&signed), &claims(&more), &settings(&[], None));
        assert_eq!(
            (person.email, person.claimed_email),
            (None, Some("eve@example.com".to_owned()))
        );
    }
}
