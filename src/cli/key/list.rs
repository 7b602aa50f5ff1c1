//! `key list` and `key show`.

use std::{collections::HashMap, process::ExitCode};

use portcullis::{
    api_key::{ApiKey, KeyChange, KeyId},
    clock::{Clock as _, SystemClock, Timestamp},
    store::{Cursor, Store, StoreError},
};
use serde_json::{Value, json};

use super::{
    super::{ConfigArgs, YES, print, shared::Shared},
    OTHERWISE, key_id, unknown,
};

/// In seconds.
const DAY: i64 = 24 * 60 * 60;

/// Lists the keys in the store
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  portcullis key list --config portcullis.toml")]
pub(in crate::cli) struct List {
    #[command(flatten)]
    config: ConfigArgs,
    /// Lists only the keys of this user
    #[arg(long)]
    user_id: Option<String>,
    /// Prints JSON, one key per line
    #[arg(long)]
    json: bool,
}

impl List {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let config = self.config.load()?;
        let shared = Shared::of(&config, OTHERWISE)?;
        let mut keys = shared.ask(all)?;
        let uses = shared.ask(Store::key_uses)?;
        keys.retain(|key| self.user_id.as_ref().is_none_or(|id| key.says.user_id == *id));
        let now = SystemClock.now();
        if self.json {
            for key in &keys {
                print(in_json(key, uses.get(&key.id).copied(), now));
            }
            return Ok(ExitCode::from(YES));
        }
        let head = ["ID", "NAME", "USER", "ROLE", "STATE", "EXPIRES", "LAST USED"];
        let mut rows = vec![head.map(str::to_owned)];
        rows.extend(keys.iter().map(|key| row(key, &uses, now)));
        let width = |at: usize| {
            rows.iter().filter_map(|row| row.get(at)).map(|text| text.chars().count()).max()
        };
        let widths: Vec<usize> = (0..head.len()).map(|at| width(at).unwrap_or_default()).collect();
        for row in &rows {
            let cells = row.iter().zip(&widths).map(|(text, width)| format!("{text:<width$}"));
            print(cells.collect::<Vec<_>>().join("  ").trim_end());
        }
        Ok(ExitCode::from(YES))
    }
}

/// Shows a key in the store, without its secret, which is not stored
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Example:
  portcullis key show --config portcullis.toml 2hVbWqL9XyZ")]
pub(in crate::cli) struct Show {
    #[command(flatten)]
    config: ConfigArgs,
    /// The key's id: the eleven characters after `pck_`
    id: String,
}

impl Show {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let config = self.config.load()?;
        let shared = Shared::of(&config, OTHERWISE)?;
        let id = key_id(&self.id)?;
        let key = shared.ask(|store| store.key(id))?.ok_or_else(|| unknown(id))?;
        let used = shared.ask(|store| store.key_use(id))?;
        print(format_args!("{:#}", in_json(&key, used, SystemClock.now())));
        Ok(ExitCode::from(YES))
    }
}

/// All keys of the store, as they were made.
async fn all(store: &Store) -> Result<Vec<ApiKey>, StoreError> {
    let (mut keys, mut cursor): (HashMap<KeyId, ApiKey>, _) = (HashMap::new(), Cursor::default());
    loop {
        let (page, next) = store.key_changes(&cursor).await?;
        for change in page.changes()? {
            if let KeyChange::Key(key) = change {
                keys.insert(key.id, *key);
            }
        }
        if cursor == next {
            break;
        }
        cursor = next;
    }
    let mut keys: Vec<ApiKey> = keys.into_values().collect();
    keys.sort_by_key(|key| (key.says.created, key.id));
    Ok(keys)
}

fn row(key: &ApiKey, uses: &HashMap<KeyId, i64>, now: Timestamp) -> [String; 7] {
    let time = |at: Option<Timestamp>| at.map_or_else(|| "never".to_owned(), Timestamp::to_rfc3339);
    [
        key.id.to_string(),
        key.says.name.clone(),
        key.says.user_id.clone(),
        key.says.role.clone(),
        key.state(now).as_str().to_owned(),
        time(key.expires),
        day(uses.get(&key.id).copied()).unwrap_or_else(|| "never".to_owned()),
    ]
}

pub(super) fn in_json(key: &ApiKey, used: Option<i64>, now: Timestamp) -> Value {
    let time = |at: Option<Timestamp>| at.map(Timestamp::to_rfc3339);
    let says = &key.says;
    json!({
        "id": key.id.to_string(),
        "name": says.name,
        "user_id": says.user_id,
        "role": says.role,
        "scopes": says.scopes,
        "allow": says.allow.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "state": key.state(now).as_str(),
        "created": time(says.created.map(Timestamp::from_secs)),
        "expires": time(key.expires),
        "revoked": time(key.revoked),
        "last_used": day(used),
        "replaces": says.replaces,
        "note": says.note,
    })
}

/// The day on which a key was used last, as far as the replicas have told.
fn day(used: Option<i64>) -> Option<String> {
    Timestamp::from_secs(used?.checked_mul(DAY)?).to_rfc3339().split('T').next().map(str::to_owned)
}
