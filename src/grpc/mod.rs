//! The gRPC listener: `envoy.service.auth.v3.Authorization/Check`, health and
//! reflection. It turns messages into the types of [`authz`](crate::authz)
//! and back, and decides nothing.
//!
//! A connection comes in by `incoming`, within limits; `connection` polls its
//! streams; a `call` of `Check` brings one message, which `read` takes apart
//! (or `convert`, by the generated types, when it is out of the common); `check`
//! has it decided, and `write` makes the answer.

mod call;
mod check;
mod connection;
mod convert;
mod incoming;
mod read;
mod server;
#[cfg(test)]
mod tests;
mod write;

pub use check::CheckService;
pub use incoming::Listener;
pub use server::{Limits, Server};
