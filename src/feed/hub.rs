//! What there is to tell, and who hears of its changes.

use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use tokio::sync::{broadcast, watch};

use super::frame::{FromEngine, FromService, MAX_TOLD, Raw, Tokens, encode};
use crate::{
    api_key::{KeyChange, KeyId, KeyList},
    clock::Timestamp,
    issuers::{KeyWatch, Said},
    token::{RenewedSession, Revocation, RevocationList},
};

/// So many changes wait for one who is slow; with more, all is told anew.
const MOST_WAITING: usize = 16_384;
/// So many are told of in one text: an engine takes them over in one go.
const AT_ONCE: usize = 100;
/// So many renewed sessions wait to be noted.
const MOST_SEEN: usize = 8192;

/// The configuration in force, as it is told.
#[derive(Clone, Debug, Default)]
pub(super) struct Settings {
    /// None before there is one, and where it is too long to be told.
    pub(super) frame: Option<Bytes>,
    /// For how long cut-offs count, in seconds.
    pub(super) cut_offs_kept: u64,
}

/// Tells all who follow.
#[derive(Debug)]
pub struct Hub {
    revoked: Arc<RevocationList>,
    keys: Arc<KeyList>,
    issuers: Arc<KeyWatch>,
    settings: watch::Sender<Settings>,
    news: broadcast::Sender<Bytes>,
    seen: Mutex<Vec<RenewedSession>>,
}

impl Hub {
    /// Tells of these lists and issuers.
    #[must_use]
    pub fn new(
        revoked: Arc<RevocationList>,
        keys: Arc<KeyList>,
        issuers: Arc<KeyWatch>,
    ) -> Arc<Self> {
        let news = broadcast::Sender::new(MOST_WAITING);
        let tell = |frame: FromService| encode(&frame, MAX_TOLD).map(Bytes::from);
        let of_revoked = news.clone();
        revoked.watch(move |revoked| {
            if of_revoked.receiver_count() > 0 {
                for frame in of(revoked) {
                    tell(frame).map(|frame| of_revoked.send(frame));
                }
            }
        });
        let of_keys = news.clone();
        keys.watch(move |changes| {
            if of_keys.receiver_count() > 0 {
                tell(of_changes(changes)).map(|frame| of_keys.send(frame));
            }
        });
        let (settings, seen) = (watch::Sender::default(), Mutex::default());
        Arc::new(Self { revoked, keys, issuers, settings, news, seen })
    }

    /// Another configuration is in force: what there is of it to tell.
    pub fn put(&self, bundle: Option<Vec<u8>>, cut_offs_kept: std::time::Duration) {
        let settings = bundle.map(|bundle| FromService::Settings(Raw(bundle)));
        let frame = settings.as_ref().and_then(|settings| encode(settings, MAX_TOLD));
        if settings.is_some() && frame.is_none() {
            let fix = "make the files that it names smaller";
            tracing::error!(
                most = MAX_TOLD,
                fix,
                "the configuration is too large to send to other engines"
            );
        }
        let frame = frame.map(Bytes::from);
        self.settings.send_replace(Settings { frame, cut_offs_kept: cut_offs_kept.as_secs() });
    }

    /// The sessions that were renewed elsewhere since this was asked last.
    #[must_use]
    pub fn seen(&self) -> Vec<RenewedSession> {
        std::mem::take(&mut *self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// What changes from now on: first what is new, then the configuration.
    pub(super) fn follow(&self) -> (broadcast::Receiver<Bytes>, watch::Receiver<Settings>) {
        (self.news.subscribe(), self.settings.subscribe())
    }

    /// Whether it is known who is shut out.
    pub(super) fn is_whole(&self) -> bool {
        self.revoked.is_loaded()
    }

    /// Whether keys for machines are known, where they are taken.
    pub(super) fn has_keys(&self) -> bool {
        !self.keys.is_wanted() || self.keys.is_loaded()
    }

    /// All who are shut out, and all keys, in pieces.
    pub(super) fn all(&self) -> impl Iterator<Item = FromService> {
        let revoked = self.revoked.all().flat_map(|revoked| of(&revoked));
        let keys = Some(&self.keys).filter(|keys| keys.is_wanted());
        let keys = keys.into_iter().flat_map(|keys| keys.all());
        revoked.chain(keys.map(|changes| of_changes(&changes)))
    }

    /// What issuers have said.
    pub(super) fn issuers(&self) -> Vec<Said> {
        self.issuers.said()
    }

    /// An engine has asked.
    pub(super) fn hear(&self, asked: FromEngine) {
        match asked {
            FromEngine::Missed(issuer) => self.issuers.miss(&issuer),
            FromEngine::Uses(uses) => {
                let uses = uses.into_iter().map(|(id, day)| (KeyId::from_bits(id), day));
                self.keys.uses.put_back(uses.collect());
            }
            FromEngine::Seen(sessions) => {
                let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
                let room = MOST_SEEN.saturating_sub(seen.len());
                let renewed = sessions.into_iter().take(room).map(|(user_id, sid, at)| {
                    RenewedSession { user_id, sid, at: Timestamp::from_millis(at) }
                });
                seen.extend(renewed);
            }
        }
    }
}

/// These, each kind in texts of its own, none of them long.
fn of(revoked: &[Revocation]) -> Vec<FromService> {
    let (mut tokens, mut users, mut frames) = (Vec::new(), Vec::new(), Vec::new());
    for one in revoked {
        match one {
            Revocation::Token(token, end) => tokens.push((*token, *end)),
            Revocation::User(user_id, at) => users.push((user_id.clone(), at.as_millis())),
            Revocation::Everybody(at) => frames.push(FromService::Everybody(at.as_millis())),
        }
    }
    frames.extend(tokens.chunks(AT_ONCE).map(|some| FromService::Tokens(Tokens(some.to_vec()))));
    frames.extend(users.chunks(AT_ONCE).map(|some| FromService::Users(some.to_vec())));
    frames
}

fn of_changes(changes: &[KeyChange]) -> FromService {
    FromService::Keys(changes.iter().map(Into::into).collect())
}
