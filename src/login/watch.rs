//! Follows the accounts: a change of one shuts out what its user was issued
//! before.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::account::Accounts;
use crate::{
    clock::Clock,
    store::{AccountState, Store, StoreError},
    token::RevocationList,
};

/// How often the accounts are looked at.
const POLL: Duration = Duration::from_secs(1);

/// Follows the accounts.
#[derive(Debug)]
pub struct AccountsWatch {
    /// The accounts of the newest users file.
    pub accounts: Arc<ArcSwap<Accounts>>,
    /// Where cut-offs are shared.
    pub store: Arc<Store>,
    /// Where they are enforced at once.
    pub list: Arc<RevocationList>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl AccountsWatch {
    /// Follows until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        // What each account was noted to be, once the store has told; and the
        // accounts of which all has been noted.
        let mut noted: Option<HashMap<String, AccountState>> = None;
        let mut done: Option<Arc<Accounts>> = None;
        while !stop.is_cancelled() {
            let accounts = self.accounts.load_full();
            if !accounts.are_of_a_file() {
                (noted, done) = (None, None);
            } else if done.as_ref().is_none_or(|done| !Arc::ptr_eq(done, &accounts)) {
                match self.note_all(&accounts, &mut noted).await {
                    Ok(()) => done = Some(accounts),
                    Err(error) => {
                        tracing::debug!(%error, "the accounts are noted when the store answers");
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// Notes what changed since it was last noted, by whichever replica.
    async fn note_all(
        &self,
        accounts: &Accounts,
        noted: &mut Option<HashMap<String, AccountState>>,
    ) -> Result<(), StoreError> {
        let noted = match noted {
            Some(noted) => noted,
            None => noted.insert(self.store.accounts().await?),
        };
        let mut now: HashMap<String, AccountState> = accounts
            .iter()
            .map(|account| (account.id.to_string(), account.state.clone()))
            .collect();
        for id in noted.keys() {
            let removed = || AccountState { state: "removed".to_owned(), password: None };
            now.entry(id.clone()).or_insert_with(removed);
        }
        let mut failed = None;
        for (id, account) in now {
            let known = noted.get(&id);
            if known == Some(&account) {
                continue;
            }
            let has_changed = known.is_some_and(|known| account.differs_from(known));
            let cut_off = match self.store.note_account(&id, &account).await {
                Ok(cut_off) => cut_off,
                Err(error) => {
                    // With the store away, who is shut out is so at least here.
                    if has_changed {
                        self.list.cut_off_user(&id, self.clock.now());
                    }
                    failed = Some(error);
                    continue;
                }
            };
            if let Some(at) = cut_off {
                self.list.cut_off_user(&id, at);
                let is_password = known.is_some_and(|known| known.state == account.state);
                tracing::info!(
                    target: "portcullis::audit",
                    event = "cut_off",
                    result = "revoked",
                    user_id = id,
                    cause = if is_password { "password" } else { &account.state },
                );
            }
            noted.insert(id, account);
        }
        failed.map_or(Ok(()), Err)
    }
}
