//! `[feed]`: where engines in other processes are told what this one decides by.

use std::path::PathBuf;

use super::{check::Listen, reader::Section};

/// `[feed]`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedConfig {
    /// The path of the Unix socket.
    pub listen: PathBuf,
    /// The users who may ask, beside the service's own.
    pub uids: Vec<u32>,
}

impl FeedConfig {
    pub(super) fn read(mut section: Section<'_>) -> Option<Self> {
        let listen = section.parsed("listen", "\"unix:/path\"", |text| match Listen::parse(text) {
            Some(Listen::Unix(path)) => Some(path),
            _ => None,
        });
        let uids = section.get("uids", "a list of the numbers of users").unwrap_or_default();
        if section.has("uids") && !section.has("listen") {
            section.problem("listen", "it is missing", "write \"unix:/run/portcullis/feed.sock\"");
        }
        section.finish();
        Some(Self { listen: listen?, uids })
    }
}
