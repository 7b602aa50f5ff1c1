//! Comparisons of variables and constants, joined by `&&`, `||`, `!` and `in`,
//! as what they are: matching, without an interpreter.
//!
//! It says what the interpreter would say, to the last case: what fails is
//! neither true nor false, and an `||` is true when either side is.

use std::cmp::Ordering;

use cel::{
    common::ast::{CallExpr, Expr, LiteralValue, operators as op},
    parser::Expression,
};
use serde_json::Value;

use super::{
    budget::Budget,
    compare::{Constant, Found},
    expression::literal_text,
    facts::{Fact, Facts, Object, Read},
    problem::Problem,
};

/// What a test reads, and the work that it may be.
#[derive(Clone, Copy)]
struct By<'f> {
    facts: &'f dyn Facts,
    budget: &'f Budget,
}

impl By<'_> {
    fn pay(&self, bytes: usize) -> Result<(), Problem> {
        if self.budget.take_bytes(bytes) { Ok(()) } else { Err(Problem::TooMuchWork) }
    }
}

/// One side of a comparison.
#[derive(Clone, Debug)]
pub(super) enum Side {
    Read(Read),
    Constant(Constant),
}

/// A condition, or a part of one.
#[derive(Clone, Debug)]
pub(super) enum Test {
    /// A variable that is a yes or a no, or such a constant.
    Is(Side),
    Equal(Side, Side),
    /// The first is less than, equal to or greater than the second: any of
    /// these.
    Orders(Side, &'static [Ordering], Side),
    /// One of these.
    OneOf(Side, Box<[Constant]>),
    /// It is in a list, or is a name of a map.
    In(Side, Read),
    /// It is there.
    Has(Read),
    Not(Box<Test>),
    All(Vec<Test>),
    Any(Vec<Test>),
}

impl Test {
    /// Compiles an expression; none for one that asks for more than matching.
    pub(super) fn compile(expr: &Expression) -> Option<Self> {
        match &expr.expr {
            Expr::Call(call) => Self::of_call(call),
            Expr::Select(select) if select.test => {
                read(&select.operand, Some(&select.field)).map(Self::Has)
            }
            _ => Side::compile(expr).map(Self::Is),
        }
    }

    fn of_call(call: &CallExpr) -> Option<Self> {
        const BELOW: &[Ordering] = &[Ordering::Less];
        const UP_TO: &[Ordering] = &[Ordering::Less, Ordering::Equal];
        const ABOVE: &[Ordering] = &[Ordering::Greater];
        const FROM: &[Ordering] = &[Ordering::Greater, Ordering::Equal];
        if call.target.is_some() {
            return None;
        }
        let tests = || call.args.iter().map(Self::compile).collect::<Option<Vec<_>>>();
        let name = call.func_name.as_str();
        if let (op::INDEX, [..]) = (name, call.args.as_slice()) {
            return Side::compile(&Expression { id: 0, expr: Expr::Call(call.clone()) })
                .map(Self::Is);
        }
        match (name, call.args.as_slice()) {
            (op::LOGICAL_AND, _) => tests().map(Self::All),
            (op::LOGICAL_OR, _) => tests().map(Self::Any),
            (op::LOGICAL_NOT, [one]) => Self::compile(one).map(|test| Self::Not(Box::new(test))),
            (op::EQUALS, [a, b]) => Some(Self::Equal(Side::compile(a)?, Side::compile(b)?)),
            (op::NOT_EQUALS, [a, b]) => {
                let equal = Self::Equal(Side::compile(a)?, Side::compile(b)?);
                Some(Self::Not(Box::new(equal)))
            }
            (op::LESS, [a, b]) => Self::orders(a, BELOW, b),
            (op::LESS_EQUALS, [a, b]) => Self::orders(a, UP_TO, b),
            (op::GREATER, [a, b]) => Self::orders(a, ABOVE, b),
            (op::GREATER_EQUALS, [a, b]) => Self::orders(a, FROM, b),
            (op::IN, [item, list]) => match &list.expr {
                Expr::List(list) => {
                    let constants = list.elements.iter().map(constant).collect::<Option<_>>()?;
                    Some(Self::OneOf(Side::compile(item)?, constants))
                }
                _ => Some(Self::In(Side::compile(item)?, read(list, None)?)),
            },
            _ => None,
        }
    }

