//! Notes when sessions were seen last: in batches, and off the way of a request.

use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::Register;
use crate::token::RenewedSession;

/// How often the notes are written.
const FLUSH: Duration = Duration::from_secs(2);

/// Writes down which sessions were renewed, until it is told to stop. `take` gives
/// those since it was asked last; what the store does not take is not told again.
pub async fn keep_seen(
    register: Register,
    take: impl Fn() -> Vec<RenewedSession>,
    stop: CancellationToken,
) {
    loop {
        let is_last = tokio::select! {
            () = tokio::time::sleep(FLUSH) => false,
            () = stop.cancelled() => true,
        };
        for RenewedSession { user_id, sid, at } in take() {
            if let Err(error) = register.note_seen(&user_id, &sid, at).await {
                tracing::debug!(%error, "it is not noted when sessions were seen last");
                break;
            }
        }
        if is_last {
            return;
        }
    }
}
