//! What is not compiled to native matching: an expression, changed so that its
//! work is counted, for the interpreter of the crate `cel`.
//!
//! Names that begin with `@` cannot be written in a condition; they are how an
//! expression reaches its budget and its compiled patterns. `@7` takes seven
//! steps, and is true.

use std::sync::{Arc, LazyLock};

use cel::{
    Context, Env, Value,
    common::{
        ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
        types::{CelBool, DYN_TYPE, STRING_TYPE, Type},
        value::CowVal,
    },
    context::VariableResolver,
    parser::Expression,
};

use super::{
    budget::{BUDGET_TYPE, Budget},
    cost,
    expression::{children, literal_text, work},
    facts::{Facts, Object},
    pattern::{PATTERN_TYPE, Pattern},
    problem::Problem,
    value::{self, Fields},
};

/// The functions of cel-spec, and those that count their work.
static ENVIRONMENT: LazyLock<Arc<Env>> = LazyLock::new(|| {
    let mut env = Env::default().with_optional_support(false).with_stdlib();
    let given =
        |second: &Type| vec![STRING_TYPE.to_owned(), second.to_owned(), BUDGET_TYPE.to_owned()];
    let any = || vec![DYN_TYPE.to_owned(), DYN_TYPE.to_owned(), BUDGET_TYPE.to_owned()];
    let added = [
        env.add_overload("@matches", "@matches", given(&PATTERN_TYPE), cost::matches),
        env.add_overload("@contains", "@contains", given(&STRING_TYPE), cost::contains),
        env.add_overload("@add", "@add", any(), cost::added),
        env.add_overload("@paid", "@paid", any().split_off(1), cost::paid),
        env.add_overload("@equals", "@equals", any(), cost::equal),
        env.add_overload("@holds", "@holds", any(), cost::held),
    ];
    debug_assert!(added.iter().all(Result::is_ok));
    Arc::new(env)
});

/// An expression that is ready to be evaluated.
#[derive(Debug)]
pub(super) struct Program {
    expr: Expression,
    patterns: Vec<Pattern>,
    /// The names that stand in it.
    names: Vec<String>,
    /// What it takes beside what depends on the request.
    work: u64,
}

impl Program {
    /// Makes one of an expression that was checked.
    pub(super) fn new(mut expr: Expression) -> Self {
        let work = work(&expr);
        let (mut patterns, mut names) = (Vec::new(), Vec::new());
        collect_names(&expr, &mut names);
        rewrite(&mut expr, &mut patterns, false);
        Self { expr, patterns, names, work }
    }

    /// Whether it is true.
    pub(super) fn truth(&self, facts: &dyn Facts, budget: &Budget) -> Result<bool, Problem> {
        budget.take(self.work);
        let variables = Variables { facts, budget, patterns: &self.patterns };
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(&variables);
        let value = Value::resolve_val(&self.expr, &context);
        // A macro, or an `||`, goes on beyond what failed; work that is used up
        // is the end.
        if budget.is_spent() {
            return Err(Problem::TooMuchWork);
        }
        let value = value.map_err(|error| match Problem::from(error) {
            // A name that was made of the request is not told.
            Problem::Missing(name) if !self.names.contains(&name) => Problem::MissingByValue,
            problem => problem,
        })?;
        value.downcast_ref::<CelBool>().map(|is| *is.inner()).ok_or(Problem::WrongType)
    }

    /// Looks at what it gives, of whatever type: for the tests of cel-spec.
    #[cfg(test)]
    pub(super) fn look<T>(
        &self,
        facts: &dyn Facts,
        look: impl FnOnce(Result<&dyn cel::common::value::Val, cel::ExecutionError>) -> T,
    ) -> T {
        let budget = Budget::of(u64::MAX / 4);
        let variables = Variables { facts, budget: &budget, patterns: &self.patterns };
        let mut context = Context::with_env(Arc::clone(&ENVIRONMENT));
        context.set_variable_resolver(&variables);
        let value = Value::resolve_val(&self.expr, &context);
        look(value.as_ref().map(AsRef::as_ref).map_err(Clone::clone))
    }
}

