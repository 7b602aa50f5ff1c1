//! The decision log: a line for every denial, and for a share of the
//! allowances, under the target `portcullis::decision`.
//!
//! What a client chose is shortened, and whatever could be a credential in
//! it, in a query or elsewhere, is left out.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use crate::{
    api_key::PREFIX,
    authz::{CheckInput, Decision, Reason},
    change::Change,
    operation::McpAsk,
    transport::Context,
};

/// The longest host or path that is logged, in bytes.
const MAX_TEXT: usize = 1024;
/// The longest method or id of a request, in bytes: both may be a client's own
/// words, and neither has a reason to be long.
const MAX_WORD: usize = 128;

/// A decision and what it was about.
#[derive(Debug)]
pub(crate) struct Entry<'a> {
    pub(crate) decision: &'a Decision<'a>,
    pub(crate) input: Option<&'a CheckInput<'a>>,
    pub(crate) context: Context<'a>,
    pub(crate) took: Duration,
}

/// Writes decisions.
#[derive(Debug)]
pub struct DecisionLog {
    allowed_share: f64,
    allowed: AtomicU64,
}

impl DecisionLog {
    /// A log of all denials and of this share of the allowances, from 0 to 1.
    #[must_use]
    pub fn new(allowed_share: f64) -> Self {
        Self { allowed_share, allowed: AtomicU64::new(0) }
    }

    /// Spreads the share evenly: the one in which the sum of shares passes a
    /// whole number is logged.
    fn samples(&self) -> bool {
        if self.allowed_share >= 1.0 {
            return true;
        }
        let count = self.allowed.fetch_add(1, Ordering::Relaxed);
        #[expect(clippy::cast_precision_loss, reason = "2^53 decisions are enough")]
        let sum = |count: u64| (count as f64 * self.allowed_share).floor();
        sum(count + 1) > sum(count)
    }

    pub(crate) fn write(&self, entry: &Entry<'_>) {
        let Entry { decision, input, context, took } = entry;
        if decision.is_allowed() && !self.samples() {
            return;
        }
        let text = |get: fn(&CheckInput<'_>) -> String| input.map(get);
        let claims = decision.principal.as_ref().map(|principal| &principal.claims);
        let mcp = decision.asked.mcp.as_ref();
        tracing::info!(
            target: "portcullis::decision",
            request_id = Some(word(context.request_id)).filter(|id| !id.is_empty()),
            trace_id = input.and_then(trace_id),
            decision = decision.name(),
            reason = decision.reason().map(Reason::as_str),
            cause = decision.reason().and_then(Reason::cause),
            rule = decision.rule_name(),
            mcp_method = mcp.map(|ask| word(&ask.method)),
            mcp_tool = mcp.and_then(McpAsk::tool).map(name),
            llm_model = decision.asked.llm.as_ref().map(|ask| name(&ask.model)),
            condition = decision.unmet.as_ref().map(|unmet| shorten(&unmet.to_string())),
            shadow = (!decision.shadow.is_empty()).then(|| decision.shadow.join(",")),
            transport = context.transport.as_str(),
            method = text(|input| word(input.method).to_owned()),
            host = text(|input| host(input.host)),
            path = text(|input| path(input.path)),
            path_cut = input.filter(|input| is_cut(input.path)).map(|_| true),
            client = (!context.client.is_empty()).then(|| shorten(context.client)),
            iss = claims.and_then(|claims| claims.issued_by.as_deref()),
            user_id = claims.map(|claims| claims.user_id.as_str()),
            key_id = decision.key_id.map(tracing::field::display),
            role = decision.principal.as_ref().map(|principal| principal.role),
            micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX),
        );
    }
}

