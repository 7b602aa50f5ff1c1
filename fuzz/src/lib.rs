//! What libFuzzer calls: a function for each target, which fails by a panic.
//!
//! The functions are compiled twice: into the targets, and into the service's own unit
//! tests, which replay the corpus.

mod bodies;
mod decide;
mod json;
#[cfg(test)]
mod replay;
mod setting;
mod settings;
mod store;
mod text;
mod tokens;
mod wire;

pub use bodies::{body, form, operation};
pub use decide::decide;
pub use settings::{condition, config};
pub use store::redis;
pub use text::{cookies, forwarded_for, host, path, return_to};
pub use tokens::{api_key, claims, discovery, id_token, jwks, token};
pub use wire::wire;

/// What libFuzzer calls.
pub type Target = fn(&[u8]);

/// Every target by its name.
pub const TARGETS: [(&str, Target); 19] = [
    ("api_key", api_key),
    ("body", body),
    ("claims", claims),
    ("condition", condition),
    ("config", config),
    ("cookies", cookies),
    ("decide", decide),
    ("discovery", discovery),
    ("form", form),
    ("forwarded_for", forwarded_for),
    ("host", host),
    ("id_token", id_token),
    ("jwks", jwks),
    ("operation", operation),
    ("path", path),
    ("redis", redis),
    ("return_to", return_to),
    ("token", token),
    ("wire", wire),
];
