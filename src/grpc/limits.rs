//! What the listener lets a gateway take.

use std::time::Duration;

/// What one gateway may take of the server.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The longest question, in bytes.
    pub message_bytes: usize,
    /// What the questions of a connection may hold that have yet to come whole,
    /// in bytes.
    pub unfinished_bytes: usize,
    /// The same of all connections.
    pub all_unfinished_bytes: usize,
    /// Questions at a time on one connection.
    pub streams: u32,
    /// Headers of one call, in bytes.
    pub header_list_bytes: usize,
    /// How long a connection lives, so that the replicas behind a Service
    /// get their share of the connections that a gateway keeps open.
    pub connection_age: Duration,
    /// How long calls on a connection may take when that is over.
    pub connection_age_grace: Duration,
    /// How often a silent peer is asked whether it is still there.
    pub keepalive_interval: Duration,
    /// How long it may take to answer that.
    pub keepalive_timeout: Duration,
}

impl Limits {
    /// The limits that hold, for questions of at most so many bytes.
    #[must_use]
    pub const fn new(message_bytes: usize) -> Self {
        // Room for every call of a connection to wait, and for some that are long.
        Self {
            message_bytes,
            unfinished_bytes: max(3 << 20, message_bytes.saturating_mul(2)),
            all_unfinished_bytes: max(4 << 20, message_bytes.saturating_mul(4)),
            streams: 1024,
            header_list_bytes: 16 * 1024,
            connection_age: Duration::from_secs(300),
            connection_age_grace: Duration::from_secs(10),
            keepalive_interval: Duration::from_secs(30),
            keepalive_timeout: Duration::from_secs(10),
        }
    }
}

const fn max(one: usize, other: usize) -> usize {
    if one > other { one } else { other }
}
