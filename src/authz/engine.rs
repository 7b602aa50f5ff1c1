//! What decides, whole: what is configured, and what is known.

use super::{
    CredentialSettings, IdentitySettings, Policy, Sessions, path::PathAllow, sign_in::SignIn,
    upgrade::Upgrades,
};
use crate::{api_key::ApiKeys, operation::McpSource, token::Verifier};

/// All that a decision depends on, but for the request and the time.
#[derive(Debug)]
pub struct Engine {
    /// The rules.
    pub policy: Policy,
    /// The keys, and what a token must fulfil.
    pub verifier: Verifier,
    /// The keys for machines; none where none are taken.
    pub api_keys: Option<ApiKeys>,
    /// Where credentials are looked for.
    pub credentials: CredentialSettings,
    /// The headers of the user.
    pub identity: IdentitySettings,
    /// Forms of paths that are let through.
    pub path_allow: PathAllow,
    /// Whether some upstream takes `/admin.json` for `/admin`.
    pub ignore_extension: bool,
    /// The protocols that a request may upgrade to.
    pub upgrades: Upgrades,
    /// Where a browser is sent that has yet to sign in.
    pub sign_in: Option<SignIn>,
    /// What conditions may ask of the gateway's route, with its defaults.
    pub context: Vec<(String, String)>,
    /// How long sessions go on, and whether checks renew them.
    pub sessions: Sessions,
    /// Where it is told what is asked of an MCP server.
    pub mcp_source: McpSource,
    /// The most of a body that is read, in bytes.
    pub max_body_bytes: usize,
}
