//! cel-spec's own tests (`tests/data/cel-spec`): what conditions offer does what
//! they say. Those that are left out are listed there, with reasons.

use std::{collections::BTreeMap, fs, path::Path};

use cel::{
    Value as CelValue,
    common::ast::{Expr, SelectExpr},
    parser::Expression,
};
use serde_json::{Value, json};

use super::{
    request::{Request, SCOPE},
    textproto::{Field, Message},
};
use crate::condition::{check, program::Program, source::Source};

/// How many of the tests come out as they say.
const RIGHT: usize = 1220;
/// What is said of an expression that makes a message.
const MESSAGE: &str = "messages cannot be made";

/// A variable of a test is a claim of that name.
fn bind(expr: &mut Expression, names: &[String]) {
    match &mut expr.expr {
        Expr::Ident(name) if names.contains(name) => {
            let operand = Expression { id: expr.id, expr: Expr::Ident("claims".to_owned()) };
            let field = name.clone();
            expr.expr = Expr::Select(SelectExpr { operand: Box::new(operand), field, test: false });
        }
        Expr::Select(select) => bind(&mut select.operand, names),
        Expr::List(list) => list.elements.iter_mut().for_each(|item| bind(item, names)),
        Expr::Map(map) => {
            for entry in &mut map.entries {
                if let cel::common::ast::EntryExpr::MapEntry(entry) = &mut entry.expr {
                    bind(&mut entry.key, names);
                    bind(&mut entry.value, names);
                }
            }
        }
        Expr::Call(call) => {
            call.target.iter_mut().for_each(|target| bind(target, names));
            call.args.iter_mut().for_each(|arg| bind(arg, names));
        }
        Expr::Comprehension(it) => {
            bind(&mut it.iter_range, names);
            // Within, the macro's own variable is another.
            let inner: Vec<String> =
                names.iter().filter(|name| **name != it.iter_var).cloned().collect();
            bind(&mut it.loop_cond, &inner);
            bind(&mut it.loop_step, &inner);
        }
        _ => {}
    }
}

