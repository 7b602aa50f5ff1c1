//! What tests are made with: services, gateways, providers, stores, keys and tokens.

pub(crate) mod ask;
pub(crate) mod browser;
pub(crate) mod confined;
pub(crate) mod issuer;
pub(crate) mod jwt;
pub(crate) mod mount;
pub(crate) mod oidc;
pub(crate) mod pki;
pub(crate) mod redis;
pub(crate) mod replica;
pub(crate) mod rogue;
pub(crate) mod signer;
pub(crate) mod spellings;
pub(crate) mod stack;
pub(crate) mod steady;
pub(crate) mod support;
pub(crate) mod talk;
pub(crate) mod token_keys;
