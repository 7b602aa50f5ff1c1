//! Facts as values of the interpreter: texts are borrowed, maps are asked by
//! name, and what is made counts as work.

use std::{collections::HashMap, sync::OnceLock};

use cel::{
    ExecutionError,
    common::{
        traits::{Container, Indexer, Iterable, Iterator, Sizer},
        types::{
            CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString,
            CelTimestamp, CelUInt, MAP_TYPE, Type,
        },
        value::{CowVal, Val},
    },
};
use chrono::DateTime;
use serde_json::Value;

use super::{
    budget::Budget,
    facts::{Fact, Facts, Object, Unreadable},
};

/// What is read is not there to be read, or too much.
pub(super) fn unreadable(Unreadable(why): Unreadable) -> ExecutionError {
    ExecutionError::function_error("read", why)
}

pub(super) fn too_much() -> ExecutionError {
    ExecutionError::function_error("read", "too much work")
}

/// A fact as a value.
pub(super) fn of<'v>(fact: Fact<'v>, budget: &Budget) -> Result<Box<dyn Val + 'v>, ExecutionError> {
    match fact {
        Fact::Text(text) => {
            charge(budget, text.len())?;
            Ok(Box::new(CelString::from(text)))
        }
        Fact::Texts(texts) => {
            let mut list: Vec<Box<dyn Val + 'v>> = Vec::new();
            for text in texts {
                charge(budget, text.len())?;
                list.push(Box::new(CelString::from(text)));
            }
            Ok(Box::new(CelList::from(list)))
        }
        Fact::Time(time) => {
            let time = DateTime::from_timestamp_millis(time.as_millis());
            let time = time.ok_or_else(|| unreadable(Unreadable("the time is out of range")))?;
            Ok(Box::new(CelTimestamp::from(time.fixed_offset())))
        }
        Fact::Json(value) => json(value, budget),
    }
}

fn charge(budget: &Budget, bytes: usize) -> Result<(), ExecutionError> {
    if budget.take_bytes(bytes) { Ok(()) } else { Err(too_much()) }
}

fn json<'v>(value: &'v Value, budget: &Budget) -> Result<Box<dyn Val + 'v>, ExecutionError> {
    charge(budget, value.as_str().map_or(0, str::len))?;
    Ok(match value {
        Value::Null => Box::new(CelNull),
        Value::Bool(is) => Box::new(CelBool::from(*is)),
        Value::Number(number) => match (number.as_i64(), number.as_u64()) {
            (Some(int), _) => Box::new(CelInt::from(int)),
            (_, Some(uint)) => Box::new(CelUInt::from(uint)),
            _ => Box::new(CelDouble::from(number.as_f64().unwrap_or(f64::NAN))),
        },
        Value::String(text) => Box::new(CelString::from(text.as_str())),
        Value::Array(items) => {
            let items = items.iter().map(|item| json(item, budget));
            Box::new(CelList::from(items.collect::<Result<Vec<_>, _>>()?))
        }
        Value::Object(members) => {
            let members = members
                .iter()
                .map(|(name, value)| Ok((CelMapKey::from(name.as_str()), json(value, budget)?)));
            Box::new(CelMap::from(members.collect::<Result<HashMap<_, _>, ExecutionError>>()?))
        }
    })
}

/// An object whose values are made as they are asked for.
pub(super) struct Fields<'v> {
    pub(super) facts: &'v dyn Facts,
    pub(super) budget: &'v Budget,
    pub(super) of: Object,
    /// Its names, for a condition that goes through them.
    names: OnceLock<Vec<CelString<'v>>>,
}

impl std::fmt::Debug for Fields<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.of.as_str())
    }
}

impl<'v> Fields<'v> {
    pub(super) fn new(facts: &'v dyn Facts, budget: &'v Budget, of: Object) -> Self {
        Self { facts, budget, of, names: OnceLock::new() }
    }

    /// Its names; none when they cannot be read, which uses up the budget: a
    /// macro cannot be told.
    fn names(&self) -> &[CelString<'v>] {
        self.names.get_or_init(|| {
            if self.budget.is_spent() {
                return Vec::new();
            }
            let Ok(names) = self.facts.names(self.of) else {
                self.budget.take(u64::MAX);
                return Vec::new();
            };
            let mut list = Vec::new();
            for name in names {
                if charge(self.budget, name.len()).is_err() {
                    return Vec::new();
                }
                list.push(CelString::from(name));
            }
            list
        })
    }

    fn value(&self, name: &dyn Val) -> Result<Box<dyn Val + 'v>, ExecutionError> {
        let Some(name) = name.downcast_ref::<CelString>() else {
            return Err(ExecutionError::no_such_key("that is no text"));
        };
        charge(self.budget, 0)?;
        match self.facts.get(self.of, name.inner()).map_err(unreadable)? {
            Some(fact) => of(fact, self.budget),
            None => Err(ExecutionError::no_such_key(name.inner())),
        }
    }
}

impl Val for Fields<'_> {
    fn get_type(&self) -> &Type {
        &MAP_TYPE
    }

    fn cel_type() -> &'static Type {
        &MAP_TYPE
    }

    fn as_container(&self) -> Option<&dyn Container> {
        Some(self)
    }

    fn as_indexer<'b, 'w>(&'b self) -> Option<&'b (dyn Indexer + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn as_iterable<'b, 'w>(&'b self) -> Option<&'b (dyn Iterable + 'w)>
    where
        Self: 'w,
    {
        Some(self)
    }

    fn as_sizer(&self) -> Option<&dyn Sizer> {
        Some(self)
    }

    /// Never asked for: a map as a whole is no value. What cannot be read would be
    /// unequal, so that it is the end of the condition.
    fn equals(&self, _: &dyn Val) -> bool {
        self.budget.take(u64::MAX);
        false
    }

    fn clone_as_boxed<'w>(&self) -> Box<dyn Val + 'w>
    where
        Self: 'w,
    {
        Box::new(Self::new(self.facts, self.budget, self.of))
    }
}

impl Container for Fields<'_> {
    fn contains(&self, name: &dyn Val) -> Result<bool, ExecutionError> {
        let Some(name) = name.downcast_ref::<CelString>() else { return Ok(false) };
        charge(self.budget, 0)?;
        Ok(self.facts.get(self.of, name.inner()).map_err(unreadable)?.is_some())
    }
}

impl Indexer for Fields<'_> {
    fn get<'b, 'w>(&'b self, name: &dyn Val) -> Result<CowVal<'b, 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.value(name).map(CowVal::Owned)
    }

    fn steal<'w>(self: Box<Self>, name: &dyn Val) -> Result<Box<dyn Val + 'w>, ExecutionError>
    where
        Self: 'w,
    {
        self.value(name)
    }
}

impl Sizer for Fields<'_> {
    fn size(&self) -> CelInt {
        CelInt::from(i64::try_from(self.names().len()).unwrap_or(i64::MAX))
    }
}

impl Iterable for Fields<'_> {
    fn iter<'b, 'w>(&'b self) -> Box<dyn Iterator<'b, 'w> + 'b>
    where
        Self: 'w,
    {
        Box::new(Names(self.names().iter()))
    }
}

struct Names<'b, 'v>(std::slice::Iter<'b, CelString<'v>>);

impl<'b, 'v: 'w, 'w> Iterator<'b, 'w> for Names<'b, 'v> {
    fn next(&mut self) -> Option<&'b (dyn Val + 'w)> {
        self.0.next().map(|name| name as &(dyn Val + 'w))
    }
}
