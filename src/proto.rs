//! The messages of `proto/`, as `build.rs` compiled them.

#![expect(
    missing_docs,
    clippy::all,
    clippy::pedantic,
    reason = "generated code; the documentation is in proto/"
)]

include!(concat!(env!("OUT_DIR"), "/proto.rs"));

/// The descriptors of all messages and services, for gRPC reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
