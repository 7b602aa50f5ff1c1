//! What can be seen of an expression as it stands.

use cel::{
    common::ast::{CallExpr, EntryExpr, Expr, LiteralValue},
    parser::Expression,
};

/// What lies directly within an expression.
pub(super) fn children(expr: &Expression) -> Vec<&Expression> {
    match &expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) => Vec::new(),
        Expr::Select(select) => vec![&select.operand],
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Call(CallExpr { target, args, .. }) => {
            target.iter().map(|target| &**target).chain(args).collect()
        }
        Expr::Comprehension(it) => {
            vec![&it.iter_range, &it.accu_init, &it.loop_cond, &it.loop_step, &it.result]
        }
        Expr::Map(map) => map.entries.iter().flat_map(|entry| in_entry(&entry.expr)).collect(),
        Expr::Struct(of) => of.entries.iter().flat_map(|entry| in_entry(&entry.expr)).collect(),
    }
}

fn in_entry(entry: &EntryExpr) -> Vec<&Expression> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}

/// Whether an expression names a variable.
pub(super) fn names(expr: &Expression, variable: &str) -> bool {
    matches!(&expr.expr, Expr::Ident(name) if name == variable)
        || children(expr).into_iter().any(|child| names(child, variable))
}

/// How many steps an expression takes, but for what depends on the request.
pub(super) fn work(expr: &Expression) -> u64 {
    let all = |of: &[&Expression]| of.iter().map(|part| work(part)).fold(1, u64::saturating_add);
    match &expr.expr {
        Expr::Comprehension(it) => {
            let once = all(&[&it.loop_cond, &it.loop_step]);
            let times = constants(&it.iter_range).unwrap_or(1) as u64;
            all(&[&it.iter_range, &it.accu_init, &it.result])
                .saturating_add(once.saturating_mul(times))
        }
        _ => all(&children(expr)),
    }
}

/// How many there are in a list of constants; none for anything else.
pub(super) fn constants(expr: &Expression) -> Option<usize> {
    let Expr::List(list) = &expr.expr else { return None };
    let is_constant = |item: &Expression| matches!(item.expr, Expr::Literal(_));
    list.elements.iter().all(is_constant).then_some(list.elements.len())
}

/// The text of a literal.
pub(super) fn literal_text(expr: &Expression) -> Option<&str> {
    match &expr.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