/// Tells what a shadow would have decided otherwise, under the target
/// `portcullis::shadow`.
pub(crate) fn tell_change(entry: &Entry<'_>, change: Change, next: &Decision<'_>) {
    let Entry { decision, input, context, .. } = entry;
    let text = |get: fn(&CheckInput<'_>) -> String| input.map(get);
    tracing::info!(
        target: "portcullis::shadow",
        request_id = Some(word(context.request_id)).filter(|id| !id.is_empty()),
        change = change.as_str(),
        decision = decision.name(),
        reason = decision.reason().map(Reason::as_str),
        rule = decision.rule_name(),
        next_decision = next.name(),
        next_reason = next.reason().map(Reason::as_str),
        next_rule = next.rule_name(),
        next_condition = next.unmet.as_ref().map(|unmet| shorten(&unmet.to_string())),
        transport = context.transport.as_str(),
        method = text(|input| word(input.method).to_owned()),
        host = text(|input| host(input.host)),
        path = text(|input| path(input.path)),
        user_id = decision.principal.as_ref().map(|principal| principal.claims.user_id.as_str()),
    );
}

/// A name of somebody's choosing: no longer than others, and not what looks like a
/// credential.
fn name(text: &str) -> &str {
    let text = upto(text, MAX_TEXT);
    upto(text, credential_at(text.as_bytes()))
}

fn shorten(text: &str) -> String {
    upto(text, MAX_TEXT).to_owned()
}

fn upto(text: &str, end: usize) -> &str {
    text.get(..text.floor_char_boundary(end)).unwrap_or_default()
}

/// A method or an id, up to where a credential could begin.
pub(crate) fn word(text: &str) -> &str {
    let end = text.bytes().take(MAX_WORD).position(|byte| !byte.is_ascii_graphic());
    upto(text, end.unwrap_or(MAX_WORD).min(credential_at(text.as_bytes())))
}

/// Where a query could begin for any server, or what looks like a token (`eyJ`
/// is the base64url of `{"`), or a key for machines.
fn credential_at(bytes: &[u8]) -> usize {
    let is_end = |at: &usize| {
        let rest = bytes.get(*at..).unwrap_or_default();
        let encoded =
            |code: &[u8]| rest.get(..3).is_some_and(|three| three.eq_ignore_ascii_case(code));
        matches!(rest.first(), Some(b'?' | b'#' | b';'))
            || [&b"%3f"[..], b"%23", b"%3b", b"%25"].into_iter().any(encoded)
            || rest.starts_with(b"eyJ")
            || rest.starts_with(PREFIX.as_bytes())
    };
    (0..bytes.len()).find(is_end).unwrap_or(bytes.len())
}

/// Without user information, which may be a password.
pub(crate) fn host(host: &str) -> String {
    shorten(host.rsplit('@').next().unwrap_or_default())
}

/// The path, up to where a credential could begin.
pub(crate) fn path(path: &str) -> String {
    if !path.starts_with('/') && path != "*" {
        return String::new();
    }
    shorten(upto(path, credential_at(path.as_bytes())))
}

/// Whether the log lacks a part of the path, beside the query.
fn is_cut(whole: &str) -> bool {
    let without_query = whole.split('?').next().unwrap_or_default();
    path(whole).len() != without_query.len()
}

/// The trace that the request is a part of (W3C Trace Context, section 3.2).
fn trace_id<'a>(input: &CheckInput<'a>) -> Option<&'a str> {
    let mut parts = input.headers.text("traceparent")?.split('-');
    let id = parts.nth(1)?;
    let is_id = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_id.then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cut_where_a_credential_could_begin() {
        for (given, expected) in [
            ("/api/agents", "/api/agents"),
            ("/x?access-token=T", "/x"),
            ("/x%3Faccess-token=T", "/x"),
            ("/x%253Faccess-token=T", "/x"),
            ("/x#access-token=T", "/x"),
            ("/x;access-token=T", "/x"),
            ("/x/eyJhbGciOi", "/x/"),
            ("/x/pck_2hVb", "/x/"),
            ("http://user:pass@host/", ""),
            ("*", "*"),
            ("", ""),
        ] {
            assert_eq!(path(given), expected);
        }
        for (whole, expected) in [
            ("/api?access-token=T", false),
            ("/api", false),
            ("/api;x", true),
            ("/files/eyJabc", true),
            ("/a%23", true),
            ("http://a/", true),
        ] {
            assert_eq!(is_cut(whole), expected, "{whole}");
        }
        assert_eq!(path(&"/é".repeat(1000)).len(), MAX_TEXT);
        assert_eq!(host("user:pass@host"), "host");
    }

    #[test]
    fn methods_and_ids_are_words_without_a_credential() {
        for (given, expected) in [
            ("DELETE", "DELETE"),
            ("delete", "delete"),
            ("eyJhbGciOiJIUzI1NiJ9.e30.x", ""),
            ("GET?access-token=T", "GET"),
            ("GET%3Faccess-token=T", "GET"),
            ("Bearer sk-T", "Bearer"),
            ("a\n{\"decision\":\"allow\"}", "a"),
            ("a\0T", "a"),
            ("été", ""),
            ("9f3b0c1e-5d6a-4a53-8f6e-2b1c", "9f3b0c1e-5d6a-4a53-8f6e-2b1c"),
            ("", ""),
        ] {
            assert_eq!(word(given), expected);
        }
        assert_eq!(word(&"A".repeat(1 << 20)).len(), MAX_WORD);
    }

    #[test]
    fn the_share_of_allowances_is_kept() {
        for (share, expected) in [(0.0, 0), (0.1, 100), (0.25, 250), (1.0, 1000)] {
            let log = DecisionLog::new(share);
            assert_eq!((0..1000).filter(|_| log.samples()).count(), expected);
        }
    }
}
