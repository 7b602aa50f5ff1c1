//! What a `CheckRequest` says, whoever has read it.

use crate::{
    authz::{CheckInput, Headers, Single},
    operation::Body,
};

/// What Envoy says beside a body: whether it is but a part.
const PARTIAL_BODY: &str = "x-envoy-auth-partial-body";

/// What a `CheckRequest` says.
#[derive(Debug, Default)]
pub(super) struct Question<'a> {
    /// The request that is asked about.
    pub(super) input: Option<CheckInput<'a>>,
    /// The gateway's id of it.
    pub(super) id: &'a str,
    /// The client's address.
    pub(super) client: &'a str,
}

/// The body, of which Envoy says whether it is whole. Where it sends it as text, it has
/// put other bytes in the place of those that are none, so that is no body.
pub(super) fn body<'a>(text: &'a str, raw: &'a [u8], headers: &Headers<'_>) -> Body<'a> {
    match headers.single(PARTIAL_BODY) {
        Single::Absent if raw.is_empty() && text.is_empty() => Body::Absent,
        Single::One(b"false") if text.is_empty() => Body::Whole(raw),
        _ => Body::Cut,
    }
}
