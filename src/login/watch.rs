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

use super::account::Accounts;
use crate::{
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
        let mut seen = fingerprint(&self.file);
        // What each account is, and whether the store knows it.
        let mut noted: HashMap<String, String> = HashMap::new();
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
                tracing::info!(accounts = accounts.iter().count(), "the users file was reloaded");
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

    /// Notes what changed since it was last noted, until the store fails.
    async fn note_all(&self, noted: &mut HashMap<String, String>) -> Result<(), StoreError> {
        let accounts = self.accounts.load_full();
        let mut now: HashMap<String, String> =
            noted.keys().map(|id| (id.clone(), "removed".to_owned())).collect();
        for account in accounts.iter() {
            let state = if account.disabled { "disabled" } else { self.roles.name(account.role) };
            now.insert(account.id.to_string(), state.to_owned());
        }
        for (id, state) in now {
            if noted.get(&id) == Some(&state) {
                continue;
            }
            if let Some(at) = self.store.note_account(&id, &state).await? {
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
        Ok(())
    }
}
