//! `key inspect`.

use std::{
    io::{self, Read as _},
    process::ExitCode,
};

use portcullis::{
    api_key::{KeyText, Shown},
    app::{self, Lists},
    authz::Reason,
    clock::{Clock as _, SystemClock},
    revocations,
};

use super::{
    super::{ConfigArgs, NO, YES, advice::advice, print, shared::Shared},
    OTHERWISE,
    list::in_json,
    wrong,
};

/// The most that is read from stdin: more than any key.
const MAX_BYTES: u64 = 4096;

/// Shows a key's id, whether the key is complete, and whether it would be accepted
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis key inspect --config portcullis.toml < ci.key
  pbpaste | portcullis key inspect --offline")]
pub(in crate::cli) struct Inspect {
    #[command(flatten)]
    config: ConfigArgs,
    /// Checks only the key's form and checksum, without a file of keys or the store
    #[arg(long)]
    offline: bool,
    /// The client's address, for a key that may be used only from certain addresses
    #[arg(long, value_name = "ADDRESS", default_value = "")]
    from: String,
    /// The key; if it is left out, stdin is read
    key: Option<String>,
}

impl Inspect {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        let text = self.key.map_or_else(from_stdin, Ok)?;
        let text = text.trim();
        let Some(form) = KeyText::parse(text) else {
            print("refused: it does not have the form of a key (malformed_key)");
            return Ok(ExitCode::from(NO));
        };
        print(format_args!("id        {}", form.id));
        print(format_args!("checksum  {}", if form.is_sound { "right" } else { "wrong" }));
        if self.offline || !form.is_sound {
            return Ok(ExitCode::from(if form.is_sound { YES } else { NO }));
        }
        let config = self.config.load()?;
        let now = SystemClock.now();
        let lists = Lists::default();
        if config.store.target.is_some() {
            let shared = Shared::of(&config, OTHERWISE)?;
            if let Some(key) = shared.ask(|store| store.key(form.id))? {
                let used = shared.ask(|store| store.key_use(form.id))?;
                print(format_args!("key       {}", in_json(&key, used, now)));
            }
            shared.ask(|store| revocations::load(store, &lists.revoked, &lists.keys, now))?;
        } else {
            lists.revoked.set_loaded();
            lists.keys.set_loaded();
        }
        let engine = app::engine(config, lists);
        let Some(keys) = &engine.api_keys else {
            let fix = "add [api_keys] to it, or use --offline";
            return Err(wrong("the configuration does not accept keys", fix));
        };
        let shown = Shown { address: &self.from, now };
        match keys.verify(text, shown, &engine.verifier) {
            Ok(good) => {
                let claims = &good.verified.claims;
                print(format_args!("accepted, as {} (id {})", claims.name, claims.user_id));
                Ok(ExitCode::from(YES))
            }
            Err(refusal) => {
                print(format_args!("refused: {refusal} ({})", refusal.as_str()));
                print(format_args!("fix: {}", advice(Reason::Key(refusal))));
                Ok(ExitCode::from(NO))
            }
        }
    }
}

fn from_stdin() -> Result<String, ExitCode> {
    let mut text = String::new();
    io::stdin().take(MAX_BYTES).read_to_string(&mut text).map_err(|error| {
        wrong(format!("stdin cannot be read: {error}"), "give the key as an argument")
    })?;
    Ok(text)
}