    fn orders(a: &Expression, orders: &'static [Ordering], b: &Expression) -> Option<Self> {
        Some(Self::Orders(Side::compile(a)?, orders, Side::compile(b)?))
    }

    /// Whether it is true.
    pub(super) fn truth(&self, facts: &dyn Facts, budget: &Budget) -> Result<bool, Problem> {
        let by = By { facts, budget };
        self.by(by)
    }

    fn by(&self, by: By<'_>) -> Result<bool, Problem> {
        match self {
            Self::Is(side) => match side.value(by)? {
                Found::Bool(is) => Ok(is),
                _ => Err(Problem::WrongType),
            },
            Self::Equal(a, b) => Ok(a.value(by)?.equals(&b.value(by)?)),
            Self::Orders(a, orders, b) => {
                let order = a.value(by)?.compare(&b.value(by)?)?;
                Ok(orders.contains(&order))
            }
            Self::OneOf(item, constants) => {
                let item = item.value(by)?;
                Ok(constants.iter().any(|constant| Found::constant(constant).equals(&item)))
            }
            Self::In(item, list) => {
                let item = item.value(by)?;
                contains(list, &item, by)
            }
            Self::Has(read) => has(read, by),
            Self::Not(test) => test.by(by).map(|is| !is),
            Self::All(tests) => join(tests, by, false),
            Self::Any(tests) => join(tests, by, true),
        }
    }
}

/// The one value that decides, or else the other when nothing failed.
fn join(tests: &[Test], by: By<'_>, decides: bool) -> Result<bool, Problem> {
    let mut problem = None;
    for test in tests {
        match test.by(by) {
            Err(Problem::TooMuchWork) => return Err(Problem::TooMuchWork),
            Ok(is) if is == decides => return Ok(decides),
            Ok(_) => {}
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    problem.map_or(Ok(!decides), Err)
}

impl Side {
    fn compile(expr: &Expression) -> Option<Self> {
        match constant(expr) {
            Some(constant) => Some(Self::Constant(constant)),
            // A map as a whole is no value.
            None => read(expr, None).filter(|read| !read.name.is_empty()).map(Self::Read),
        }
    }

    fn value<'f>(&'f self, by: By<'f>) -> Result<Found<'f>, Problem> {
        match self {
            Self::Constant(constant) => Ok(Found::constant(constant)),
            Self::Read(read) => look(read, by)?.ok_or_else(|| Problem::Missing(read.to_string())),
        }
    }
}

fn constant(expr: &Expression) -> Option<Constant> {
    let Expr::Literal(literal) = &expr.expr else { return None };
    Some(match literal {
        LiteralValue::Null => Constant::Null,
        LiteralValue::Boolean(is) => Constant::Bool(*is.inner()),
        LiteralValue::Int(int) => Constant::Int(*int.inner()),
        LiteralValue::UInt(uint) => Constant::Uint(*uint.inner()),
        LiteralValue::Double(double) => Constant::Double(*double.inner()),
        LiteralValue::String(text) => Constant::Text(text.inner().into()),
        LiteralValue::Bytes(_) => return None,
    })
}

/// The variable that an expression is, or a field of it.
fn read(expr: &Expression, field: Option<&str>) -> Option<Read> {
    let mut names: Vec<&str> = field.into_iter().collect();
    let mut rest = expr;
    let root = loop {
        match &rest.expr {
            Expr::Select(select) if !select.test => {
                names.push(&select.field);
                rest = &select.operand;
            }
            Expr::Call(call) if call.func_name == op::INDEX => {
                let [of, at] = call.args.as_slice() else { return None };
                names.push(literal_text(at)?);
                rest = of;
            }
            Expr::Ident(name) => break Object::named(name)?,
            _ => return None,
        }
    };
    names.reverse();
    let (mut of, mut names) = (root, names.as_slice());
    if let (Object::Request, [map @ ("headers" | "query"), rest @ ..]) = (root, names) {
        of = if *map == "headers" { Object::Headers } else { Object::Query };
        names = rest;
    }
    let (name, way) = match (of, names) {
        // A map as a whole.
        (Object::Headers | Object::Query | Object::Claims | Object::Path | Object::Context, []) => {
            ("", [].as_slice())
        }
        // Times are compared by the interpreter.
        (_, []) | (Object::Request, ["time", ..]) => return None,
        (Object::Claims, [name, way @ ..]) => (*name, way),
        (_, [name]) => (*name, [].as_slice()),
        _ => return None,
    };
    let way = way.iter().map(|name| (*name).into()).collect();
    Some(Read { of, name: name.into(), way })
}

/// The value of a variable; none when it is not there.
fn look<'f>(read: &Read, by: By<'f>) -> Result<Option<Found<'f>>, Problem> {
    by.pay(0)?;
    let Some(fact) = by.facts.get(read.of, &read.name)? else { return Ok(None) };
    by.pay(match &fact {
        Fact::Text(text) => text.len(),
        Fact::Texts(texts) => texts.iter().map(|text| 16 + text.len()).sum(),
        // Of a value of the token, what is looked for within it is paid for.
        Fact::Time(_) | Fact::Json(_) => 0,
    })?;
    let mut value = match fact {
        Fact::Text(text) => return Ok(Some(Found::Text(text))),
        Fact::Texts(texts) => return Ok(Some(Found::Texts(texts))),
        Fact::Time(_) => return Err(Problem::WrongType),
        Fact::Json(value) => value,
    };
    for name in &read.way {
        let Value::Object(members) = value else { return Err(Problem::WrongType) };
        let Some(member) = members.get(&**name) else { return Ok(None) };
        value = member;
    }
    by.pay(size(value))?;
    Ok(Some(Found::json(value)))
}

/// How large a value is, in bytes.
fn size(value: &Value) -> usize {
    match value {
        Value::String(text) => text.len(),
        Value::Array(items) => items.iter().map(|item| 16 + size(item)).sum(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| 16 + name.len() + size(value)).sum()
        }
        _ => 0,
    }
}

