//! All integration tests, in one binary: a room a subject, a file a part of it.

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

mod decision;
mod gateways;
mod helpers;
mod house;
mod operations;
mod sign_in;

// What other files use, by its own name alone.
use decision::{
    api_keys, api_keys_shared, conditions, grpc, hostile, issuers, issuers_rotated, java, mcp,
    mcp_differential,
};
use gateways::{agents, api_keys_proxied, asked, envoy, envoy_module, one_route};
use helpers::{
    ask, browser, confined, issuer, jwt, mount, oidc, pki, redis, replica, rogue, signer,
    spellings, stack, steady, support, talk, token_keys,
};
use house::book;
use operations::{
    check_envoy_beside, check_envoy_edits, check_envoy_ways, config, feed, floods, measured,
    replicas, store, store_members,
};
use sign_in::{pages, sessions, sso};
