//! The service's side: a socket, and a task for each who follows.

use std::{
    fs::Permissions, io, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc, time::Duration,
};

use bytes::Bytes;
use serde::Serialize;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        UnixListener, UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    sync::{broadcast::error::RecvError, watch},
    task::JoinSet,
    time::{Interval, MissedTickBehavior, interval, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    BEAT, PATIENCE,
    frame::{Frames, FromService, MAX_ASKED, MAX_TOLD, encode},
    greeting,
    hub::{Hub, Settings},
    peer,
};
use crate::{
    issuers::Said,
    socket::{self, SocketFile},
};

/// So many follow at a time: one for each Envoy beside the service, and those that take
/// the place of others.
const MOST: usize = 16;
/// How long one may take to take what it is told: a long configuration is made an engine
/// of before more is read.
const WRITE: Duration = Duration::from_secs(60);
/// How often it is looked whether it is known by now who is shut out.
const LOOK: Duration = Duration::from_millis(20);
/// How long to wait when no connection could be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// So much is read at a time, in bytes, and told at once.
const CHUNK: usize = 16 * 1024;
const AT_ONCE: usize = 256 * 1024;

/// A socket at which engines are told.
#[derive(Debug)]
pub struct FeedServer {
    listener: UnixListener,
    file: SocketFile,
    uids: Vec<u32>,
}

/// Binds it, for the user of this process and these. Its file is for its owner, or for
/// all where others may ask, who are asked who they are all the same.
///
/// # Errors
///
/// Those of the operating system.
pub async fn bind(path: &Path, uids: Vec<u32>) -> io::Result<FeedServer> {
    let (listener, file) = socket::bind(path).await?;
    let mode = if uids.is_empty() { 0o600 } else { 0o666 };
    std::fs::set_permissions(file.path(), Permissions::from_mode(mode))?;
    Ok(FeedServer { listener, file, uids })
}

impl FeedServer {
    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// Tells until it is told to stop.
    pub async fn serve(self, hub: Arc<Hub>, stop: CancellationToken) {
        let mut followers = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(_) = followers.join_next() => continue,
                () = stop.cancelled() => return,
            };
            let Ok((stream, _)) = accepted else {
                sleep(PAUSE).await;
                continue;
            };
            if let Err(uid) = peer::check(&stream, &self.uids) {
                let fix = "add the user to feed.uids, if this user may follow";
                tracing::warn!(uid, fix, "a user who may not follow has connected");
                continue;
            }
            if followers.len() >= MOST {
                tracing::warn!(most = MOST, "more engines want to follow than are allowed");
                continue;
            }
            followers.spawn(follow(stream, Arc::clone(&hub)));
        }
    }
}

/// Tells one until it goes.
async fn follow(stream: UnixStream, hub: Arc<Hub>) {
    tracing::info!("an engine follows");
    let (from, to) = stream.into_split();
    let ended = match greet(from, to).await {
        Ok((from, to)) => {
            let mut listening = JoinSet::new();
            let heard = Arc::clone(&hub);
            listening.spawn(listen(from, heard));
            tokio::select! {
                Err(error) = tell(to, &hub) => error,
                Some(heard) = listening.join_next() => match heard {
                    Ok(error) => error,
                    Err(_) => io::Error::other("a bug: what it asks could not be read"),
                },
            }
        }
        Err(error) => error,
    };
    tracing::info!(cause = %ended, "an engine no longer follows");
}

/// Greets, and hears the greeting.
async fn greet(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
) -> io::Result<(OwnedReadHalf, OwnedWriteHalf)> {
    let greeted = async {
        to.write_all(&greeting::own()).await?;
        let mut theirs = [0; greeting::LENGTH];
        from.read_exact(&mut theirs).await?;
        greeting::check(theirs).map_err(io::Error::other)
    };
    timeout(PATIENCE, greeted).await.map_err(|_| too_slow())??;
    Ok((from, to))
}

