//! The signals that end the service.

use std::io;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What the operator's signals ask for.
#[derive(Clone, Debug, Default)]
pub struct Shutdown {
    /// The first SIGTERM or SIGINT: drain, then stop.
    pub stop: CancellationToken,
    /// The second: stop now.
    pub stop_now: CancellationToken,
}

impl Shutdown {
    /// Starts to listen for the signals of this process.
    ///
    /// # Errors
    ///
    /// When the operating system lets no handler be set.
    pub fn on_signals() -> io::Result<Self> {
        let shutdown = Self::default();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let tokens = shutdown.clone();
        tokio::spawn(async move {
            for token in [tokens.stop, tokens.stop_now] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(shutdown)
    }
}
