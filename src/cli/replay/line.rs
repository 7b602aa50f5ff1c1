//! A line of the decision log, and what it tells.

use std::borrow::Cow;

use portcullis::{
    authz::{CredentialKind, Engine, Foreseen, Known, PathAllow, Reason, Somebody},
    token::Refusal,
};
use serde::Deserialize;

/// Paths are cut in the log at so many bytes.
const MAX_PATH_BYTES: usize = 1024;

/// What is read of a line.
#[derive(Deserialize)]
pub(super) struct Line<'a> {
    #[serde(borrow)]
    target: Option<Cow<'a, str>>,
    #[serde(borrow)]
    decision: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    rule: Option<Cow<'a, str>>,
    #[serde(borrow)]
    method: Option<Cow<'a, str>>,
    #[serde(borrow)]
    host: Option<Cow<'a, str>>,
    #[serde(borrow)]
    path: Option<Cow<'a, str>>,
    #[serde(borrow)]
    user_id: Option<Cow<'a, str>>,
    #[serde(borrow)]
    role: Option<Cow<'a, str>>,
    #[serde(borrow)]
    iss: Option<Cow<'a, str>>,
    #[serde(borrow)]
    key_id: Option<Cow<'a, str>>,
    /// Whether the path is not all of it.
    #[serde(default)]
    path_cut: bool,
}

/// What was decided, or would be.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Outcome {
    pub(super) is_allowed: bool,
    /// Why not; empty for an allowance.
    pub(super) reason: String,
    /// By which rule; empty where none had a part in it.
    pub(super) rule: String,
}

/// An outcome, or what it would take to know it.
pub(super) enum Told {
    Outcome(Outcome),
    Unknown(Cow<'static, str>),
}

impl Line<'_> {
    /// A line of a decision; `None` for any other.
    pub(super) fn read(text: &str) -> Option<Line<'_>> {
        let line: Line<'_> = serde_json::from_str(text).ok()?;
        let is_decision = line.target.as_deref() == Some("portcullis::decision");
        (is_decision && line.decision.is_some()).then_some(line)
    }

    /// The request, as far as it is known, for a person.
    pub(super) fn shown(&self) -> String {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or("?").to_owned();
        let role = self.role.as_deref().map(|role| format!(" as {role}")).unwrap_or_default();
        format!("{} {}{}{role}", text(&self.method), text(&self.host), text(&self.path))
    }

    /// What the log says.
    pub(super) fn logged(&self) -> Outcome {
        let text = |text: &Option<Cow<'_, str>>| text.as_deref().unwrap_or_default().to_owned();
        Outcome {
            is_allowed: self.decision.as_deref() == Some("allow"),
            reason: text(&self.reason),
            rule: text(&self.rule),
        }
    }

    /// What this engine would decide.
    pub(super) fn under(&self, engine: &Engine) -> Told {
        let reason = self.reason.as_deref().and_then(reason);
        // Decided by what no rule has a say in.
        if let Some(
            Reason::BadHeader(_)
            | Reason::NoHttpAttributes
            | Reason::NotReady
            | Reason::Internal
            | Reason::BadHost
            | Reason::BadMethod,
        ) = reason
        {
            return Told::Outcome(self.logged());
        }
        let (Some(method), Some(host), Some(path)) = (&self.method, &self.host, &self.path) else {
            return Told::Unknown("the request".into());
        };
        // What is let through of a path that is refused is not a matter of rules.
        let is_refused = matches!(reason, Some(Reason::BadPath));
        if path.len() >= MAX_PATH_BYTES || path.is_empty() || self.path_cut || is_refused {
            if is_refused && engine.path_allow == PathAllow::default() {
                return Told::Outcome(self.logged());
            }
            return Told::Unknown("the whole path".into());
        }
        let who = match self.who(engine, reason) {
            Ok(who) => who,
            Err(what) => return Told::Unknown(what.into()),
        };
        let outcome = |is_allowed, reason: &str, rule: &str| {
            Told::Outcome(Outcome { is_allowed, reason: reason.into(), rule: rule.into() })
        };
        match engine.foresee(method, host, path, who) {
            Foreseen::Allow(rule) => outcome(true, "", &rule.name),
            Foreseen::Deny(reason, rule) => outcome(
                false,
                reason.map_or("no good credential", Reason::as_str),
                rule.map_or("", |rule| &rule.name),
            ),
            Foreseen::Unknown(what, _) => Told::Unknown(what),
        }
    }

    fn who<'a>(
        &'a self,
        engine: &Engine,
        reason: Option<Reason>,
    ) -> Result<Known<'a>, &'static str> {
        if let Some(id) = self.user_id.as_deref() {
            let role = self.role.as_deref().and_then(|role| engine.verifier.roles().get(role));
            // Another list of roles may call it otherwise.
            let role = role.ok_or("what the role is called now")?;
            let issued_by = self.iss.as_deref();
            let kind = match self.key_id {
                Some(_) => CredentialKind::ApiKey,
                None => CredentialKind::Token,
            };
            return Ok(Known::Somebody(Somebody { id, role, issued_by, kind }));
        }
        Ok(match reason {
            Some(
                reason @ (Reason::NoCredential
                | Reason::AmbiguousCredential
                | Reason::CredentialTooLarge
                | Reason::CrossSiteCookie
                | Reason::Token(_)
                | Reason::Key(_)),
            ) => Known::Nobody(reason),
            // A rule that is public tells who it was, if it was anybody.
            None => Known::NobodyGood,
            Some(_) => Known::Unknown,
        })
    }
}

/// The reason of this spelling.
fn reason(text: &str) -> Option<Reason> {
    let known = Reason::ALL.into_iter().find(|reason| reason.as_str() == text);
    // One that a later version knows is one that rules have no say in.
    known.or(Some(Reason::Internal).filter(|_| !text.is_empty())).map(|reason| match reason {
        Reason::Token(Refusal::IssuerUnavailable) => Reason::NotReady,
        reason => reason,
    })
}
