//! The engine of portcullis as a dynamic module of Envoy: the same decision as over gRPC,
//! without a question over a socket.
//!
//! ```text
//! Envoy ── hook ──> abi            what Envoy tells, as safe values
//!                     filter       a request: headers, its body where a rule needs it
//!                       shadow     where it only compares: what would have come of it
//!                       service    the one engine of the process: fed by a service, or of files
//!                         portcullis::checker
//!                     <- outcome   what is changed or answered, copied
//! ```
//!
//! `abi` alone has unsafe code.

mod abi;
mod files;
mod filter;
mod log;
mod outcome;
mod query;
mod request;
mod route;
mod service;
mod settings;
mod shadow;
