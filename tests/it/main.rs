//! All integration tests, in one binary: a file a subject.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::similar_names,
    clippy::format_push_string,
    clippy::print_stdout,
    clippy::format_collect,
    clippy::too_many_lines,
    reason = "a test may fail loudly"
)]

mod ask;
mod cli;
mod config;
mod decide;
mod decide_credentials;
mod decide_headers;
mod envoy;
mod floods;
mod grpc;
mod guard;
mod house;
mod jwt;
mod readme;
mod redis;
mod replica;
mod replicas;
mod signin;
mod store;
mod support;
