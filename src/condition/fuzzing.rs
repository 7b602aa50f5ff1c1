//! What the fuzz targets need of this room.

use super::{Condition, Scope, Trouble};

/// A condition of which nothing is compiled to native matching.
///
/// # Errors
///
/// All that is wrong with it.
pub fn interpreted(text: &str, scope: &Scope<'_>) -> Result<Condition, Vec<Trouble>> {
    Condition::parse_by(text, scope, |_| None)
}
