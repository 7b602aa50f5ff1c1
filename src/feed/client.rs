//! The engine's side: one thread, which reads and waits, and needs no runtime.

use std::{
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::net::UnixStream,
    path::Path,
    time::{Duration, Instant},
};

use rustix::{net::sockopt::socket_peercred, process::geteuid};
use serde::Serialize;
use thiserror::Error;

use super::{
    PATIENCE,
    frame::{
        FrameError, Frames, FromEngine, FromService, MAX_ASKED, MAX_TOLD, Raw, Tokens, encode,
    },
    greeting::{self, Stranger},
};
use crate::{
    api_key::{KeyChange, KeyId},
    clock::Timestamp,
    pace::Pace,
    token::{RenewedSession, Revocation},
};

/// How long it is waited for a word, before what is to be asked is looked for.
const LOOK: Duration = Duration::from_millis(200);
/// How long the service may take to take what it is asked.
const WRITE: Duration = Duration::from_secs(1);
/// So much is read at a time, in bytes.
const CHUNK: usize = 64 * 1024;
/// So many are asked in a text.
const PAGE: usize = 10_000;

/// Why a service is followed no more.
#[derive(Debug, Error)]
pub enum Lost {
    /// There is none, or it has gone.
    #[error("{0}")]
    Gone(#[from] io::Error),
    /// It says nothing, or not to its end.
    #[error("it has said nothing for {} seconds", PATIENCE.as_secs())]
    Silent,
    /// It is none of this version.
    #[error("{0}")]
    Stranger(String),
    /// What it says is none of this.
    #[error("{0}")]
    Garbled(String),
}

impl From<Stranger> for Lost {
    fn from(stranger: Stranger) -> Self {
        Self::Stranger(stranger.to_string())
    }
}

impl From<FrameError> for Lost {
    fn from(error: FrameError) -> Self {
        Self::Garbled(error.to_string())
    }
}

/// What is to be asked of the service.
#[derive(Debug, Default)]
pub struct Asks {
    /// Where the keys of issuers are of which one is not known.
    pub missed: Vec<[u8; 32]>,
    /// The keys for machines that were used, each with the day.
    pub uses: Vec<(KeyId, i64)>,
    /// The sessions that were renewed.
    pub seen: Vec<RenewedSession>,
}

/// Who takes over what a service tells.
pub trait Receiver {
    /// Whether it is still of use to anybody.
    fn is_wanted(&self) -> bool;
    /// What the service is configured by, as it was handed to the [`Hub`](super::Hub): in
    /// force when all that follows is whole.
    fn settings(&mut self, bundle: &[u8]);
    /// What an issuer has said then, whose keys are there.
    fn issuer(&mut self, place: [u8; 32], text: &str, heard: Timestamp);
    /// These are shut out.
    fn revoked(&mut self, revoked: Vec<Revocation>);
    /// Keys for machines have changed.
    fn keys(&mut self, changes: &[KeyChange]);
    /// All that there is has been told, keys for machines where they are known; for so
    /// long cut-offs count.
    fn whole(&mut self, cut_offs_kept: Duration, has_keys: bool);
    /// Something was told, whatever it was.
    fn heard(&mut self);
    /// What is to be asked.
    fn asks(&mut self) -> Asks;
    /// What could not be asked, perhaps not all of it.
    fn unasked(&mut self, asks: Asks);
}

/// A connection to a service.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    frames: Frames,
}

