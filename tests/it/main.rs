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

mod accounts;
mod ask;
mod asked;
mod browser;
mod cli;
mod config;
mod config_sso;
mod confined;
mod decide;
mod decide_answers;
mod decide_credentials;
mod decide_headers;
mod envoy;
mod envoy_sign_in;
mod envoy_websocket;
mod floods;
mod grpc;
mod grpc_bytes;
mod grpc_fields;
mod guard;
mod house;
mod jwt;
mod lifecycle;
mod measured;
mod memory;
mod models;
mod mount;
mod oidc;
mod pages;
mod pages_hurt;
mod pki;
mod proxies;
mod proxies_seen;
mod readme;
mod redis;
mod reload;
mod replica;
mod replicas;
mod rogue;
mod signin;
mod soak;
mod sso;
mod sso_forms;
mod sso_refused;
mod stack;
mod store;
mod support;
mod telemetry;
mod tls;
