//! Signing in: accounts and their passwords, the limits on guessing, and the
//! one-time codes that stand for a sign-in until they are exchanged.

mod account;
mod code;
mod limits;
mod password;
mod watch;

use std::{net::IpAddr, sync::Arc};

use arc_swap::ArcSwap;
use secrecy::SecretString;
use thiserror::Error;

pub use self::{
    account::{Account, Accounts, ByEmail, canonical_name},
    code::{Codes, ExchangeError, Issued, Proof, SignedIn},
    limits::{LimitSettings, Limits},
    password::{Hasher, hash},
    watch::AccountsWatch,
};
use crate::{
    store::{AccountState, StoreError},
    token::RoleSet,
};

/// Why nobody was signed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignInError {
    /// There is no such name, or this is not its password: one error for both.
    #[error("the name or the password is wrong")]
    Wrong,
    /// The password was right, and the account may not sign in.
    #[error("the account may not sign in")]
    Forbidden,
    /// Too many tries, for so many seconds yet.
    #[error("too many tries")]
    LockedOut(u64),
    /// The store does not answer, or there is no room to hash.
    #[error("not now")]
    Unavailable,
}

impl From<StoreError> for SignInError {
    fn from(_: StoreError) -> Self {
        Self::Unavailable
    }
}

/// Who may sign in, and how often one may try.
#[derive(Debug)]
pub struct Login {
    accounts: Arc<Accounts>,
    newest: Arc<ArcSwap<Accounts>>,
    hasher: Hasher,
    limits: Limits,
    roles: RoleSet,
}

impl Login {
    /// A sign-in to the accounts of one configuration, for these roles.
    /// `newest` is where those of a later one will be.
    #[must_use]
    pub fn new(
        accounts: Arc<Accounts>,
        newest: Arc<ArcSwap<Accounts>>,
        hasher: Hasher,
        limits: Limits,
        roles: RoleSet,
    ) -> Self {
        Self { accounts, newest, hasher, limits, roles }
    }

    /// The account of this name, or email, and password. A try is counted
    /// before the password is looked at, under the account's name, and given
    /// back when that was right.
    ///
    /// # Errors
    ///
    /// [`SignInError`].
    pub async fn sign_in(
        &self,
        name: &str,
        password: SecretString,
        address: Option<IpAddr>,
    ) -> Result<Account, SignInError> {
        let name = self.accounts.meant_by(canonical_name(name));
        let tried = self.limits.enter(&name, address).await?;
        let account = self.accounts.by_name(&name).cloned();
        let hash = account.as_ref().map(|account| account.password_hash.clone());
        let right = self.hasher.verify(password, hash, self.accounts.costs()).await;
        let right = right.ok_or(SignInError::Unavailable)?;
        let Some(account) = account.filter(|_| right) else { return Err(SignInError::Wrong) };
        self.limits.give_back(&tried).await?;
        if account.disabled || !self.roles.contains(account.role) {
            return Err(SignInError::Forbidden);
        }
        self.limits.remember(&tried).await;
        Ok(account)
    }

    /// Counts a try from an address that brings no name; too many of them are
    /// refused.
    ///
    /// # Errors
    ///
    /// [`SignInError::LockedOut`] and [`SignInError::Unavailable`].
    pub async fn enter(&self, address: Option<IpAddr>) -> Result<(), SignInError> {
        self.limits.enter_from(address).await
    }

    /// Takes a try back that was no guess.
    pub async fn leave(&self, address: Option<IpAddr>) {
        self.limits.leave_from(address).await;
    }

    /// The accounts.
    #[must_use]
    pub fn accounts(&self) -> &Accounts {
        &self.accounts
    }

    /// Who may sign in.
    #[must_use]
    pub fn roles(&self) -> RoleSet {
        self.roles
    }

    /// Whether an account that has signed in is still what it was then, here
    /// and by what the replicas have noted. Hashing takes time, and files
    /// reach the replicas one after the other.
    #[must_use]
    pub fn is_current(&self, account: &Account, noted: Option<&AccountState>) -> bool {
        let accounts = self.newest.load();
        let same = |now: &Account| now.id == account.id && now.state == account.state;
        accounts.by_name(&canonical_name(&account.name)).is_some_and(same)
            && noted.is_none_or(|noted| !account.state.differs_from(noted))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::{
        clock::{Clock, SystemClock},
        store::{Limit, Store},
        token::Roles,
    };

    /// One account, of this name, id and role.
    fn accounts(name: &str, id: &str, role: &str) -> Accounts {
        let text = format!(
            "[[users]]\nid = \"{id}\"\nname = \"{name}\"\nrole = \"{role}\"\npassword_hash = \
             \"$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2FsdA$\
             AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8\"\n"
        );
        Accounts::parse(&text, &Roles::new(vec!["A".into(), "B".into()]).unwrap()).unwrap()
    }

    #[test]
    fn an_account_is_current_while_it_is_the_same_here_and_as_the_replicas_have_noted_it() {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let store = Arc::new(Store::memory(clock, Duration::ZERO));
        let limit = Limit { tries: 1, window: Duration::ZERO, lockout: Duration::ZERO };
        let limits = LimitSettings { name: limit, address: limit, name_anywhere: limit };
        let signed_in = accounts("ann", "7", "A");
        let account = signed_in.by_name("ann").unwrap().clone();
        let newest = Arc::new(ArcSwap::from_pointee(signed_in.clone()));
        let login = Login::new(
            Arc::new(signed_in),
            Arc::clone(&newest),
            Hasher::default(),
            Limits::new(store, limits),
            RoleSet::default(),
        );
        let other = accounts("ann", "7", "B").by_name("ann").unwrap().state.clone();
        assert!(login.is_current(&account, None));
        assert!(login.is_current(&account, Some(&account.state)));
        assert!(!login.is_current(&account, Some(&other)));
        for changed in
            [accounts("ann", "8", "A"), accounts("ann", "7", "B"), accounts("bob", "7", "A")]
        {
            newest.store(Arc::new(changed));
            assert!(!login.is_current(&account, None));
            assert!(!login.is_current(&account, Some(&account.state)));
        }
    }
}
