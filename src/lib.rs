//! portcullis answers, for every request at a gateway: who is this, and may
//! they?
//!
//! # The way of a request
//!
//! ```text
//! gateway ── gRPC ──> grpc::CheckService      bytes -> CheckInput, without a copy
//!                       checker::Checker      the engine of the moment, the clock; log, count, trace
//!                         authz::Engine       the decision: host, path, rule, …
//!                           token::Verifier   … token, revocation, …
//!                         <- Decision         … role, condition, headers set and removed
//!                     <- CheckResponse        always whole, also after a panic
//! ```
//!
//! [`authz`] and [`token`] are pure: they know no socket, no file, no clock
//! and no async runtime. Every transport asks the same [`authz::Engine`], so
//! that no two can disagree: [`grpc`] for gateways, [`web`] for those that ask
//! over HTTP, [`guard`] for upstreams that check once more, and `portcullis
//! explain` for people.
//!
//! # The rooms of the house
//!
//! | module | what lives there |
//! |---|---|
//! | [`authz`] | paths, rules, credentials, identity headers, the decision |
//! | [`condition`] | what a rule's `when` asks: CEL, parsed, checked, matched or interpreted |
//! | [`operation`] | what a body or headers ask an MCP server or a model for, read in one way |
//! | [`token`] | keys, claims, verification for every issuer, minting, the list of the revoked |
//! | [`api_key`] | keys for machines: their form, those that are known, their verification |
//! | [`clock`] | time as a value |
//! | [`checker`], [`change`] | a decision in its setting: snapshot, clock, log; what a shadow would change |
//! | [`grpc`] | protobuf to [`authz`] and back; the listener |
//! | [`guard`] | the same checks as a tower layer, for upstreams |
//! | [`store`] | what replicas share: one-time values, counters, revocations |
//! | [`revocations`] | keeps the list of the revoked as whole as the store is |
//! | [`issuers`] | other issuers over the network: discovery, and their keys, kept up to date |
//! | [`feed`] | tells engines in other processes what this one decides by |
//! | [`sessions`] | what a sign-in begins and what ends it, in the store |
//! | [`login`] | accounts, passwords, limits on guessing, one-time codes |
//! | [`sso`] | OpenID Connect: the two halves of a single sign-on, and who that is here |
//! | [`web`] | the HTTP listeners: sign-in, sessions and their pages; probes and metrics |
//! | [`workers`] | the workers of a control plane |
//! | [`config`] | files and environment to the types of the other rooms |
//! | [`app`] | puts it all together, runs it, exchanges its configuration, stops it |
//! | [`decision_log`], `hints`, [`metrics`], [`traces`], [`telemetry`] | what operators are told |
//! | [`places`] | the connections of the listeners: how many, whose, what they may hold |
//! | [`tls`], [`socket`], [`transport`], [`lifecycle`], [`error_body`] | certificates of the listeners, their files, names of who asks, signals, errors to clients |
//!
//! Dependencies run one way: `clock` <- `token` <- `api_key`, `condition`, `operation` <- `authz` <- `metrics` <- `checker` <-
//! `grpc`, `guard`, and beside them `store` <- `sessions` <- `login`, `issuers` <- `sso`, and
//! `revocations` <- `web`, `feed`; below both listeners `places` <- `tls`;
//! then `app` and the command line, which alone read [`config::Config`].

pub mod api_key;
pub mod app;
pub mod authz;
pub mod change;
pub mod checker;
pub mod clock;
pub mod condition;
pub mod config;
pub mod decision_log;
pub mod error_body;
pub mod feed;
pub mod grpc;
pub mod guard;
mod hex;
mod hints;
pub mod issuers;
pub mod lifecycle;
pub mod login;
pub mod metrics;
pub mod operation;
mod pace;
pub mod places;
pub mod proto;
pub mod revocations;
mod secret;
pub mod sessions;
pub mod socket;
pub mod sso;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod token;
pub mod traces;
pub mod transport;
pub mod web;
pub mod workers;

/// What the fuzz targets call, for replaying their corpus.
#[cfg(test)]
#[path = "../fuzz/src/lib.rs"]
#[allow(
    unreachable_pub,
    clippy::string_slice,
    clippy::format_push_string,
    reason = "a library of its own beside the fuzz targets, and a test that may fail loudly"
)]
mod fuzz;
#[cfg(test)]
extern crate self as portcullis;

/// The Rust of the book compiles.
#[cfg(doctest)]
#[doc = include_str!("../docs/src/how-to/guard.md")]
struct Book;
