//! The one engine of a configuration in a process, whoever names it.

use std::{
    path::Path,
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use portcullis::{app::Fed, checker::Checker, clock::SystemClock};

use crate::{files::Files, log, settings::Source};

/// An engine, and all that is told of it.
#[derive(Clone, Debug)]
pub(crate) enum Service {
    /// Made of files.
    Files(Arc<Files>),
    /// Told by a service.
    Fed(Arc<Fed>),
}

/// Those of the process: however many listeners name one, it is made once.
struct Known {
    files: Vec<Weak<Files>>,
    fed: Vec<Weak<Fed>>,
}

static KNOWN: Mutex<Known> = Mutex::new(Known { files: Vec::new(), fed: Vec::new() });

impl Service {
    /// The service of a source.
    ///
    /// # Errors
    ///
    /// What is wrong with it, and how to fix it.
    pub(crate) fn of(source: &Source) -> Result<Self, String> {
        log::start();
        let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
        match source {
            Source::Files(file) => {
                let make = || Files::watched(file);
                shared(&mut known.files, |files| files.file() == *file, make).map(Self::Files)
            }
            Source::Feed(socket, uid) => {
                let make = || follow(socket, *uid);
                let is_it = |fed: &Fed| fed.socket() == *socket && fed.uid() == *uid;
                shared(&mut known.fed, is_it, make).map(Self::Fed)
            }
        }
    }

    /// What decides; none where what is known is older than this, or nothing is.
    pub(crate) fn checker(&self, max_stale: Duration) -> Option<&Checker> {
        match self {
            Self::Files(files) => Some(&files.checker),
            Self::Fed(fed) => fed.checker(max_stale),
        }
    }

    /// How old is what is known, where somebody tells it.
    pub(crate) fn age(&self) -> Option<Duration> {
        match self {
            Self::Files(_) => None,
            Self::Fed(fed) => Some(fed.age()),
        }
    }
}

fn follow(socket: &Path, uid: Option<u32>) -> Result<Arc<Fed>, String> {
    Fed::follow(socket.to_owned(), uid, Arc::new(SystemClock))
        .map_err(|error| format!("no thread could be started: {error}"))
}

/// The one that is known, or a new one.
fn shared<T>(
    known: &mut Vec<Weak<T>>,
    is_it: impl Fn(&T) -> bool,
    make: impl FnOnce() -> Result<Arc<T>, String>,
) -> Result<Arc<T>, String> {
    known.retain(|one| one.strong_count() > 0);
    let mut alive = known.iter().filter_map(Weak::upgrade);
    if let Some(one) = alive.find(|one| is_it(one)) {
        return Ok(one);
    }
    let one = make()?;
    known.push(Arc::downgrade(&one));
    Ok(one)
}
