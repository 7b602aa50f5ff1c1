//! What a service decides by, told to engines in other processes on the same machine: the
//! configuration, the keys of issuers, who is shut out, and every change of them.
//!
//! ```text
//! service   hub ── server ══ unix socket ══ client ── engine   (in Envoy)
//! ```
//!
//! After a greeting that names the version, each side sends frames. The service sends
//! all that there is, and says when that is whole; then each change, and a beat every
//! second, so that the other side knows how old is what it knows. The engine sends what
//! only the service can do: that a key of an issuer is not known, which keys for machines
//! were used, which sessions were renewed.
//!
//! What is sent holds the keys by which tokens are verified: the socket is for its owner,
//! and each who connects is asked for its user.

mod client;
mod frame;
mod greeting;
mod hub;
mod peer;
mod record;
mod server;

pub use self::{
    client::{Asks, Client, Lost, Receiver},
    hub::Hub,
    server::{FeedServer, bind},
};

use std::time::Duration;

/// The version of what is said here; any other is refused.
pub const VERSION: u16 = 1;

/// How often the service says that it is there.
const BEAT: Duration = Duration::from_secs(1);
/// After so long without a word the other side is taken for lost.
const PATIENCE: Duration = Duration::from_secs(5);
