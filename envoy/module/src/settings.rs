//! What stands in `filter_config`.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Deserializer, de};

/// No secret is in it: Envoy shows it in `/config_dump`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Settings {
    /// The file of portcullis' own configuration.
    config: Option<PathBuf>,
    /// The socket of the service that tells what to decide by.
    feed: Option<PathBuf>,
    /// Whose the service is, where it is another user's than Envoy, and not root's.
    uid: Option<u32>,
    /// Whom to leave a request to that cannot be decided here.
    #[serde(default)]
    pub(crate) fallback: Fallback,
    /// How old may be what the service has told.
    #[serde(default = "half_a_minute", deserialize_with = "duration")]
    pub(crate) max_stale: Duration,
    #[serde(default)]
    pub(crate) mode: Mode,
    /// What stands in Envoy's listener: without it, Envoy takes a client's address from
    /// what the client writes into `x-forwarded-for`, and nobody is asked for it here.
    #[serde(default)]
    pub(crate) use_remote_address: bool,
}

/// Whom to leave a request to that cannot be decided here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Fallback {
    /// Nobody: it is refused.
    #[default]
    None,
    /// The next filter, which asks the service.
    ExtAuthz,
}

/// What comes of a decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Mode {
    /// It is carried out.
    #[default]
    Enforce,
    /// It is compared with that of `ext_authz`, and changes nothing.
    Shadow,
}

/// Where it is told what to decide by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// In files.
    Files(PathBuf),
    /// By a service.
    Feed(PathBuf, Option<u32>),
}

impl Settings {
    /// Reads them.
    ///
    /// # Errors
    ///
    /// What is wrong with them, and how to fix it.
    pub(crate) fn of(config: &[u8]) -> Result<(Self, Source), String> {
        let settings: Self = serde_json::from_slice(config).map_err(|error| {
            format!(
                "filter_config is neither {{\"feed\": \"/run/portcullis/feed.sock\"}} nor \
                 {{\"config\": \"/etc/portcullis/portcullis.toml\"}}: {error}"
            )
        })?;
        let source = match (&settings.config, &settings.feed) {
            (Some(file), None) => Source::Files(file.clone()),
            (None, Some(socket)) => Source::Feed(socket.clone(), settings.uid),
            _ => return Err("filter_config: write either \"feed\" or \"config\"".to_owned()),
        };
        Ok((settings, source))
    }
}

fn half_a_minute() -> Duration {
    Duration::from_secs(30)
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    humantime::parse_duration(&text).map_err(|error| {
        de::Error::custom(format!("{text:?} is no duration such as \"30s\": {error}"))
    })
}
