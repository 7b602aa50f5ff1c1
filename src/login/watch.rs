//! Follows the users file: a change of it is taken over without a restart,
//! and shuts out what the users it changes were issued before.

use std::{
    collections::HashMap,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use arc_swap::ArcSwap;
use tokio_util::sync::CancellationToken;

use super::account::{Account, Accounts};
use crate::{
    clock::Clock,
    store::{Store, StoreError},
    token::{RevocationList, Roles},
};

/// How often the file is looked at. Looking is cheap, follows the symlink that
/// Kubernetes swaps, and works on every file system.
const POLL: Duration = Duration::from_secs(1);

/// Follows a users file.
#[derive(Debug)]
pub struct AccountsWatch {
    /// The file.
    pub file: PathBuf,
    /// The roles that accounts may have.
    pub roles: Roles,
    /// Where the accounts are used.
    pub accounts: Arc<ArcSwap<Accounts>>,
    /// Where cut-offs are shared.
    pub store: Arc<Store>,
    /// Where they are enforced at once.
    pub list: Arc<RevocationList>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

/// What tells one version of a file from another.
type Fingerprint = (u64, u64, i64, i64, u64);

fn fingerprint(file: &Path) -> Option<Fingerprint> {
    let data = std::fs::metadata(file).ok()?;
    Some((data.dev(), data.ino(), data.mtime(), data.mtime_nsec(), data.size()))
}

impl AccountsWatch {
    /// Follows until it is told to stop.
    pub async fn run(self, stop: CancellationToken) {
        // The file is read once more: it may have changed since the start.
        let mut seen = None;
        // What each account was noted to be, once the store has told.
        let mut noted: Option<HashMap<String, String>> = None;
        loop {
            if let Err(error) = self.note_all(&mut noted).await {
                tracing::debug!(%error, "the accounts are noted when the store answers");
            }
            tokio::select! {
                () = tokio::time::sleep(POLL) => {}
                () = stop.cancelled() => return,
            }
            let now = fingerprint(&self.file);
            if now.is_some() && now != seen {
                self.reload();
                seen = now;
            }
        }
    }

    fn reload(&self) {
        match Accounts::load(&self.file, &self.roles) {
            Ok(accounts) => {
                tracing::info!(accounts = accounts.iter().count(), "the users file was read");
                self.accounts.store(Arc::new(accounts));
            }
            Err(problems) => {
                for problem in problems {
                    tracing::error!(
                        problem,
                        mend = "correct it; the accounts stay as they were",
                        "the users file was not reloaded"
                    );
                }
            }
        }
    }

    /// What each account is, by the user's id.
    fn states(&self) -> HashMap<String, String> {
        let accounts = self.accounts.load();
        let state = |account: &Account| account.state(&self.roles).to_owned();
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
