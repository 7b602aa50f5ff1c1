//! What a gateway's filters and its access log are told of a decision.

use std::borrow::Cow;

use super::{decision::Decision, reason::Reason};
use crate::operation::McpAsk;

/// The namespace in which Envoy has it, whoever told it.
pub const METADATA_NAMESPACE: &str = "envoy.filters.http.ext_authz";
/// The key of the list of shadow rules.
pub const SHADOW: &str = "shadow";

impl Decision<'_> {
    /// What is told, by rising keys; the list under [`SHADOW`] is [`Decision::shadow`].
    /// What is not known is left out, so that nothing takes an empty text for a user.
    #[must_use]
    pub fn metadata(&self) -> [(&'static str, Option<Cow<'_, str>>); 13] {
        let claims = self.principal.as_ref().map(|principal| &principal.claims);
        let role = self.principal.as_ref().map(|principal| principal.role);
        let claims = claims.filter(|_| self.is_allowed());
        let key_id = self.key_id.filter(|_| claims.is_some());
        let text = Cow::Borrowed;
        let mcp = self.asked.mcp.as_ref();
        [
            ("decision", Some(text(self.name()))),
            ("iss", claims.and_then(|claims| claims.issued_by.as_deref()).map(text)),
            ("key_id", key_id.map(|id| id.to_string().into())),
            ("llm_model", self.asked.llm.as_ref().map(|ask| text(&ask.model))),
            ("mcp_method", mcp.map(|ask| text(&ask.method))),
            ("mcp_tool", mcp.and_then(McpAsk::tool).map(text)),
            ("reason", self.reason().map(Reason::as_str).map(text)),
            ("role", role.filter(|_| self.is_allowed()).map(text)),
            ("rule", self.rule_name().map(text)),
            (SHADOW, None),
            ("token_id", claims.and_then(|claims| claims.token_id.as_deref()).map(text)),
            ("user_id", claims.map(|claims| claims.user_id.as_str()).map(text)),
            ("user_name", claims.map(|claims| claims.name.as_str()).map(text)),
        ]
    }
}
