//! Functions of the interpreter whose work grows with what they are given: each
//! pays before it works.

#![expect(
    clippy::needless_pass_by_value,
    reason = "functions of the interpreter are given their arguments"
)]

use cel::{
    ExecutionError,
    common::{
        types::{CelBool, CelBytes, CelList, CelMap, CelString},
        value::{CowVal, Val},
    },
};

use super::{budget::Budget, pattern::Pattern, value::too_much};

/// The largest text, in bytes, and the longest list that may be made.
const MAX_MADE: usize = 16 * 1024;
/// The longest text that is searched by a regular expression, in bytes.
const MAX_SEARCHED: usize = 4 * 1024;

type Args<'b, 'v> = Vec<CowVal<'b, 'v>>;
type Given<'b, 'v> = Result<CowVal<'b, 'v>, ExecutionError>;

fn budget<'a>(args: &'a [CowVal<'_, '_>]) -> Result<&'a Budget, ExecutionError> {
    let budget = args.last().and_then(|budget| budget.downcast_ref::<Budget>());
    budget.ok_or_else(ExecutionError::missing_argument_or_target)
}

fn text<'a>(args: &'a [CowVal<'_, '_>], at: usize) -> Result<&'a str, ExecutionError> {
    let text = args.get(at).and_then(|text| text.downcast_ref::<CelString>());
    text.map(CelString::inner).ok_or_else(ExecutionError::missing_argument_or_target)
}

fn pay(budget: &Budget, steps: u64) -> Result<(), ExecutionError> {
    if budget.take(steps) { Ok(()) } else { Err(too_much()) }
}

/// How large a value is, in bytes or elements, as far as that is of interest.
fn size(value: &dyn Val) -> usize {
    let inner = |values: &mut dyn Iterator<Item = &dyn Val>| {
        values.take(MAX_MADE).map(|value| 16 + size(value)).fold(0, usize::saturating_add)
    };
    if let Some(text) = value.downcast_ref::<CelString>() {
        text.inner().len()
    } else if let Some(bytes) = value.downcast_ref::<CelBytes>() {
        bytes.inner().len()
    } else if let Some(list) = value.downcast_ref::<CelList>() {
        inner(&mut list.inner().iter().map(AsRef::as_ref))
    } else if let Some(map) = value.downcast_ref::<CelMap>() {
        inner(&mut map.inner().values().map(AsRef::as_ref))
    } else {
        0
    }
}

/// `text.matches(pattern)`.
pub(super) fn matches<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let text = text(&args, 0)?;
    let pattern = args.get(1).and_then(|pattern| pattern.downcast_ref::<Pattern>());
    let pattern = pattern.ok_or_else(ExecutionError::missing_argument_or_target)?;
    let steps = if text.len() > MAX_SEARCHED { u64::MAX } else { pattern.steps(text.len()) };
    pay(budget(&args)?, steps)?;
    Ok(CowVal::owned(CelBool::from(pattern.is_in(text))))
}

/// `text.contains(part)`.
pub(super) fn contains<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let searched = text(&args, 0)?;
    if !budget(&args)?.take_bytes(4 * searched.len()) {
        return Err(too_much());
    }
    Ok(CowVal::owned(CelBool::from(searched.contains(text(&args, 1)?))))
}

/// `a + b`, of any types.
pub(super) fn added<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let [a, b, budget] = args.as_slice() else {
        return Err(ExecutionError::missing_argument_or_target());
    };
    let size = size(a.as_ref()).saturating_add(size(b.as_ref()));
    let budget = budget.downcast_ref::<Budget>();
    if size > MAX_MADE || !budget.is_some_and(|budget| budget.take_bytes(4 * size)) {
        if let Some(budget) = budget {
            budget.take(u64::MAX);
        }
        return Err(too_much());
    }
    let adder = a.as_adder();
    let adder = adder.ok_or_else(|| ExecutionError::no_such_overload("+", Vec::new()))?;
    Ok(CowVal::Owned(adder.add(b.as_ref())?.into_owned()))
}

/// A value, once it is paid for that it is copied.
pub(super) fn paid<'b, 'v>(mut args: Args<'b, 'v>) -> Given<'b, 'v> {
    let size = args.first().map_or(0, |value| size(value.as_ref()));
    if !budget(&args)?.take_bytes(size) {
        return Err(too_much());
    }
    Ok(args.swap_remove(0))
}

/// `a == b`, of any types.
pub(super) fn equal<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let (a, b) = two(&args)?;
    Ok(CowVal::owned(CelBool::from(a.equals(b))))
}

/// `a in b`, of any types.
pub(super) fn held<'b, 'v>(args: Args<'b, 'v>) -> Given<'b, 'v> {
    let (item, container) = two(&args)?;
    let container = container.as_container();
    let container = container.ok_or_else(|| ExecutionError::no_such_overload("in", Vec::new()))?;
    Ok(CowVal::owned(CelBool::from(container.contains(item)?)))
}

/// Two values, once it is paid for that they are looked through.
fn two<'a, 'v>(
    args: &'a [CowVal<'_, 'v>],
) -> Result<(&'a (dyn Val + 'v), &'a (dyn Val + 'v)), ExecutionError> {
    let [a, b, _] = args else { return Err(ExecutionError::missing_argument_or_target()) };
    let (a, b) = (a.as_ref(), b.as_ref());
    if !budget(args)?.take_bytes(size(a).saturating_add(size(b))) {
        return Err(too_much());
    }
    Ok((a, b))
}
