//! What the engine says, in Envoy's log.

use std::{io, sync::Once};

use tracing::{Metadata, level_filters::LevelFilter};
use tracing_subscriber::fmt::MakeWriter;

use crate::abi::{self, Level};

/// Starts it, once in a process.
pub(crate) fn start() {
    static STARTED: Once = Once::new();
    STARTED.call_once(|| {
        let lines = tracing_subscriber::fmt()
            .json()
            .flatten_event(true)
            .with_max_level(LevelFilter::INFO)
            .with_writer(ToEnvoy);
        // Nothing else in this library has started one.
        let _ = lines.try_init();
        // Where it happened, and not what it said: that may quote a request.
        std::panic::set_hook(Box::new(|panic| {
            let place = panic.location().map(ToString::to_string);
            tracing::error!(place, "a bug: a panic; if it was in a request, that was denied");
        }));
    });
}

/// Writes lines as loud as they are meant.
struct ToEnvoy;

impl<'w> MakeWriter<'w> for ToEnvoy {
    type Writer = Line;

    fn make_writer(&'w self) -> Line {
        Line { level: Level::Info, text: Vec::new() }
    }

    fn make_writer_for(&'w self, meta: &Metadata<'_>) -> Line {
        let level = match *meta.level() {
            tracing::Level::ERROR => Level::Error,
            tracing::Level::WARN => Level::Warn,
            tracing::Level::INFO => Level::Info,
            _ => Level::Debug,
        };
        Line { level, text: Vec::new() }
    }
}

/// A line that is written when it is whole.
struct Line {
    level: Level,
    text: Vec<u8>,
}

impl io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        abi::log(self.level, String::from_utf8_lossy(&self.text).trim_end());
    }
}