/// Why a call of constants always fails, if it does.
pub(super) fn failure_of_constant(expr: &Expression) -> Option<String> {
    let context = Context::with_env(Arc::clone(&ENVIRONMENT));
    let error = Value::resolve_val(expr, &context).err()?;
    Some(Problem::from(error).to_string())
}

fn ident(name: impl Into<String>) -> Expression {
    Expression { id: 0, expr: Expr::Ident(name.into()) }
}

fn call(name: &str, args: Vec<Expression>) -> Expression {
    let call = CallExpr { func_name: name.to_owned(), target: None, args };
    Expression { id: 0, expr: Expr::Call(call) }
}

/// `@n ? expr : otherwise`.
fn after(steps: u64, expr: Expression, otherwise: Expression) -> Expression {
    call(operators::CONDITIONAL, vec![ident(format!("@{steps}")), expr, otherwise])
}

/// The names of fields and the texts that stand in an expression.
fn collect_names(expr: &Expression, into: &mut Vec<String>) {
    match &expr.expr {
        Expr::Select(select) => into.push(select.field.clone()),
        Expr::Ident(name) => into.push(name.clone()),
        Expr::Literal(_) => into.extend(literal_text(expr).map(str::to_owned)),
        _ => {}
    }
    for child in children(expr) {
        collect_names(child, into);
    }
}

/// `is_inside` a macro, where one value can be compared again and again.
fn rewrite(expr: &mut Expression, patterns: &mut Vec<Pattern>, is_inside: bool) {
    match &mut expr.expr {
        Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        Expr::Select(select) => rewrite(&mut select.operand, patterns, is_inside),
        Expr::List(list) => {
            for item in &mut list.elements {
                rewrite(item, patterns, is_inside);
                pay_for_copy(item, is_inside);
            }
        }
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let EntryExpr::MapEntry(entry) = &mut entry.expr {
                    rewrite(&mut entry.key, patterns, is_inside);
                    rewrite(&mut entry.value, patterns, is_inside);
                    pay_for_copy(&mut entry.value, is_inside);
                }
            }
        }
        Expr::Comprehension(it) => rewrite_macro(it, patterns),
        Expr::Call(found) => {
            found.target.iter_mut().for_each(|target| rewrite(target, patterns, is_inside));
            found.args.iter_mut().for_each(|arg| rewrite(arg, patterns, is_inside));
            let is_search = found.func_name == "matches"
                || found.func_name == "contains" && found.target.is_some();
            match found.func_name.as_str() {
                _ if is_search => *expr = counted_search(found, patterns),
                // The list that a macro makes is added to as it goes.
                operators::ADD if !is_result(found.args.first()) => {
                    let mut args = std::mem::take(&mut found.args);
                    args.push(ident("@budget"));
                    *expr = call("@add", args);
                }
                operators::EQUALS | operators::NOT_EQUALS | operators::IN if is_inside => {
                    let is_in = found.func_name == operators::IN;
                    let is_not = found.func_name == operators::NOT_EQUALS;
                    let mut args = std::mem::take(&mut found.args);
                    args.push(ident("@budget"));
                    let compared = call(if is_in { "@holds" } else { "@equals" }, args);
                    *expr = if is_not {
                        call(operators::LOGICAL_NOT, vec![compared])
                    } else {
                        compared
                    };
                }
                _ => {}
            }
        }
    }
}

/// A list or a map copies what it is made of, within a macro again and again.
fn pay_for_copy(item: &mut Expression, is_inside: bool) {
    if is_inside && !matches!(item.expr, Expr::Literal(_)) {
        *item = call("@paid", vec![std::mem::take(item), ident("@budget")]);
    }
}

