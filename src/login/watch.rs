//! Follows the accounts: a change of one shuts out what its user was issued
//! before.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::account::{Account, Accounts};
use crate::{
    clock::Clock,
    store::{Store, StoreError},
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
        // What each account was noted to be, once the store has told.
        let mut noted: Option<HashMap<String, String>> = None;
        while !stop.is_cancelled() {
            if !self.accounts.load().are_of_a_file() {
                noted = None;
            } else if let Err(error) = self.note_all(&mut noted).await {
                tracing::debug!(%error, "the accounts are noted when the store answers");
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// What each account is, by the user's id.
    fn states(&self) -> HashMap<String, String> {
        let accounts = self.accounts.load();
        let state = |account: &Account| account.state().to_owned();
        accounts.iter().map(|account| (account.id.to_string(), state(account))).collect()
    }

    /// Notes what changed since it was last noted, by whichever replica.
    async fn note_all(
        &self,
        noted: &mut Option<HashMap<String, String>>,
    ) -> Result<(), StoreError> {
        let noted = match noted {
            Some(noted) => noted,
            None => noted.insert(self.store.accounts().await?),
        };
        let mut now = self.states();
        for id in noted.keys() {
            now.entry(id.clone()).or_insert_with(|| "removed".to_owned());
        }
        let mut failed = None;
        for (id, state) in now {
            if noted.get(&id) == Some(&state) {
                continue;
            }
            let cut_off = match self.store.note_account(&id, &state).await {
                Ok(cut_off) => cut_off,
                Err(error) => {
                    // With the store away, who is shut out is so at least here.
                    if noted.contains_key(&id) {
                        self.list.cut_off_user(&id, self.clock.now());
                    }
                    failed = Some(error);
                    continue;
                }
            };
            if let Some(at) = cut_off {
                self.list.cut_off_user(&id, at);
                tracing::info!(
                    target: "portcullis::audit",
                    event = "cut_off",
                    result = "revoked",
                    user_id = id,
                    cause = state,
                );
            }
            noted.insert(id, state);
        }
        failed.map_or(Ok(()), Err)
    }
}
