//! How much work one evaluation may be.

use std::{
    any::Any,
    sync::{
        Arc,
        atomic::{AtomicI64, Ordering},
    },
};

use cel::common::{
    types::Type,
    value::{StaticVal, Val},
};

/// The type of a budget, which no condition can name.
pub(super) static BUDGET_TYPE: Type = Type::new_unspecified_type("@budget");

/// The steps that are left. A value, so that functions can be handed it.
#[derive(Clone, Debug)]
pub(super) struct Budget(Arc<AtomicI64>);

/// The steps that one condition may take, over all its parts and all readings of a
/// request: some 100 us of a processor of today.
pub(super) const STEPS: u64 = 1_000;
/// Something that is made, or looked through, is a step, and one more for so many
/// bytes of it.
const BYTES_A_STEP: usize = 64;

impl Default for Budget {
    fn default() -> Self {
        Self::of(STEPS)
    }
}

impl Budget {
    pub(super) fn of(steps: u64) -> Self {
        Self(Arc::new(AtomicI64::new(i64::try_from(steps).unwrap_or(i64::MAX))))
    }

    /// Takes so many; false when they are not there.
    pub(super) fn take(&self, steps: u64) -> bool {
        let steps = i64::try_from(steps).unwrap_or(i64::MAX);
        let before = self.0.load(Ordering::Relaxed);
        let left = before.saturating_sub(steps);
        self.0.store(left, Ordering::Relaxed);
        left >= 0
    }

    /// Takes what something of this length costs.
    pub(super) fn take_bytes(&self, bytes: usize) -> bool {
        self.take(1 + (bytes / BYTES_A_STEP) as u64)
    }

    /// Whether more were asked for than there are.
    pub(super) fn is_spent(&self) -> bool {
        self.0.load(Ordering::Relaxed) < 0
    }
}

impl Val for Budget {
    fn get_type(&self) -> &Type {
        &BUDGET_TYPE
    }

    fn cel_type() -> &'static Type {
        &BUDGET_TYPE
    }

    fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v> {
        Box::new(self.clone())
    }

    fn as_any(&self) -> Option<&dyn Any> {
        Some(self)
    }
}

impl StaticVal for Budget {}