/// A value of a binding, where a token can say it.
fn json_of(value: &Message) -> Option<Value> {
    let (kind, field) = value.0.first()?;
    Some(match (kind.as_str(), field) {
        ("null_value", _) => Value::Null,
        ("bool_value", _) => json!(value.text("bool_value")? == "true"),
        ("int64_value", _) => json!(value.text("int64_value")?.parse::<i64>().ok()?),
        ("uint64_value", _) => json!(value.text("uint64_value")?.parse::<u64>().ok()?),
        ("double_value", _) => json!(value.text("double_value")?.parse::<f64>().ok()?),
        ("string_value", _) => json!(value.text("string_value")?),
        ("list_value", Field::Message(list)) => {
            Value::Array(list.all("values").map(json_of).collect::<Option<_>>()?)
        }
        ("map_value", Field::Message(map)) => {
            let entry = |entry: &Message| {
                let key = entry.one("key")?.text("string_value")?.to_owned();
                Some((key, json_of(entry.one("value")?)?))
            };
            Value::Object(map.all("entries").map(entry).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}

/// A value as text, the same for ours and theirs.
fn shown(value: &CelValue) -> String {
    match value {
        CelValue::Null => "null".to_owned(),
        CelValue::Bool(is) => is.to_string(),
        CelValue::Int(int) => int.to_string(),
        CelValue::UInt(uint) => format!("{uint}u"),
        CelValue::Float(double) => format!("{double:?}f"),
        CelValue::String(text) => format!("{text:?}"),
        CelValue::Bytes(bytes) => format!("b{bytes:?}"),
        CelValue::List(list) => format!("{:?}", list.iter().map(shown).collect::<Vec<_>>()),
        CelValue::Map(map) => {
            let entries = map.map.iter();
            let entries: BTreeMap<String, String> =
                entries.map(|(key, value)| (shown(&key.into()), shown(value))).collect();
            format!("{entries:?}")
        }
        CelValue::Timestamp(time) => {
            format!("time {} {}", time.timestamp(), time.timestamp_subsec_nanos())
        }
        CelValue::Duration(span) => {
            format!("span {} {}", span.num_seconds(), span.subsec_nanos())
        }
        other => format!("{other:?}"),
    }
}

fn expected(value: &Message) -> String {
    let Some((kind, field)) = value.0.first() else { return "nothing".to_owned() };
    let text = || value.text(kind).unwrap_or_default();
    match (kind.as_str(), field) {
        ("null_value", _) => "null".to_owned(),
        ("uint64_value", _) => format!("{}u", text()),
        ("int64_value", _) => {
            let text = text();
            text.strip_prefix("0x")
                .map_or(text.to_owned(), |hex| i64::from_str_radix(hex, 16).unwrap().to_string())
        }
        ("double_value", _) => {
            let double: f64 = text().replace("infinity", "inf").parse().unwrap();
            format!("{double:?}f")
        }
        ("string_value", _) => format!("{:?}", text()),
        ("bytes_value", _) => format!("b{:?}", value.bytes(kind).unwrap_or_default()),
        ("type_value", _) => format!("type {}", text()),
        ("list_value", Field::Message(list)) => {
            format!("{:?}", list.all("values").map(expected).collect::<Vec<_>>())
        }
        ("map_value", Field::Message(map)) => {
            let entry = |entry: &Message| {
                (expected(entry.one("key").unwrap()), expected(entry.one("value").unwrap()))
            };
            format!("{:?}", map.all("entries").map(entry).collect::<BTreeMap<_, _>>())
        }
        ("object_value", Field::Message(any)) => {
            let Some((name, Field::Message(of))) = any.0.first() else { return "?".to_owned() };
            let number = |field| of.text(field).unwrap_or("0").to_owned();
            let (seconds, nanos) = (number("seconds"), number("nanos"));
            match name.rsplit('.').next() {
                Some("Timestamp") => format!("time {seconds} {nanos}"),
                Some("Duration") => format!("span {seconds} {nanos}"),
                _ => format!("a message: {name}"),
            }
        }
        _ => text().to_owned(),
    }
}

/// Whether a test comes out as it says; else what comes out.
fn run(test: &Message) -> Result<(), String> {
    let expr = test.text("expr").unwrap_or_default();
    let mut request = Request::default();
    let mut names = Vec::new();
    for binding in test.all("bindings") {
        let name = binding.text("key").unwrap().to_owned();
        let value = binding.one("value").and_then(|value| value.one("value")).and_then(json_of);
        let Some(value) = value else { return Err("a token cannot say it".to_owned()) };
        request.claims.insert(name.clone(), value);
        names.push(name);
    }
    let fails = test.one("eval_error").is_some();
    let says = |came: Result<String, String>| match (fails, came) {
        (true, Err(_)) => Ok(()),
        (true, Ok(value)) => Err(value),
        (false, Err(cause)) => Err(cause),
        (false, Ok(value)) => {
            let wanted = test.one("value").map_or("true".to_owned(), expected);
            if value == wanted { Ok(()) } else { Err(format!("{value} for {wanted}")) }
        }
    };
    let told = |troubles: Vec<crate::condition::Trouble>| {
        let causes: Vec<String> = troubles.into_iter().map(|trouble| trouble.cause).collect();
        causes.join("; ")
    };
    let mut source = match Source::parse(expr) {
        Ok(source) => source,
        Err(troubles) => return says(Err(told(troubles))),
    };
    bind(&mut source.expr, &names);
    if test.text("disable_check") != Some("true")
        && let Err(troubles) = check::check(&source, &SCOPE)
    {
        return says(Err(told(troubles)));
    }
    let is_type = test.one("value").is_some_and(|value| value.bytes("type_value").is_some());
    says(Program::new(source.expr).look(&request, |value| match value {
        Err(error) => Err(error.to_string()),
        Ok(value) if is_type => {
            let shown = format!("{value:?}");
            Ok(format!("type {}", shown.split('"').nth(1).unwrap_or(&shown)))
        }
        Ok(value) => {
            CelValue::try_from(value).map(|value| shown(&value)).map_err(|e| e.to_string())
        }
    }))
}

#[test]
fn what_is_offered_does_what_cel_spec_says() {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/cel-spec");
    let (mut all, mut wrong) = (0, Vec::new());
    let mut files: Vec<_> = fs::read_dir(&data).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|end| end == "textproto")) {
        let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
        for section in Message::parse(&fs::read_to_string(file).unwrap()).all("section") {
            for test in section.all("test") {
                all += 1;
                let id = format!(
                    "{name}/{}/{}",
                    section.text("name").unwrap_or_default(),
                    test.text("name").unwrap_or_default()
                );
                if let Err(cause) = run(test) {
                    wrong.push((id, cause));
                }
            }
        }
    }
    let list = fs::read_to_string(data.join("LEFT-OUT.md")).unwrap();
    let rows: Vec<&str> = list.lines().filter_map(|line| line.strip_prefix("| `")).collect();
    let names: Vec<&str> = rows.iter().map(|row| row.split('`').next().unwrap()).collect();
    let covers = |name: &str, (id, cause): &(String, String)| match name {
        "a message" => cause.contains(MESSAGE),
        _ => name.strip_suffix('*').map_or(name == id, |file| id.starts_with(file)),
    };
    let unlisted: Vec<_> =
        wrong.iter().filter(|one| !names.iter().any(|name| covers(name, one))).collect();
    assert!(unlisted.is_empty(), "{unlisted:#?}");
    for name in &names {
        assert!(wrong.iter().any(|one| covers(name, one)), "{name} is listed, and is right");
    }
    assert_eq!((all, all - wrong.len()), (2456, RIGHT), "the list says so");
    assert!(list.contains(&format!("{RIGHT} of the 2456")), "the list says so");
}
