//! The tree of path segments.

use std::{borrow::Cow, collections::HashMap};

use crate::authz::{
    pattern::{PathPattern, Segment},
    rule::Rule,
};

/// A node: where a path stands after some of its segments.
#[derive(Debug, Default)]
pub(super) struct Tree {
    literals: HashMap<String, Tree>,
    variable: Option<Box<Tree>>,
    exact: Option<Slot>,
    template: Option<Slot>,
    prefix: Option<Slot>,
    /// Whether any template leads here.
    is_on_template: bool,
}

impl Tree {
    /// The place of the rules of this pattern.
    pub(super) fn slot(&mut self, pattern: &PathPattern) -> &mut Slot {
        let is_template = matches!(pattern, PathPattern::Template(_));
        let mut node = self;
        node.is_on_template |= is_template;
        for segment in pattern.segments() {
            node = match segment {
                Segment::Literal(text) => node.literals.entry(text.clone()).or_default(),
                Segment::Variable => node.variable.get_or_insert_default(),
            };
            node.is_on_template |= is_template;
        }
        match pattern {
            PathPattern::Exact(_) => node.exact.get_or_insert_default(),
            PathPattern::Template(_) => node.template.get_or_insert_default(),
            PathPattern::Prefix(_) => node.prefix.get_or_insert_default(),
        }
    }

    /// The rules of the most specific pattern that matches: exact, then
    /// template, then the longest prefix.
    pub(super) fn find(&self, path: &[Cow<'_, str>]) -> Option<&Slot> {
        let mut longest_prefix = self.prefix.as_ref();
        let mut node = Some(self);
        for segment in path {
            node = node.and_then(|node| node.literals.get(segment.as_ref()));
            longest_prefix = node.and_then(|node| node.prefix.as_ref()).or(longest_prefix);
        }
        node.and_then(|node| node.exact.as_ref())
            .or_else(|| self.find_template(path))
            .or(longest_prefix)
    }

    /// Literals before variables at every segment, from the first on, so that
    /// the first segment in which two templates differ decides. No node is
    /// visited twice: each is reached by one way alone.
    fn find_template(&self, path: &[Cow<'_, str>]) -> Option<&Slot> {
        if !self.is_on_template {
            return None;
        }
        let Some((segment, rest)) = path.split_first() else { return self.template.as_ref() };
        self.literals.get(segment.as_ref()).and_then(|node| node.find_template(rest)).or_else(
            || match &self.variable {
                Some(node) if !segment.is_empty() => node.find_template(rest),
                _ => None,
            },
        )
    }
}

/// The rules of one host and path pattern, by their place in the policy.
#[derive(Debug, Default)]
pub(super) struct Slot {
    by_method: Vec<(String, usize)>,
    any_method: Option<usize>,
    /// Those that look at what is asked for.
    asking: Vec<usize>,
}

impl Slot {
    /// Adds a rule; an error names the earlier rule and the method for which
    /// both would decide.
    pub(super) fn add(&mut self, rule: usize, methods: &[String]) -> Result<(), (usize, String)> {
        if methods.is_empty() {
            return match self.any_method.replace(rule) {
                Some(earlier) => Err((earlier, "any method".to_owned())),
                None => Ok(()),
            };
        }
        for method in methods {
            if let Some(earlier) = self.listed(method) {
                return Err((earlier, method.clone()));
            }
            self.by_method.push((method.clone(), rule));
        }
        Ok(())
    }

    /// Adds one that looks at what is asked for; an error as above.
    pub(super) fn add_asking(
        &mut self,
        rule: usize,
        rules: &[Rule],
    ) -> Result<(), (usize, String)> {
        let Some(own) = rules.get(rule) else { return Ok(()) };
        for at in &self.asking {
            let Some(other) = rules.get(*at) else { continue };
            let (Some(wants), Some(others)) = (&own.wants, &other.wants) else { continue };
            let shared = match (own.methods.as_slice(), other.methods.as_slice()) {
                ([], []) => Some("any method"),
                // A rule for the method goes before one for any: but not where it would
                // hang on what else stands in a body which of the two is for it.
                ([], [method, ..]) | ([method, ..], []) if wants.reads_otherwise(others) => {
                    Some(method.as_str())
                }
                (methods, _) => {
                    methods.iter().find(|method| other.methods.contains(method)).map(String::as_str)
                }
            };
            if let Some(method) = shared.filter(|_| wants.collides(others)) {
                return Err((*at, method.to_owned()));
            }
        }
        self.asking.push(rule);
        Ok(())
    }

    /// Those that look at what is asked for.
    pub(super) fn asking(&self) -> &[usize] {
        &self.asking
    }

    /// The rule that lists the method.
    pub(super) fn listed(&self, method: &str) -> Option<usize> {
        self.by_method.iter().find(|(listed, _)| listed == method).map(|&(_, rule)| rule)
    }

    /// The rule that lists the method, else the one that lists none.
    pub(super) fn find(&self, method: &str) -> Option<usize> {
        self.listed(method).or(self.any_method)
    }
}
