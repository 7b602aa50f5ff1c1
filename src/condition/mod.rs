//! Conditions: what a rule's `when` asks of a request, in the Common Expression
//! Language (cel-spec), without a byte of input or output.
//!
//! A [`Condition`] is parsed and checked once, against the names that its rule
//! may use ([`Scope`]). It is cut at its outermost `&&` into parts. A part that
//! only compares is compiled to matching of its own (`native`); any other is
//! interpreted by the crate `cel`, within a budget of steps (`program`). Both
//! read through [`Facts`], which makes each value when it is asked for.
//!
//! A condition is true, or it is not: what is missing, of another type, or too
//! much work is not true, and [`Unmet`] says which part, and why.

mod budget;
mod check;
mod compare;
mod cost;
mod domain;
mod expression;
mod facts;
mod function;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod kind;
mod native;
mod pattern;
mod problem;
mod program;
mod source;
mod unmet;
mod value;

pub use check::Scope;
pub use domain::{Always, Domain};
pub use facts::{Fact, Facts, Object, Unreadable};
pub use source::Trouble;
pub use unmet::Unmet;

use budget::Budget;
use native::Test;
use problem::Problem;
use program::Program;
use source::Source;

/// What has to be true for a rule to let a request pass.
#[derive(Debug)]
pub struct Condition {
    parts: Vec<Part>,
    reads_claims: bool,
    reads_bodies: bool,
}

/// One of the parts that all have to be true.
#[derive(Debug)]
struct Part {
    text: Box<str>,
    how: How,
}

#[derive(Debug)]
enum How {
    Native(Test),
    Interpreted(Box<Program>),
}

impl Condition {
    /// Parses a condition, and checks it against what it may name.
    ///
    /// # Errors
    ///
    /// All that is wrong with it.
    pub fn parse(text: &str, scope: &Scope<'_>) -> Result<Self, Vec<Trouble>> {
        Self::parse_by(text, scope, Test::compile)
    }

    fn parse_by(
        text: &str,
        scope: &Scope<'_>,
        native: impl Fn(&cel::IdedExpr) -> Option<Test>,
    ) -> Result<Self, Vec<Trouble>> {
        let source = Source::parse(text)?;
        let kind = check::check(&source, scope)?;
        if !kind.fits(&kind::Kind::Bool) {
            let cause = format!("it is a {kind}, but a condition must be a bool");
            return Err(vec![source.trouble(&source.expr, cause)]);
        }
        let parts = source::parts(text, &source.expr).into_iter().map(|(text, expr)| Part {
            text: text.into(),
            how: match native(&expr) {
                Some(matching) => How::Native(matching),
                None => How::Interpreted(Box::new(Program::new(expr))),
            },
        });
        let reads_claims = expression::names(&source.expr, Object::Claims.as_str());
        let asked = [Object::Mcp, Object::Llm].map(Object::as_str);
        let reads_bodies = asked.iter().any(|object| expression::names(&source.expr, object));
        Ok(Self { parts: parts.collect(), reads_claims, reads_bodies })
    }

    /// Whether it asks for what a token says.
    #[must_use]
    pub fn reads_claims(&self) -> bool {
        self.reads_claims
    }

    /// Whether it asks for what a body may tell: what is asked of an MCP server or a model.
    #[must_use]
    pub fn reads_bodies(&self) -> bool {
        self.reads_bodies
    }

    /// The first part that is not true in one of the ways in which a request can be
    /// read; none when all are, in all of them.
    #[must_use]
    pub fn unmet<F: Facts>(&self, readings: impl IntoIterator<Item = F>) -> Option<Unmet> {
        let budget = Budget::default();
        readings.into_iter().find_map(|facts| {
            self.parts.iter().find_map(|part| {
                let failure = match part.how.truth(&facts, &budget) {
                    Ok(true) => return None,
                    Ok(false) => None,
                    Err(problem) => Some(problem.to_string()),
                };
                Some(Unmet { part: part.text.to_string(), failure })
            })
        })
    }

    /// Whether it is always true, or never, whatever request comes.
    #[must_use]
    pub fn always(&self, domain: &Domain<'_>) -> Option<Always> {
        domain::always(self.parts.iter().map(|part| &part.how), domain)
    }
}

impl How {
    fn truth(&self, facts: &dyn Facts, budget: &Budget) -> Result<bool, Problem> {
        match self {
            Self::Native(test) => test.truth(facts, budget),
            Self::Interpreted(program) => program.truth(facts, budget),
        }
    }
}

#[cfg(test)]
mod tests;
