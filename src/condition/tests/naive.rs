//! Random conditions over random requests, held against an evaluator that is as
//! plain as can be. `PROPTEST_CASES` raises the number: `tests/run --soak` asks
//! for a million.

use std::collections::BTreeMap;

use proptest::prelude::*;
use serde_json::{Value, json};

use super::{
    any::{any_condition, any_request},
    *,
};

/// A value.
#[derive(Clone, Debug)]
pub(super) enum V {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Double(f64),
    Text(String),
    List(Vec<V>),
    Map(BTreeMap<String, V>),
}

/// A condition.
#[derive(Clone, Debug)]
pub(super) enum E {
    Value(V),
    /// A name of the request, as [`VARIABLES`] has it.
    Variable(&'static str),
    /// The element of the macro around.
    Element,
    Not(Box<E>),
    Two(&'static str, Box<E>, Box<E>),
    Choice(Box<E>, Box<E>, Box<E>),
    Has(&'static str),
    Size(Box<E>),
    Call(&'static str, Box<E>, String),
    Macro(&'static str, &'static str, Box<E>),
    At(Box<E>, Box<E>),
}

pub(super) const VARIABLES: [&str; 14] = [
    "claims.a",
    "claims.b",
    "claims.list",
    "claims.map",
    "claims.map.a",
    "claims.none",
    "claims.a.b",
    "user.id",
    "user.role",
    "path.id",
    "user.scopes",
    "request.method",
    "context.plan",
    "user.email",
];
pub(super) const GONE_THROUGH: [&str; 4] = ["claims.list", "claims.map", "claims.a", "user.scopes"];

impl std::fmt::Display for V {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(is) => write!(f, "{is}"),
            Self::Int(int) => write!(f, "{int}"),
            Self::Uint(uint) => write!(f, "{uint}u"),
            Self::Double(double) => write!(f, "{double:?}"),
            Self::Text(text) => write!(f, "{}", json!(text)),
            Self::List(list) => {
                let list: Vec<String> = list.iter().map(V::to_string).collect();
                write!(f, "[{}]", list.join(", "))
            }
            Self::Map(_) => f.write_str("{}"),
        }
    }
}

impl std::fmt::Display for E {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Value(value) => write!(f, "{value}"),
            Self::Variable(name) => f.write_str(name),
            Self::Element => f.write_str("x"),
            Self::Not(e) => write!(f, "!({e})"),
            Self::Two(op, a, b) => write!(f, "({a}) {op} ({b})"),
            Self::Choice(test, a, b) => write!(f, "(({test}) ? ({a}) : ({b}))"),
            Self::Has(name) => write!(f, "has({name})"),
            Self::Size(e) => write!(f, "size({e})"),
            Self::Call(name, e, text) => write!(f, "({e}).{name}({})", json!(text)),
            Self::Macro(name, over, e) => write!(f, "{over}.{name}(x, {e})"),
            Self::At(e, at) => write!(f, "({e})[{at}]"),
        }
    }
}

/// What the request says, and the element of the macro around.
struct World<'w> {
    request: &'w Request,
    element: Option<V>,
    /// Whether the interpreter does something that cel-spec does not have: it adds
    /// the names of a map to a list.
    is_odd: &'w std::cell::Cell<bool>,
}

fn of_json(value: &Value) -> V {
    match value {
        Value::Null => V::Null,
        Value::Bool(is) => V::Bool(*is),
        Value::Number(number) if number.is_i64() => V::Int(number.as_i64().unwrap()),
        Value::Number(number) if number.is_u64() => V::Uint(number.as_u64().unwrap()),
        Value::Number(number) => V::Double(number.as_f64().unwrap()),
        Value::String(text) => V::Text(text.clone()),
        Value::Array(list) => V::List(list.iter().map(of_json).collect()),
        Value::Object(map) => V::Map(map.iter().map(|(k, v)| (k.clone(), of_json(v))).collect()),
    }
}

