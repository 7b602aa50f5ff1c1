//! The functions and operators that conditions have, and what they give of what
//! they are given (cel-spec, "List of Standard Definitions").

use cel::common::ast::operators as op;

use super::kind::Kind;

/// The type that a call gives.
///
/// # Errors
///
/// What is wrong with it, for who wrote it.
pub(super) fn result(name: &str, given: &[Kind], is_member: bool) -> Result<Kind, String> {
    let kind = match (name, given) {
        (op::LOGICAL_AND | op::LOGICAL_OR, [a, b]) => {
            (a.fits(&Kind::Bool) && b.fits(&Kind::Bool)).then_some(Kind::Bool)
        }
        (op::LOGICAL_NOT | op::NOT_STRICTLY_FALSE, [a]) => {
            a.fits(&Kind::Bool).then_some(Kind::Bool)
        }
        (op::CONDITIONAL, [test, a, b]) => {
            test.fits(&Kind::Bool).then(|| a.clone().join(b.clone()))
        }
        (op::EQUALS | op::NOT_EQUALS, [a, b]) => a.may_equal(b).then_some(Kind::Bool),
        (op::LESS | op::LESS_EQUALS | op::GREATER | op::GREATER_EQUALS, [a, b]) => {
            a.may_order(b).then_some(Kind::Bool)
        }
        (op::IN, [item, Kind::List(of) | Kind::Map(of, _)]) => {
            item.may_equal(of).then_some(Kind::Bool)
        }
        (op::IN, [_, Kind::Any]) => Some(Kind::Bool),
        (op::INDEX, [Kind::List(of), at]) => {
            (at.is_number() || *at == Kind::Any).then(|| (**of).clone())
        }
        (op::INDEX, [Kind::Map(keys, values), at]) => {
            at.may_equal(keys).then(|| (**values).clone())
        }
        (op::INDEX, [Kind::Any, _]) => Some(Kind::Any),
        (op::ADD | op::SUBSTRACT | op::MULTIPLY | op::DIVIDE | op::MODULO, [a, b]) => {
            arithmetic(name, a, b)
        }
        (op::NEGATE, [a @ (Kind::Int | Kind::Double | Kind::Any)]) => Some(a.clone()),
        (op::INDEX | op::IN | op::NEGATE, _) => None,
        _ => function(name, given, is_member)?,
    };
    kind.ok_or_else(|| {
        let given: Vec<String> = given.iter().map(Kind::to_string).collect();
        let is_id =
            given.iter().any(|kind| kind == "string") && given.iter().any(|kind| kind == "int");
        let hint = if is_id { "; write a string in quotes, as in \"7\"" } else { "" };
        format!("{} cannot be used with {}{hint}", shown(name), given.join(" and "))
    })
}

fn arithmetic(name: &str, a: &Kind, b: &Kind) -> Option<Kind> {
    use Kind::{Any, Bytes, Double, Int, List, Span, Text, Time, Uint};
    match (name, a, b) {
        (op::MODULO, Double, _) | (op::MODULO, _, Double) => None,
        (_, Any, Any | Int | Uint | Double)
        | (_, Int | Uint | Double, Any)
        | (op::ADD | op::SUBSTRACT, Any, Time | Span)
        | (op::ADD | op::SUBSTRACT, Time | Span, Any) => Some(Any),
        (_, Int, Int) | (_, Uint, Uint) | (_, Double, Double) => Some(a.clone()),
        (op::ADD, Text, Text | Any) | (op::ADD, Any, Text) => Some(Text),
        (op::ADD, Bytes, Bytes | Any) | (op::ADD, Any, Bytes) => Some(Bytes),
        (op::ADD, List(a), List(b)) => Some(Kind::list((**a).clone().join((**b).clone()))),
        (op::ADD, List(_), Any) | (op::ADD, Any, List(_)) => Some(Kind::list(Any)),
        (op::ADD | op::SUBSTRACT, Time, Span) | (op::ADD, Span, Time) => Some(Time),
        (op::ADD | op::SUBSTRACT, Span, Span) | (op::SUBSTRACT, Time, Time) => Some(Span),
        _ => None,
    }
}

/// Functions that have a name. An inner `None` is a wrong argument.
fn function(name: &str, given: &[Kind], is_member: bool) -> Result<Option<Kind>, String> {
    use Kind::{Any, Bool, Bytes, Double, Int, List, Map, Span, Text, Time, Type, Uint};
    let is = |kind: &Kind, wanted: &[Kind]| wanted.iter().any(|one| kind.fits(one));
    let converts = |kind: &Kind, from: &[Kind], to: Kind| is(kind, from).then_some(to);
    let found = match (is_member, name, given) {
        (_, "size", [a]) => {
            (is(a, &[Text, Bytes]) || matches!(a, List(_) | Map(..))).then_some(Int)
        }
        (true, "contains" | "startsWith" | "endsWith", [a, b]) | (_, "matches", [a, b]) => {
            (a.fits(&Text) && b.fits(&Text)).then_some(Bool)
        }
        (false, "int", [a]) => converts(a, &[Int, Uint, Double, Text, Time], Int),
        (false, "uint", [a]) => converts(a, &[Int, Uint, Double, Text], Uint),
        (false, "double", [a]) => converts(a, &[Int, Uint, Double, Text], Double),
        (false, "bool", [a]) => converts(a, &[Bool, Text], Bool),
        (false, "string", [a]) => {
            converts(a, &[Text, Bool, Int, Uint, Double, Bytes, Time, Span], Text)
        }
        (false, "bytes", [a]) => converts(a, &[Text, Bytes], Bytes),
        (false, "timestamp", [a]) => converts(a, &[Text, Time, Int], Time),
        (false, "duration", [a]) => converts(a, &[Text, Span], Span),
        (false, "dyn", [_]) => Some(Any),
        (false, "type", [_]) => Some(Type),
        (
            true,
            "getFullYear" | "getMonth" | "getDate" | "getDayOfMonth" | "getDayOfWeek"
            | "getDayOfYear",
            [a, zone @ ..],
        ) => (a.fits(&Time) && is_zone(zone)).then_some(Int),
        (true, "getHours" | "getMinutes" | "getSeconds" | "getMilliseconds", [a, zone @ ..]) => {
            let fits = (a.fits(&Time) && is_zone(zone)) || (a.fits(&Span) && zone.is_empty());
            fits.then_some(Int)
        }
        _ => {
            let known = "size, contains, startsWith, endsWith, matches, in, has, all, exists, \
                         exists_one, map, filter, int, uint, double, bool, string, bytes, \
                         timestamp, duration, type, dyn, and get… of a time";
            return Err(format!("there is no {} like this; there are: {known}", shown(name)));
        }
    };
    Ok(found)
}

fn is_zone(given: &[Kind]) -> bool {
    match given {
        [] => true,
        [zone] => zone.fits(&Kind::Text),
        _ => false,
    }
}

/// As it is written: `_==_` is `==`.
fn shown(name: &str) -> String {
    match name {
        op::INDEX => "[ ]".to_owned(),
        op::IN => "in".to_owned(),
        op::CONDITIONAL => "? :".to_owned(),
        _ if name.contains('_') && !name.contains(char::is_alphabetic) => name.replace('_', ""),
        _ => format!("{name}()"),
    }
}
