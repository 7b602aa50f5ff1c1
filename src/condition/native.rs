//! Comparisons of variables and constants, joined by `&&`, `||`, `!` and `in`,
//! as what they are: matching, without an interpreter.
//!
//! It says what the interpreter would say, to the last case: what fails is
//! neither true nor false, and an `||` is true when either side is.

use std::{borrow::Cow, cmp::Ordering};

use cel::{
    common::ast::{CallExpr, Expr, LiteralValue, operators as op},
    parser::Expression,
};
use serde_json::Value;

use super::{
    check::literal_text,
    facts::{Fact, Facts, Object, Read},
    problem::Problem,
};

/// A constant.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Constant {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Box<str>),
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
    pub(super) fn truth(&self, facts: &dyn Facts) -> Result<bool, Problem> {
        match self {
            Self::Is(side) => match side.value(facts)? {
                Found::Bool(is) => Ok(is),
                _ => Err(Problem::WrongType),
            },
            Self::Equal(a, b) => Ok(a.value(facts)?.equals(&b.value(facts)?)),
            Self::Orders(a, orders, b) => {
                let order = a.value(facts)?.compare(&b.value(facts)?)?;
                Ok(orders.contains(&order))
            }
            Self::OneOf(item, constants) => {
                let item = item.value(facts)?;
                Ok(constants.iter().any(|constant| Found::constant(constant).equals(&item)))
            }
            Self::In(item, list) => {
                let item = item.value(facts)?;
                contains(list, &item, facts)
            }
            Self::Has(read) => has(read, facts),
            Self::Not(test) => test.truth(facts).map(|is| !is),
            Self::All(tests) => join(tests, facts, false),
            Self::Any(tests) => join(tests, facts, true),
        }
    }
}

/// The one value that decides, or else the other when nothing failed.
fn join(tests: &[Test], facts: &dyn Facts, decides: bool) -> Result<bool, Problem> {
    let mut problem = None;
    for test in tests {
        match test.truth(facts) {
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
            None => read(expr, None).map(Self::Read),
        }
    }

    fn value<'f>(&'f self, facts: &'f dyn Facts) -> Result<Found<'f>, Problem> {
        match self {
            Self::Constant(constant) => Ok(Found::constant(constant)),
            Self::Read(read) => {
                look(read, facts)?.ok_or_else(|| Problem::Missing(read.to_string()))
            }
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

/// A value, as it is compared.
#[derive(Debug)]
enum Found<'f> {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(Cow<'f, str>),
    Texts(Vec<Cow<'f, str>>),
    List(&'f [Value]),
    Map(&'f serde_json::Map<String, Value>),
}

/// The value of a variable; none when it is not there.
fn look<'f>(read: &Read, facts: &'f dyn Facts) -> Result<Option<Found<'f>>, Problem> {
    if read.name.is_empty() {
        return Err(Problem::WrongType);
    }
    let Some(fact) = facts.get(read.of, &read.name)? else { return Ok(None) };
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
    Ok(Some(Found::json(value)))
}

/// Whether it is there. What it would be within has to be.
fn has(read: &Read, facts: &dyn Facts) -> Result<bool, Problem> {
    if let Some((_, within)) = read.way.split_last() {
        let within = Read { way: within.into(), ..read.clone() };
        return match look(&within, facts)? {
            Some(Found::Map(members)) => {
                Ok(read.way.last().is_some_and(|name| members.contains_key(&**name)))
            }
            Some(_) => Err(Problem::WrongType),
            None => Err(Problem::Missing(within.to_string())),
        };
    }
    Ok(facts.get(read.of, &read.name)?.is_some())
}

/// Whether a variable holds a value: a list as one of it, a map as a name.
fn contains(list: &Read, item: &Found<'_>, facts: &dyn Facts) -> Result<bool, Problem> {
    if list.name.is_empty() {
        let Found::Text(name) = item else { return not_a_name(item) };
        return Ok(facts.get(list.of, name)?.is_some());
    }
    match look(list, facts)?.ok_or_else(|| Problem::Missing(list.to_string()))? {
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

impl<'f> Found<'f> {
    fn constant(constant: &'f Constant) -> Self {
        match constant {
            Constant::Null => Self::Null,
            Constant::Bool(is) => Self::Bool(*is),
            Constant::Int(int) => Self::Int(*int),
            Constant::Uint(uint) => Self::Uint(*uint),
            Constant::Double(double) => Self::Double(*double),
            Constant::Text(text) => Self::Text(Cow::Borrowed(text)),
        }
    }

    fn json(value: &'f Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(is) => Self::Bool(*is),
            Value::Number(number) => match (number.as_i64(), number.as_u64()) {
                (Some(int), _) => Self::Int(int),
                (_, Some(uint)) => Self::Uint(uint),
                _ => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
            },
            Value::String(text) => Self::Text(Cow::Borrowed(text)),
            Value::Array(items) => Self::List(items),
            Value::Object(members) => Self::Map(members),
        }
    }

    /// Values of different types are not equal; numbers are what they are worth.
    fn equals(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Null, Self::Null) => true,
            (Self::Bool(a), Self::Bool(b)) => a == b,
            (Self::Text(a), Self::Text(b)) => a == b,
            (Self::Texts(a), Self::Texts(b)) => a == b,
            (Self::Texts(texts), Self::List(items)) | (Self::List(items), Self::Texts(texts)) => {
                texts.len() == items.len()
                    && texts.iter().zip(*items).all(|(text, item)| item == &**text)
            }
            (Self::List(a), Self::List(b)) => {
                a.len() == b.len()
                    && a.iter().zip(*b).all(|(a, b)| Self::json(a).equals(&Self::json(b)))
            }
            (Self::Map(a), Self::Map(b)) => {
                a.len() == b.len()
                    && a.iter().all(|(name, value)| {
                        let value = Found::json(value);
                        b.get(name).is_some_and(|other| value.equals(&Found::json(other)))
                    })
            }
            (a, b) => a.compare_numbers(b) == Some(Ordering::Equal),
        }
    }

    fn compare(&self, other: &Self) -> Result<Ordering, Problem> {
        match (self, other) {
            (Self::Bool(a), Self::Bool(b)) => Ok(a.cmp(b)),
            (Self::Text(a), Self::Text(b)) => Ok(a.cmp(b)),
            (a, b) => a.compare_numbers(b).ok_or(Problem::WrongType),
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "cel-spec compares with a double as doubles")]
    fn compare_numbers(&self, other: &Self) -> Option<Ordering> {
        use Found::{Double, Int, Uint};
        match (self, other) {
            (Int(a), Int(b)) => Some(a.cmp(b)),
            (Uint(a), Uint(b)) => Some(a.cmp(b)),
            (Int(a), Uint(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Uint(a), Int(b)) => Some(i128::from(*a).cmp(&i128::from(*b))),
            (Double(a), Double(b)) => a.partial_cmp(b),
            (Int(a), Double(b)) => (*a as f64).partial_cmp(b),
            (Double(a), Int(b)) => a.partial_cmp(&(*b as f64)),
            (Uint(a), Double(b)) => (*a as f64).partial_cmp(b),
            (Double(a), Uint(b)) => a.partial_cmp(&(*b as f64)),
            _ => None,
        }
    }
}
