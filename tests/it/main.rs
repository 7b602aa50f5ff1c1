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
mod agents;
mod agents_talk;
mod api_keys;
mod api_keys_measured;
mod api_keys_proxied;
mod api_keys_shared;
mod ask;
mod asked;
mod at_home;
mod backchannel;
mod browser;
mod cases;
mod cgi;
mod check_envoy;
mod check_envoy_beside;
mod check_envoy_edits;
mod check_envoy_ways;
mod cli;
mod conditions;
mod conditions_tried;
mod config;
mod config_issuers;
mod config_sso;
mod config_warnings;
mod confined;
mod decide;
mod decide_answers;
mod decide_credentials;
mod decide_forms;
mod decide_headers;
mod docs;
mod envoy;
mod envoy_fed;
mod envoy_module;
mod envoy_sign_in;
mod envoy_trailers;
mod envoy_websocket;
mod events;
mod feed;
mod floods;
mod grpc;
mod grpc_bytes;
mod grpc_fields;
mod guard;
mod guessing;
mod hostile;
mod house;
mod issuer;
mod issuers;
mod issuers_hostile;
mod issuers_kept;
mod issuers_reloaded;
mod issuers_rotated;
mod issuers_tls;
mod java;
mod jwt;
mod lifecycle;
mod litellm;
mod litellm_behind;
mod loosely;
mod mcp;
mod mcp_differential;
mod mcp_envoy;
mod mcp_measured;
mod mcp_proxied;
mod mcp_sdk;
mod measured;
mod memory;
mod minted;
mod models;
mod mount;
mod needs;
mod oidc;
mod one_route;
mod own_tokens;
mod pages;
mod pages_hurt;
mod pages_sessions;
mod pki;
mod proxies;
mod proxies_astray;
mod proxies_forms;
mod proxies_renew;
mod proxies_seen;
mod proxies_sign_in;
mod readme;
mod redis;
mod reload;
mod replay;
mod replica;
mod replicas;
mod revoked;
mod rogue;
mod rotation_measured;
mod session_day;
mod session_renewal;
mod sessions;
mod sessions_ended;
mod shadowed;
mod signer;
mod signin;
mod soak;
mod spellings;
mod sso;
mod sso_forms;
mod sso_refused;
mod stack;
mod steady;
mod store;
mod store_members;
mod support;
mod talk;
mod telemetry;
mod tls;
mod token_confusion;
mod token_issuers;
mod token_keys;
mod token_minted;
mod token_sets;
mod verify_only;