impl World<'_> {
    fn variable(&self, name: &str) -> Option<V> {
        let mut names = name.split('.');
        let root = names.next()?;
        if root == "claims" {
            let mut value =
                V::Map(self.request.claims.iter().map(|(k, v)| (k.clone(), of_json(v))).collect());
            for name in names {
                let V::Map(map) = value else { return None };
                value = map.get(name)?.clone();
            }
            return Some(value);
        }
        let of = Object::named(root)?;
        let key = (of, names.next()?.to_owned());
        let list = || self.request.lists.get(&key);
        let texts = |list: &Vec<String>| V::List(list.iter().cloned().map(V::Text).collect());
        self.request.texts.get(&key).cloned().map(V::Text).or_else(|| list().map(texts))
    }
}

#[allow(clippy::cast_precision_loss, reason = "as cel-spec compares with a double")]
fn order(a: &V, b: &V) -> Option<std::cmp::Ordering> {
    let double = |v: &V| match v {
        V::Int(int) => Some(*int as f64),
        V::Uint(uint) => Some(*uint as f64),
        V::Double(double) => Some(*double),
        _ => None,
    };
    let whole = |v: &V| match v {
        V::Int(int) => Some(i128::from(*int)),
        V::Uint(uint) => Some(i128::from(*uint)),
        _ => None,
    };
    match (a, b) {
        (V::Text(a), V::Text(b)) => Some(a.cmp(b)),
        (V::Bool(a), V::Bool(b)) => Some(a.cmp(b)),
        _ => match (whole(a), whole(b)) {
            (Some(a), Some(b)) => Some(a.cmp(&b)),
            _ => double(a)?.partial_cmp(&double(b)?),
        },
    }
}

