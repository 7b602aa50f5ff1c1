//! How a decision differs from another one of the same request.

use crate::authz::{Decision, Reason};

/// What would differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Change {
    /// Who was allowed would be denied.
    AllowToDeny,
    /// Who was denied would be allowed.
    DenyToAllow,
    /// It would be denied for another reason.
    Reason,
    /// It would be decided by another rule.
    Rule,
}

impl Change {
    /// From the one to the other; none where they say the same.
    #[must_use]
    pub fn between(before: &Decision<'_>, after: &Decision<'_>) -> Option<Self> {
        match (before.is_allowed(), after.is_allowed()) {
            (true, false) => return Some(Self::AllowToDeny),
            (false, true) => return Some(Self::DenyToAllow),
            _ => {}
        }
        let reason = |decision: &Decision<'_>| decision.reason().map(Reason::as_str);
        if reason(before) != reason(after) {
            return Some(Self::Reason);
        }
        (before.rule_name() != after.rule_name()).then_some(Self::Rule)
    }

    /// As logs and metrics spell it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AllowToDeny => "allow_to_deny",
            Self::DenyToAllow => "deny_to_allow",
            Self::Reason => "reason",
            Self::Rule => "rule",
        }
    }
}