impl Client {
    /// Connects to a service of this process' user, of root, or of this one, and greets.
    ///
    /// # Errors
    ///
    /// [`Lost`].
    pub fn connect(socket: &Path, uid: Option<u32>) -> Result<Self, Lost> {
        let stream = UnixStream::connect(socket)?;
        let owner = socket_peercred(&stream).map_err(io::Error::from)?.uid;
        // Whoever tells what to decide by lets in whom they like.
        if !(owner == geteuid() || owner.is_root() || Some(owner.as_raw()) == uid) {
            return Err(Lost::Stranger(format!(
                "it belongs to the user {}: name that one as \"uid\" in filter_config, if it is \
                 portcullis'",
                owner.as_raw()
            )));
        }
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(WRITE))?;
        let mut client = Self { stream, frames: Frames::up_to(MAX_TOLD) };
        client.stream.write_all(&greeting::own())?;
        let mut theirs = [0; greeting::LENGTH];
        client.stream.read_exact(&mut theirs).map_err(|error| match error.kind() {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Lost::Silent,
            _ => Lost::Gone(error),
        })?;
        greeting::check(theirs)?;
        client.stream.set_read_timeout(Some(LOOK))?;
        Ok(client)
    }

    /// Follows for as long as the receiver is wanted.
    ///
    /// # Errors
    ///
    /// Why it was lost.
    pub fn follow(mut self, receiver: &mut impl Receiver) -> Result<(), Lost> {
        let (mut heard, mut pace) = (Instant::now(), Pace::new());
        let mut chunk = vec![0; CHUNK];
        while receiver.is_wanted() {
            match pace.waits(|| self.stream.read(&mut chunk)) {
                Ok(0) => return Err(io::Error::from(ErrorKind::UnexpectedEof).into()),
                Ok(count) => self.frames.push(chunk.get(..count).unwrap_or_default()),
                Err(error) if is_a_pause(&error) => {}
                Err(error) => return Err(error.into()),
            }
            while let Some(told) = self.frames.next()? {
                take(receiver, told);
                receiver.heard();
                heard = Instant::now();
                pace.rest();
            }
            if heard.elapsed() > PATIENCE {
                return Err(Lost::Silent);
            }
            let asks = receiver.asks();
            if let Err(lost) = self.ask(&asks) {
                receiver.unasked(asks);
                return Err(lost);
            }
        }
        Ok(())
    }

    fn ask(&mut self, asks: &Asks) -> Result<(), Lost> {
        let Asks { missed, uses, seen } = asks;
        for place in missed {
            self.say(&FromEngine::Missed(*place))?;
        }
        for uses in uses.chunks(PAGE) {
            let uses = uses.iter().map(|(id, day)| (id.bits(), *day)).collect();
            self.say(&FromEngine::Uses(uses))?;
        }
        for seen in seen.chunks(PAGE) {
            let of =
                |one: &RenewedSession| (one.user_id.clone(), one.sid.clone(), one.at.as_millis());
            self.say(&FromEngine::Seen(seen.iter().map(of).collect()))?;
        }
        Ok(())
    }

    fn say(&mut self, text: &impl Serialize) -> Result<(), Lost> {
        // One that is too long is none that is waited for.
        let frame = encode(text, MAX_ASKED).unwrap_or_default();
        Ok(self.stream.write_all(&frame)?)
    }
}

fn take(receiver: &mut impl Receiver, told: FromService) {
    let at = Timestamp::from_millis;
    match told {
        FromService::Settings(Raw(bundle)) => receiver.settings(&bundle),
        FromService::IssuerKeys { place, text, heard } => receiver.issuer(place, &text, at(heard)),
        FromService::Tokens(Tokens(tokens)) => {
            let of = |(token, end)| Revocation::Token(token, end);
            receiver.revoked(tokens.into_iter().map(of).collect());
        }
        FromService::Users(users) => {
            let of = |(user_id, until)| Revocation::User(user_id, at(until));
            receiver.revoked(users.into_iter().map(of).collect());
        }
        FromService::Everybody(until) => receiver.revoked(vec![Revocation::Everybody(at(until))]),
        FromService::Keys(records) => {
            let changes: Vec<KeyChange> = records.into_iter().map(Into::into).collect();
            receiver.keys(&changes);
        }
        FromService::Whole { cut_offs_kept, has_keys } => {
            receiver.whole(Duration::from_secs(cut_offs_kept), has_keys);
        }
        FromService::Beat => {}
    }
}

/// Whether nothing has come just now.
fn is_a_pause(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
