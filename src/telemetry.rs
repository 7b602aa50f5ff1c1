//! The log of the process: on stdout, a line at a time, written by a thread
//! of its own so that no check waits for whoever reads it.

use std::io;

use tracing_appender::non_blocking::{NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::{EnvFilter, layer::SubscriberExt as _, util::SubscriberInitExt as _};

use crate::config::LogFormat;

/// Lines that may wait to be written before new ones are dropped.
const BUFFERED_LINES: usize = 8 * 1024;

/// Libraries that would log what they carry: they may warn, whatever
/// `RUST_LOG` asks for.
const QUIET: [&str; 8] = [
    "h2=warn",
    "hyper=warn",
    "hyper_util=warn",
    "tonic=warn",
    "tower=warn",
    "axum=warn",
    "redis=warn",
    "rustls=warn",
];

/// Starts the log. Lines that wait are written when the guard is dropped.
///
/// # Errors
///
/// When a log has been started in this process before.
pub fn init(format: LogFormat) -> io::Result<WorkerGuard> {
    let (writer, guard) =
        NonBlockingBuilder::default().buffered_lines_limit(BUFFERED_LINES).finish(io::stdout());
    let mut filter =
        EnvFilter::builder().with_default_directive(tracing::Level::INFO.into()).from_env_lossy();
    for directive in QUIET.iter().filter_map(|directive| directive.parse().ok()) {
        filter = filter.add_directive(directive);
    }
    let registry = tracing_subscriber::registry().with(filter);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer);
    match format {
        LogFormat::Json => registry.with(lines.json().flatten_event(true)).try_init(),
        LogFormat::Text => registry.with(lines.with_ansi(false)).try_init(),
    }
    .map_err(io::Error::other)?;
    std::panic::set_hook(Box::new(log_panic));
    Ok(guard)
}

/// Where it happened, and not what it said: that may quote a request.
fn log_panic(panic: &std::panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    tracing::error!(place, "a bug: a panic; the request in question was denied");
}
