//! Real gateways before real upstreams: what each of them sends and hands on.

pub(crate) mod agents;
mod agents_talk;
pub(crate) mod api_keys_proxied;
pub(crate) mod asked;
mod cgi;
pub(crate) mod envoy;
mod envoy_fed;
pub(crate) mod envoy_module;
mod envoy_sign_in;
mod envoy_trailers;
mod envoy_websocket;
mod events;
mod litellm;
mod litellm_behind;
mod mcp_envoy;
mod mcp_proxied;
mod mcp_sdk;
mod models;
pub(crate) mod one_route;
mod proxies;
mod proxies_astray;
mod proxies_forms;
mod proxies_renew;
mod proxies_seen;
mod proxies_sign_in;
