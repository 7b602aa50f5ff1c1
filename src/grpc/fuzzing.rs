//! What the fuzz targets need of this room.

use prost::Message as _;

use super::{convert, metadata, question::Question, read::has_good_maps};
use crate::{authz::CheckInput, proto::envoy::service::auth::v3::CheckRequest};

/// Looks at what the reader of the wire makes of a message; none where it leaves it to
/// the generated types.
pub fn read<T>(message: &[u8], look: impl FnOnce(Option<&CheckInput<'_>>) -> T) -> Option<T> {
    Question::read(message).map(|question| look(question.input.as_ref()))
}

/// Looks at what becomes of a message that is left to them; none where they refuse it.
pub fn decode<T>(message: &[u8], look: impl FnOnce(Option<&CheckInput<'_>>) -> T) -> Option<T> {
    let decoded = has_good_maps(message).then(|| CheckRequest::decode(message).ok()).flatten()?;
    let mut question = convert::question(&decoded);
    if let Some(input) = &mut question.input {
        input.mcp_told = metadata::of_question(message);
    }
    Some(look(question.input.as_ref()))
}