fn same(a: &V, b: &V) -> bool {
    match (a, b) {
        (V::Null, V::Null) => true,
        (V::List(a), V::List(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (V::Map(a), V::Map(b)) => {
            a.len() == b.len()
                && a.iter().all(|(k, v)| b.get(k).is_some_and(|other| same(v, other)))
        }
        _ => order(a, b) == Some(std::cmp::Ordering::Equal),
    }
}

fn truth(e: &E, world: &World<'_>) -> Option<bool> {
    match eval(e, world)? {
        V::Bool(is) => Some(is),
        _ => None,
    }
}

/// The value; none for what fails.
fn eval(e: &E, world: &World<'_>) -> Option<V> {
    Some(match e {
        E::Value(value) => value.clone(),
        E::Variable(name) => world.variable(name)?,
        E::Element => world.element.clone()?,
        E::Not(e) => V::Bool(!truth(e, world)?),
        E::Has(name) => {
            let (of, name) = name.rsplit_once('.').unwrap();
            if of.contains('.') {
                let V::Map(map) = world.variable(of)? else { return None };
                return Some(V::Bool(map.contains_key(name)));
            }
            V::Bool(world.variable(&format!("{of}.{name}")).is_some())
        }
        E::Size(e) => V::Int(
            i64::try_from(match eval(e, world)? {
                V::Text(text) => text.chars().count(),
                V::List(list) => list.len(),
                V::Map(map) => map.len(),
                _ => return None,
            })
            .unwrap(),
        ),
        E::Call(name, e, part) => {
            let V::Text(text) = eval(e, world)? else { return None };
            V::Bool(match *name {
                "startsWith" => text.starts_with(part),
                "endsWith" => text.ends_with(part),
                _ => text.contains(part),
            })
        }
        E::Choice(test, a, b) => return eval(if truth(test, world)? { a } else { b }, world),
        E::Macro(name, over, e) => {
            let elements = match world.variable(over)? {
                V::List(list) => list,
                V::Map(map) => map.into_keys().map(V::Text).collect(),
                _ => return None,
            };
            let told = elements
                .into_iter()
                .map(|element| truth(e, &World { element: Some(element), ..*world }));
            let told: Vec<Option<bool>> = told.collect();
            let decides = *name == "exists";
            if *name == "exists_one" {
                let told: Option<Vec<bool>> = told.into_iter().collect();
                return Some(V::Bool(told?.into_iter().filter(|is| *is).count() == 1));
            }
            match (told.contains(&Some(decides)), told.contains(&None)) {
                (true, _) => V::Bool(decides),
                (false, true) => return None,
                (false, false) => V::Bool(!decides),
            }
        }
        E::At(e, at) => match (eval(e, world)?, eval(at, world)?) {
            (V::List(list), at) => {
                let at = (0..list.len())
                    .find(|place| same(&at, &V::Uint(u64::try_from(*place).unwrap())));
                list[at?].clone()
            }
            (V::Map(map), V::Text(name)) => map.get(&name)?.clone(),
            _ => return None,
        },
        E::Two("&&" | "||", a, b) => {
            let decides = matches!(e, E::Two("||", ..));
            match (truth(a, world), truth(b, world)) {
                (Some(is), _) | (_, Some(is)) if is == decides => V::Bool(decides),
                (Some(_), Some(_)) => V::Bool(!decides),
                _ => return None,
            }
        }
        E::Two(op, a, b) => {
            let (a, b) = (eval(a, world)?, eval(b, world)?);
            match *op {
                "==" => V::Bool(same(&a, &b)),
                "!=" => V::Bool(!same(&a, &b)),
                "<" => V::Bool(order(&a, &b)?.is_lt()),
                "<=" => V::Bool(order(&a, &b)?.is_le()),
                ">" => V::Bool(order(&a, &b)?.is_gt()),
                ">=" => V::Bool(order(&a, &b)?.is_ge()),
                "in" => match (a, b) {
                    (a, V::List(list)) => V::Bool(list.iter().any(|one| same(one, &a))),
                    (V::Text(name), V::Map(map)) => V::Bool(map.contains_key(&name)),
                    (V::Bool(_) | V::Int(_) | V::Uint(_) | V::Double(_), V::Map(_)) => {
                        V::Bool(false)
                    }
                    _ => return None,
                },
                _ => {
                    if matches!((*op, &a, &b), ("+", V::List(_), V::Map(_))) {
                        world.is_odd.set(true);
                    }
                    arithmetic(op, a, b)?
                }
            }
        }
    })
}

fn arithmetic(op: &str, a: V, b: V) -> Option<V> {
    Some(match (a, b) {
        (V::Int(a), V::Int(b)) => V::Int(match op {
            "+" => a.checked_add(b)?,
            "-" => a.checked_sub(b)?,
            "*" => a.checked_mul(b)?,
            "/" => a.checked_div(b)?,
            _ => a.checked_rem(b)?,
        }),
        (V::Uint(a), V::Uint(b)) => V::Uint(match op {
            "+" => a.checked_add(b)?,
            "-" => a.checked_sub(b)?,
            "*" => a.checked_mul(b)?,
            "/" => a.checked_div(b)?,
            _ => a.checked_rem(b)?,
        }),
        (V::Double(a), V::Double(b)) => V::Double(match op {
            "+" => a + b,
            "-" => a - b,
            "*" => a * b,
            "/" => a / b,
            _ => return None,
        }),
        (V::Text(a), V::Text(b)) if op == "+" => V::Text(a + &b),
        (V::List(a), V::List(b)) if op == "+" => V::List([a, b].concat()),
        _ => return None,
    })
}

/// What two ways say of a condition: nothing where a type was known to be wrong.
fn compare(e: &E, request: &Request) -> Result<bool, TestCaseError> {
    let text = e.to_string();
    let Ok(condition) = Condition::parse(&text, &SCOPE) else { return Ok(false) };
    let is_odd = std::cell::Cell::new(false);
    let expected = truth(e, &World { request, element: None, is_odd: &is_odd });
    if is_odd.get() {
        return Ok(false);
    }
    for (how, condition) in [("as it is", &condition), ("interpreted", &interpreted(&text))] {
        let unmet = condition.unmet([request]);
        let is_too_much = |unmet: &Unmet| unmet.failure.as_deref() == Some("it took too much work");
        prop_assert!(!unmet.as_ref().is_some_and(is_too_much), "{text}: {how}, {unmet:?}");
        // Where parts are told apart, the first one that is not true is told of.
        let is_met = unmet.is_none();
        prop_assert_eq!(is_met, expected == Some(true), "{}: {}, {:?}", text, how, unmet);
        if !text.contains("&&") {
            let failed = unmet.is_some_and(|unmet| unmet.failure.is_some());
            prop_assert_eq!(failed, expected.is_none(), "{}: {}", text, how);
        }
    }
    Ok(true)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(1_000),
        max_global_rejects: u32::MAX,
        ..ProptestConfig::default()
    })]

    #[test]
    fn conditions_say_what_a_plain_evaluator_says(
        e in any_condition(),
        request in any_request(),
    ) {
        prop_assume!(compare(&e, &request)?);
    }
}