/// Hears what one asks, until it goes.
async fn listen(mut from: OwnedReadHalf, hub: Arc<Hub>) -> io::Error {
    let mut frames = Frames::up_to(MAX_ASKED);
    let mut chunk = vec![0; CHUNK];
    loop {
        match from.read(&mut chunk).await {
            Ok(0) => return io::ErrorKind::UnexpectedEof.into(),
            Ok(count) => frames.push(chunk.get(..count).unwrap_or_default()),
            Err(error) => return error,
        }
        loop {
            match frames.next() {
                Ok(Some(asked)) => hub.hear(asked),
                Ok(None) => break,
                Err(error) => return io::Error::other(error),
            }
        }
    }
}

/// Tells one all that there is, and what changes.
async fn tell(to: OwnedWriteHalf, hub: &Hub) -> io::Result<()> {
    let (mut news, mut settings) = hub.follow();
    let mut voice = Voice { to, said: Vec::new(), has_keys: false, beat: interval(BEAT) };
    voice.beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    voice.everything(hub, &mut settings).await?;
    loop {
        tokio::select! {
            changed = settings.changed() => {
                changed.map_err(io::Error::other)?;
                voice.everything(hub, &mut settings).await?;
            }
            one = news.recv() => match one {
                Ok(one) => {
                    let mut all = Vec::from(one);
                    while all.len() < AT_ONCE && let Ok(next) = news.try_recv() {
                        all.extend_from_slice(&next);
                    }
                    voice.write(&all).await?;
                }
                // It was too slow: what it has missed is among all that there is.
                Err(RecvError::Lagged(_)) => {
                    news = news.resubscribe();
                    voice.everything(hub, &mut settings).await?;
                }
                Err(RecvError::Closed) => return Err(io::ErrorKind::BrokenPipe.into()),
            },
            _ = voice.beat.tick() => {
                // Keys that were not known then are by now.
                if !voice.has_keys && hub.has_keys() {
                    voice.everything(hub, &mut settings).await?;
                }
                voice.issuers(hub).await?;
                voice.say(&FromService::Beat).await?;
            }
        }
    }
}

/// What is said to one.
struct Voice {
    to: OwnedWriteHalf,
    /// What issuers have said, as far as it was told.
    said: Vec<Said>,
    /// Whether keys for machines were known when all was told.
    has_keys: bool,
    beat: Interval,
}

impl Voice {
    /// All that there is. What changes meanwhile is told after it.
    async fn everything(
        &mut self,
        hub: &Hub,
        settings: &mut watch::Receiver<Settings>,
    ) -> io::Result<()> {
        let Settings { frame, cut_offs_kept } = settings.borrow_and_update().clone();
        // One without a configuration, which is too long to be told, knows nothing.
        let Some(frame) = frame else { return Err(io::Error::other("there is nothing to tell")) };
        self.write(&frame).await?;
        self.said.clear();
        self.issuers(hub).await?;
        while !hub.is_whole() {
            tokio::select! {
                () = sleep(LOOK) => {}
                _ = self.beat.tick() => self.say(&FromService::Beat).await?,
            }
        }
        let has_keys = hub.has_keys();
        for frame in hub.all() {
            self.say(&frame).await?;
        }
        self.has_keys = has_keys;
        self.say(&FromService::Whole { cut_offs_kept, has_keys }).await
    }

    /// What issuers have said since they were asked last.
    async fn issuers(&mut self, hub: &Hub) -> io::Result<()> {
        let before = std::mem::replace(&mut self.said, hub.issuers());
        let new = self.said.iter().filter(|one| !before.contains(one)).cloned();
        for Said { place, text, heard } in new.collect::<Vec<_>>() {
            let heard = heard.as_millis();
            self.say(&FromService::IssuerKeys { place, text, heard }).await?;
        }
        Ok(())
    }

    async fn say(&mut self, frame: &impl Serialize) -> io::Result<()> {
        let frame = encode(frame, MAX_TOLD);
        let frame = frame.ok_or_else(|| io::Error::other("a text is too long to be told"))?;
        self.write(&Bytes::from(frame)).await
    }

    async fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        timeout(WRITE, self.to.write_all(bytes)).await.map_err(|_| too_slow())?
    }
}

fn too_slow() -> io::Error {
    io::ErrorKind::TimedOut.into()
}