/// Whether it is there. What it would be within has to be.
fn has(read: &Read, by: By<'_>) -> Result<bool, Problem> {
    by.pay(0)?;
    if let Some((_, within)) = read.way.split_last() {
        let within = Read { way: within.into(), ..read.clone() };
        return match look(&within, by)? {
            Some(Found::Map(members)) => {
                Ok(read.way.last().is_some_and(|name| members.contains_key(&**name)))
            }
            Some(_) => Err(Problem::WrongType),
            None => Err(Problem::Missing(within.to_string())),
        };
    }
    Ok(by.facts.get(read.of, &read.name)?.is_some())
}

/// Whether a variable holds a value: a list as one of it, a map as a name.
fn contains(list: &Read, item: &Found<'_>, by: By<'_>) -> Result<bool, Problem> {
    if list.name.is_empty() {
        by.pay(0)?;
        let Found::Text(name) = item else { return not_a_name(item) };
        return Ok(by.facts.get(list.of, name)?.is_some());
    }
    match look(list, by)?.ok_or_else(|| Problem::Missing(list.to_string()))? {
        Found::Texts(texts) => {
            Ok(matches!(item, Found::Text(item) if texts.iter().any(|text| text == item)))
        }
        Found::List(items) => Ok(items.iter().any(|one| Found::json(one).equals(item))),
        Found::Map(members) => match item {
            Found::Text(name) => Ok(members.contains_key(&**name)),
            other => not_a_name(other),
        },
        _ => Err(Problem::WrongType),
    }
}

/// Some other types may be names of a map; no map here has such.
fn not_a_name(item: &Found<'_>) -> Result<bool, Problem> {
    match item {
        Found::Bool(_) | Found::Int(_) | Found::Uint(_) | Found::Double(_) => Ok(false),
        _ => Err(Problem::WrongType),
    }
}
