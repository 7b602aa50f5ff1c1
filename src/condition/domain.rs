//! Conditions that cannot be true, or cannot be false, by what is known of
//! every request that comes to their rule.

use super::{
    How,
    budget::Budget,
    compare::Constant,
    facts::{Fact, Facts, Object, Read, Unreadable},
    native::{Side, Test},
};

/// What a condition always is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Always {
    /// True.
    True,
    /// Not true.
    NotTrue,
}

/// The values that a request can have that comes to a rule, where they are few.
#[derive(Clone, Debug, Default)]
pub struct Domain<'d> {
    /// The methods of the rule; none for any.
    pub methods: Vec<&'d str>,
    /// The roles that it lets in.
    pub roles: Vec<&'d str>,
    /// The issuers of its tokens.
    pub issuers: Vec<&'d str>,
}

impl Domain<'_> {
    fn of(&self, side: &Side) -> Option<&[&str]> {
        let Side::Read(read) = side else { return None };
        let values = match (read.of, &*read.name) {
            (Object::Request, "method") => &self.methods,
            (Object::User, "role") => &self.roles,
            (Object::User, "issuer") => &self.issuers,
            _ => return None,
        };
        (!values.is_empty()).then_some(values)
    }
}

/// Of parts that all have to be true.
pub(super) fn always<'p>(
    parts: impl Iterator<Item = &'p How>,
    domain: &Domain<'_>,
) -> Option<Always> {
    let (mut all_true, mut wanted) = (true, Vec::new());
    for part in parts {
        let is = match part {
            How::Native(test) => {
                if let Test::Equal(Side::Read(read), Side::Constant(constant))
                | Test::Equal(Side::Constant(constant), Side::Read(read)) = test
                {
                    // The same variable cannot be two constants.
                    let differs = |(other, value): &(&Read, &Constant)| {
                        *other == read && !value.equals(constant)
                    };
                    if wanted.iter().any(differs) {
                        return Some(Always::NotTrue);
                    }
                    wanted.push((read, constant));
                }
                known(test, domain)
            }
            // One that reads nothing is the same whatever comes.
            How::Interpreted(program) => {
                let nothing = Nothing::default();
                let is = program.truth(&nothing, &Budget::default());
                (!nothing.was_asked()).then(|| is.unwrap_or(false))
            }
        };
        match is {
            Some(false) => return Some(Always::NotTrue),
            Some(true) => {}
            None => all_true = false,
        }
    }
    all_true.then_some(Always::True)
}

/// What a test is, as far as that is known.
fn known(test: &Test, domain: &Domain<'_>) -> Option<bool> {
    match test {
        Test::Is(Side::Constant(constant)) => Some(*constant == Constant::Bool(true)),
        Test::Equal(Side::Constant(a), Side::Constant(b)) => Some(a.equals(b)),
        Test::Equal(side @ Side::Read(a), other) | Test::Equal(other, side @ Side::Read(a)) => {
            match other {
                // What may be missing is not equal to itself.
                Side::Read(b) => (a == b && domain.of(side).is_some()).then_some(true),
                Side::Constant(constant) => among(domain.of(side)?, std::slice::from_ref(constant)),
            }
        }
        Test::OneOf(side, constants) => among(domain.of(side)?, constants),
        Test::Not(test) => known(test, domain).map(|is| !is),
        Test::All(tests) => joined(tests, domain, false),
        Test::Any(tests) => joined(tests, domain, true),
        Test::Is(_) | Test::Orders(..) | Test::In(..) | Test::Has(_) => None,
    }
}

fn joined(tests: &[Test], domain: &Domain<'_>, decides: bool) -> Option<bool> {
    let known: Vec<Option<bool>> = tests.iter().map(|test| known(test, domain)).collect();
    if known.contains(&Some(decides)) {
        return Some(decides);
    }
    known.iter().all(Option::is_some).then_some(!decides)
}

/// Whether a value that can be one of these is one of those constants.
fn among(values: &[&str], constants: &[Constant]) -> Option<bool> {
    let is = |value: &&str| {
        constants.iter().any(|one| matches!(one, Constant::Text(text) if **text == **value))
    };
    match values.iter().filter(|value| is(value)).count() {
        0 => Some(false),
        count => (count == values.len()).then_some(true),
    }
}

/// No request; it knows whether it was asked for one.
#[derive(Default)]
struct Nothing(std::sync::atomic::AtomicBool);

impl Nothing {
    fn was_asked(&self) -> bool {
        self.0.load(std::sync::atomic::Ordering::Relaxed)
    }

    fn ask(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
    }
}

impl Facts for Nothing {
    fn get(&self, _: Object, _: &str) -> Result<Option<Fact<'_>>, Unreadable> {
        self.ask();
        Ok(None)
    }

    fn names(&self, _: Object) -> Result<Vec<std::borrow::Cow<'_, str>>, Unreadable> {
        self.ask();
        Ok(Vec::new())
    }
}
