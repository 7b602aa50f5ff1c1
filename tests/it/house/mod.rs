//! What the house promises of itself: its rooms, its threats, its pages.

mod circles;
pub(crate) mod docs;
mod promises;
mod readme;
