//! Who has connected.

use tokio::net::UnixStream;

/// Whether whoever has connected is the user of this process, or one of these.
///
/// # Errors
///
/// Who it is, where that is known.
pub(super) fn check(stream: &UnixStream, uids: &[u32]) -> Result<(), Option<u32>> {
    let uid = stream.peer_cred().map_err(|_| None)?.uid();
    let own = rustix::process::geteuid().as_raw();
    if uid == own || uids.contains(&uid) { Ok(()) } else { Err(Some(uid)) }
}
