//! The engine of portcullis as a dynamic module of Envoy: the same decision as over gRPC,
//! without a question over a socket.
//!
//! ```text
//! Envoy ── hook ──> abi            what Envoy tells, as safe values
//!                     filter       a request: headers, its body where a rule needs it
//!                       service    the one engine of the process; its configuration, watched
//!                         portcullis::checker
//!                     <- outcome   what is changed or answered, copied
//! ```
//!
//! `abi` alone has unsafe code.

mod abi;
mod filter;
mod log;
mod outcome;
mod query;
mod service;
