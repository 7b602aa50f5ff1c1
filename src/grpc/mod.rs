//! The gRPC listener: `envoy.service.auth.v3.Authorization/Check`, health and
//! reflection. It turns messages into the types of [`authz`](crate::authz)
//! and back, and decides nothing.

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
