//! The signals that end the service, and the one that reloads it.

use std::{io, sync::Arc};

use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;

/// What the operator's signals ask for.
#[derive(Clone, Debug, Default)]
pub struct Signals {
    /// The first SIGTERM or SIGINT: drain, then stop.
    pub stop: CancellationToken,
    /// The second: stop now.
    pub stop_now: CancellationToken,
    /// Each SIGHUP: read the configuration anew.
    pub reload: Arc<Notify>,
}

impl Signals {
    /// Starts to listen for the signals of this process.
    ///
    /// # Errors
    ///
    /// When the operating system lets no handler be set.
    pub fn listen() -> io::Result<Self> {
        let signals = Self::default();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let reload = Arc::clone(&signals.reload);
        tokio::spawn(async move {
            while hang_up.recv().await.is_some() {
                reload.notify_one();
            }
        });
        let tokens = signals.clone();
        tokio::spawn(async move {
            for token in [tokens.stop, tokens.stop_now] {
                tokio::select! {
                    _ = terminate.recv() => {}
                    _ = interrupt.recv() => {}
                }
                token.cancel();
            }
        });
        Ok(signals)
    }
}