/// Whether it is what a macro has made so far.
fn is_result(expr: Option<&Expression>) -> bool {
    expr.is_some_and(|expr| matches!(&expr.expr, Expr::Ident(name) if name.starts_with('@')))
}

fn counted_search(found: &mut CallExpr, patterns: &mut Vec<Pattern>) -> Expression {
    let mut args: Vec<Expression> = found.target.take().into_iter().map(|it| *it).collect();
    args.append(&mut found.args);
    if found.func_name == "matches"
        && let Some(last) = args.last_mut()
        && let Some(Ok(pattern)) = literal_text(last).map(Pattern::compile)
    {
        *last = ident(format!("@p{}", patterns.len()));
        patterns.push(pattern);
    }
    args.push(ident("@budget"));
    call(&format!("@{}", found.func_name), args)
}

/// Each round of a macro takes as many steps as there are in it. Where that is
/// said leaves the forms alone for which the interpreter has a faster way.
fn rewrite_macro(it: &mut ComprehensionExpr, patterns: &mut Vec<Pattern>) {
    let steps = 2 + work(&it.loop_cond) + work(&it.loop_step);
    for part in [
        &mut it.iter_range,
        &mut it.accu_init,
        &mut it.loop_cond,
        &mut it.loop_step,
        &mut it.result,
    ] {
        rewrite(part, patterns, true);
    }
    let (yes, no) = (literal(true), literal(false));
    if it.loop_cond.expr != yes.expr || it.result.expr != ident(&it.accu_var).expr {
        let condition = std::mem::take(&mut it.loop_cond);
        it.loop_cond = after(steps, condition, no);
        return;
    }
    match &mut it.loop_step.expr {
        Expr::Call(step) if step.func_name == operators::CONDITIONAL => {
            if let Some(guard) = step.args.first_mut() {
                *guard = after(steps, std::mem::take(guard), no);
            }
        }
        _ => {
            let step = std::mem::take(&mut it.loop_step);
            it.loop_step = after(steps, step, ident(&it.accu_var));
        }
    }
}

fn literal(is: bool) -> Expression {
    Expression { id: 0, expr: Expr::Literal(LiteralValue::Boolean(CelBool::from(is))) }
}

/// What the names of an expression stand for.
struct Variables<'v> {
    facts: &'v dyn Facts,
    budget: &'v Budget,
    patterns: &'v [Pattern],
}

impl VariableResolver for Variables<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if let Some(own) = name.strip_prefix('@') {
            return self.own(own);
        }
        if self.budget.is_spent() {
            return None;
        }
        let Some((object, field)) = name.split_once('.') else {
            // An object as a whole: to be asked whether it has something.
            let object = Object::named(name)?;
            return Some(CowVal::owned(Fields::new(self.facts, self.budget, object)));
        };
        let object = Object::named(object)?;
        match (object, field) {
            // A field of one of its own: by the object.
            (Object::Claims, _) => None,
            (_, field) if field.contains('.') => None,
            (Object::Request, "headers") => {
                Some(CowVal::owned(Fields::new(self.facts, self.budget, Object::Headers)))
            }
            (Object::Request, "query") => {
                Some(CowVal::owned(Fields::new(self.facts, self.budget, Object::Query)))
            }
            _ => {
                // What fails is asked for again, by its object, which says why.
                let fact = self.facts.get(object, field).ok()??;
                value::of(fact, self.budget).ok().map(CowVal::Owned)
            }
        }
    }
}

impl Variables<'_> {
    fn own<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        if name == "budget" {
            return Some(CowVal::Borrowed(self.budget));
        }
        if let Some(number) = name.strip_prefix('p') {
            let pattern = self.patterns.get(number.parse::<usize>().ok()?)?;
            return Some(CowVal::Borrowed(pattern));
        }
        self.budget.take(name.parse().ok()?).then(|| CowVal::owned(CelBool::from(true)))
    }
}
