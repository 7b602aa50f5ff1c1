//! The gRPC listener: `envoy.service.auth.v3.Authorization/Check`, health and
//! reflection. It turns messages into the types of [`authz`](crate::authz)
//! and back, and decides nothing.
//!
//! A connection comes in by `incoming`, to a place; what it reads is `guarded`,
//! its `frames` are followed; `connection` polls its streams; a `call` of `Check`
//! brings one message, which `read` takes apart into a `question` (or `convert`, by the generated
//! types, when it is out of the common), and `metadata` what another filter tells;
//! `check` has it decided, and `write`
//! makes the answer. Health and reflection are the `others`. What is unfinished
//! has a `budget`.

mod budget;
mod call;
mod check;
mod connection;
mod convert;
mod frames;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod guarded;
mod incoming;
mod limits;
mod metadata;
mod others;
mod question;
mod read;
mod served;
mod server;
#[cfg(test)]
mod tests;
mod wire;
mod write;

pub use check::CheckService;
pub use incoming::Listener;
pub use limits::Limits;
pub use server::Server;
