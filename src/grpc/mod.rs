//! The gRPC listener: `envoy.service.auth.v3.Authorization/Check`, health and
//! reflection. It turns messages into the types of [`authz`](crate::authz)
//! and back, and decides nothing.

mod check;
mod codec;
mod convert;
mod incoming;
mod server;

pub use check::CheckService;
pub use incoming::Listener;
pub use server::{Limits, Server};
