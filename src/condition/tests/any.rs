//! Random conditions and requests, such as often fit together.

use proptest::{collection::vec, prelude::*};
use serde_json::{Value, json};

use super::{
    naive::{E, GONE_THROUGH, V, VARIABLES},
    request::{Request, anns},
};
use crate::condition::Object;

fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => "[abAB7]{0,2}",
        1 => prop::sample::select(vec!["REGULAR", "7", "07", "é", "e\u{301}", "\"", "\\", "аb"])
            .prop_map(str::to_owned),
    ]
}

fn any_scalar() -> impl Strategy<Value = V> {
    prop_oneof![
        4 => any_text().prop_map(V::Text),
        2 => (-3_i64..4).prop_map(V::Int),
        1 => prop::sample::select(vec![i64::MAX, i64::MIN + 1, 1 << 53, (1 << 53) + 1])
            .prop_map(V::Int),
        1 => prop::sample::select(vec![0, 3, u64::MAX, 1 << 63]).prop_map(V::Uint),
        1 => prop::sample::select(vec![0.0, -0.0, 0.5, 3.0, 1e300, 9_007_199_254_740_993.0])
            .prop_map(V::Double),
        1 => any::<bool>().prop_map(V::Bool),
        1 => Just(V::Null),
    ]
}

/// Values and conditions in turn, so that most of them are of a type that fits.
pub(super) fn any_condition() -> impl Strategy<Value = E> {
    let value = prop_oneof![
        6 => prop::sample::select(&VARIABLES[..]).prop_map(E::Variable),
        3 => any_scalar().prop_map(E::Value),
        3 => Just(E::Element),
    ];
    let list = prop_oneof![
        2 => vec(any_scalar(), 0..4).prop_map(|list| E::Value(V::List(list))),
        3 => prop::sample::select(&["claims.list", "claims.map", "claims.a", "user.scopes"][..])
            .prop_map(E::Variable),
    ];
    let counts = prop::sample::select(vec!["+", "-", "*", "/", "%"]);
    let inner = value.clone().prop_map(Box::new).boxed();
    let value = prop_oneof![
        12 => value,
        1 => (counts, inner.clone(), inner.clone()).prop_map(|(op, a, b)| E::Two(op, a, b)),
        1 => inner.clone().prop_map(E::Size),
        1 => (inner.clone(), inner).prop_map(|(e, at)| E::At(e, at)),
    ]
    .prop_map(Box::new)
    .boxed();
    let compares = prop::sample::select(vec!["==", "!=", "<", "<=", ">", ">=", "=="]);
    let has = prop::sample::select(vec![
        "claims.a",
        "claims.none",
        "claims.map.a",
        "claims.a.b",
        "user.email",
    ]);
    let call = prop::sample::select(vec!["startsWith", "endsWith", "contains"]);
    let leaf = prop_oneof![
        6 => (compares, value.clone(), value.clone()).prop_map(|(op, a, b)| E::Two(op, a, b)),
        3 => (value.clone(), list.prop_map(Box::new)).prop_map(|(a, b)| E::Two("in", a, b)),
        1 => has.prop_map(E::Has),
        1 => (call, value, any_text()).prop_map(|(name, e, text)| E::Call(name, e, text)),
        1 => prop::sample::select(vec!["claims.a", "claims.map.a"]).prop_map(E::Variable),
        1 => any::<bool>().prop_map(|is| E::Value(V::Bool(is))),
    ];
    let condition = leaf.prop_recursive(4, 12, 3, |inner| {
        let one = || inner.clone().prop_map(Box::new);
        prop_oneof![
            4 => (prop::sample::select(vec!["&&", "||"]), one(), one())
                .prop_map(|(op, a, b)| E::Two(op, a, b)),
            2 => one().prop_map(E::Not),
            1 => (one(), one(), one()).prop_map(|(test, a, b)| E::Choice(test, a, b)),
            2 => (
                prop::sample::select(vec!["all", "exists", "exists_one"]),
                prop::sample::select(&GONE_THROUGH[..]),
                one(),
            )
                .prop_map(|(name, over, e)| E::Macro(name, over, e)),
        ]
    });
    condition.prop_map(|e| settled(e, false))
}

/// An element is one of a macro, and a macro is in no other.
fn settled(e: E, is_inside: bool) -> E {
    let one = |e: Box<E>| Box::new(settled(*e, is_inside));
    match e {
        E::Element if !is_inside => E::Variable("claims.b"),
        E::Macro(_, _, e) if is_inside => settled(*e, true),
        E::Macro(name, over, e) => E::Macro(name, over, Box::new(settled(*e, true))),
        E::Not(e) => E::Not(one(e)),
        E::Two(op, a, b) => E::Two(op, one(a), one(b)),
        E::Choice(test, a, b) => E::Choice(one(test), one(a), one(b)),
        E::Size(e) => E::Size(one(e)),
        E::Call(name, e, text) => E::Call(name, one(e), text),
        E::At(e, at) => E::At(one(e), one(at)),
        e => e,
    }
}

fn any_json() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        3 => any_text().prop_map(Value::from),
        2 => (-3_i64..4).prop_map(Value::from),
        1 => prop::sample::select(vec![json!(i64::MAX), json!(u64::MAX), json!(0.5), json!(3.0)]),
        1 => any::<bool>().prop_map(Value::from),
        1 => Just(Value::Null),
    ];
    scalar.prop_recursive(2, 8, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map("[ab]", inner, 0..3)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

pub(super) fn any_request() -> impl Strategy<Value = Request> {
    let claims = [(); 4].map(|()| prop::option::of(any_json()));
    let texts = [(); 3].map(|()| any_text());
    (claims, texts, vec(any_text(), 0..3), any::<bool>()).prop_map(
        |(claims, [id, path, role], scopes, has_email)| {
            let names = ["a", "b", "list", "map"];
            let claims =
                names.into_iter().zip(claims).filter_map(|(k, v)| Some((k.to_owned(), v?)));
            let scopes: Vec<&str> = scopes.iter().map(String::as_str).collect();
            let request = anns()
                .claims(Value::Object(claims.collect()))
                .text(Object::User, "id", &id)
                .text(Object::Path, "id", &path)
                .text(Object::User, "role", &role)
                .list(Object::User, "scopes", &scopes);
            if has_email { request.text(Object::User, "email", "a@b") } else { request }
        },
    )
}
