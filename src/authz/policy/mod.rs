//! The rules, compiled once into the shape in which they are asked.
//!
//! For each host pattern there is a tree of path segments, so that the cost
//! of a look-up grows with the path and not with the number of rules.

mod tree;

use std::{borrow::Cow, collections::HashMap, sync::Arc};

use thiserror::Error;

use self::tree::{Slot, Tree};
use super::{
    asks::Asks,
    host::NormalHost,
    pattern::HostPattern,
    reason::Reason,
    resource::{Answer, Resource, Resources},
    rule::Rule,
};

/// Why rules cannot stand together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PolicyError {
    /// Two rules of one name.
    #[error("two rules are named {0:?}")]
    RepeatedName(String),
    /// A request that both would decide.
    #[error("{0:?} and {1:?} are for the same host, path and method: {2}")]
    Conflict(String, String, String),
    /// Two resources of which nobody could tell which one a request is about.
    #[error("{0:?} guards a resource at a place where another rule guards a different one")]
    TwoResources(String),
}

/// What the rules say to a host, path and method.
#[derive(Clone, Copy, Debug)]
pub enum Found<'p> {
    /// This rule decides.
    Rule(&'p Rule),
    /// This rule lets a CORS preflight pass.
    Preflight(&'p Rule),
    /// There are rules for the path, but none for the method.
    NoMethod,
    /// There are rules for what is asked for there, but none for this.
    NoOperation,
    /// It cannot be told what is asked for.
    Unclear(Reason),
    /// There is no rule for the path.
    Nothing,
}

impl Found<'_> {
    /// Whether both say the same.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Rule(a), Self::Rule(b)) | (Self::Preflight(a), Self::Preflight(b)) => {
                std::ptr::eq(*a, *b)
            }
            (Self::NoMethod, Self::NoMethod)
            | (Self::NoOperation, Self::NoOperation)
            | (Self::Nothing, Self::Nothing) => true,
            (Self::Unclear(a), Self::Unclear(b)) => a == b,
            _ => false,
        }
    }
}

/// All rules.
#[derive(Debug, Default)]
pub struct Policy {
    rules: Vec<Rule>,
    shadows: Vec<Rule>,
    has_forwards: bool,
    resources: Resources,
    /// The rules that guard one.
    guarding: Vec<usize>,
    exact: HashMap<String, Tree>,
    below: HashMap<String, Tree>,
    any: Tree,
    /// The same rules with their paths in one case, where some upstream folds it.
    folded: Option<Box<Policy>>,
}

impl Policy {
    /// Compiles the rules.
    ///
    /// # Errors
    ///
    /// Every [`PolicyError`] there is.
    pub fn compile(rules: Vec<Rule>) -> Result<Self, Vec<PolicyError>> {
        let mut errors = repeated_names(&rules);
        let (shadows, rules) = rules.into_iter().partition(|rule| rule.shadow);
        let mut rules: Vec<Rule> = rules;
        let has_forwards = rules.iter().any(|rule| rule.forward.is_some());
        let mut policy = Self { shadows, has_forwards, ..Self::default() };
        for (at, rule) in rules.iter_mut().enumerate() {
            rule.number = at;
        }
        for (at, rule) in rules.iter().enumerate() {
            for host in &rule.hosts {
                let slot = policy.tree_mut(host).slot(&rule.path);
                let added = if rule.wants.is_some() {
                    slot.add_asking(at, &rules)
                } else {
                    slot.add(at, &rule.methods)
                };
                if let Err((earlier, method)) = added {
                    let earlier = rules.get(earlier).map_or("", |rule| &rule.name);
                    let place = format!("{method} {}", rule.path);
                    errors.push(PolicyError::Conflict(earlier.into(), rule.name.clone(), place));
                }
            }
        }
        for rule in &rules {
            let Some(resource) = &rule.resource else { continue };
            let guards_too = |other: &&Rule| {
                other.path == rule.path && other.hosts.iter().any(|host| rule.hosts.contains(host))
            };
            let others = rules.iter().filter(guards_too).filter_map(|it| it.resource.as_ref());
            if !policy.resources.add(resource) || others.into_iter().any(|other| other != resource)
            {
                errors.push(PolicyError::TwoResources(rule.name.clone()));
            }
            policy.guarding.push(rule.number);
        }
        policy.rules = rules;
        if errors.is_empty() { Ok(policy) } else { Err(errors) }
    }

    /// The same for upstreams of which some take `/Admin` for `/admin`.
    ///
    /// # Errors
    ///
    /// The [`PolicyError`]s of rules that cannot stand together there.
    pub fn folding_case(self) -> Result<Self, Vec<PolicyError>> {
        let rules = self.rules.iter().map(|rule| {
            let folded = rule.path.folded();
            Rule { path: folded, ..rule.clone() }
        });
        let folded = Some(Box::new(Self::compile(rules.collect())?));
        Ok(Self { folded, ..self })
    }

    /// The rules as such an upstream reads them, for a path of [`folded`](super::pattern::folded)
    /// segments; none where no upstream does.
    pub(super) fn folded(&self) -> Option<&Self> {
        self.folded.as_deref()
    }

    /// What another form of these rules says, in these.
    pub(super) fn own<'p>(&'p self, found: &Found<'_>) -> Found<'p> {
        let own = |rule: &Rule| self.rules.get(rule.number);
        match *found {
            Found::Rule(rule) => own(rule).map_or(Found::Unclear(Reason::Internal), Found::Rule),
            Found::Preflight(rule) => {
                own(rule).map_or(Found::Unclear(Reason::Internal), Found::Preflight)
            }
            Found::NoMethod => Found::NoMethod,
            Found::NoOperation => Found::NoOperation,
            Found::Unclear(reason) => Found::Unclear(reason),
            Found::Nothing => Found::Nothing,
        }
    }

    fn tree_mut(&mut self, host: &HostPattern) -> &mut Tree {
        match host {
            HostPattern::Exact(name) => self.exact.entry(name.clone()).or_default(),
            HostPattern::Below(parent) => self.below.entry(parent.clone()).or_default(),
            HostPattern::Any => &mut self.any,
        }
    }

    /// What the rules say: the most specific host and path pattern that
    /// matches, and of its rules the one for the method. `preflight_of` is
    /// the method that a CORS preflight asks for.
    #[must_use]
    pub fn find(
        &self,
        host: &NormalHost<'_>,
        path: &[Cow<'_, str>],
        method: &str,
        preflight_of: Option<&str>,
    ) -> Found<'_> {
        self.find_asked(host, path, method, preflight_of, None)
    }

    /// The same, with what is asked for, where that is known: a rule that looks at it
    /// goes before one that does not.
    pub(super) fn find_asked(
        &self,
        host: &NormalHost<'_>,
        path: &[Cow<'_, str>],
        method: &str,
        preflight_of: Option<&str>,
        asks: Option<&Asks<'_, '_>>,
    ) -> Found<'_> {
        let Some(slot) = self.slot(host, path) else { return Found::Nothing };
        let rule = |at: Option<usize>| at.and_then(|at| self.rules.get(at));
        if let Some(asked) = preflight_of
            && let Some(covering) = self.covering(slot, asked)
            // A rule that lists OPTIONS itself has the last word on it.
            && rule(slot.listed(method)).is_none_or(|listed| std::ptr::eq(listed, covering))
        {
            return Found::Preflight(covering);
        }
        let plain = rule(slot.find(method)).map_or(Found::NoMethod, Found::Rule);
        match asks {
            Some(asks) if !slot.asking().is_empty() => self.asked(slot, method, asks, plain),
            _ => plain,
        }
    }

    /// The rule that names most closely what is asked for, before the one that looks at
    /// nothing of that.
    fn asked<'p>(
        &'p self,
        slot: &Slot,
        method: &str,
        asks: &Asks<'_, '_>,
        plain: Found<'p>,
    ) -> Found<'p> {
        let mut best = None;
        let mut is_any = false;
        for rule in slot.asking().iter().filter_map(|at| self.rules.get(*at)) {
            if !rule.covers(method) {
                continue;
            }
            is_any = true;
            let rank = match asks.rank(rule) {
                Ok(rank) => rank.map(|rank| (rank, !rule.methods.is_empty())),
                Err(reason) => return Found::Unclear(reason),
            };
            if rank.is_some() && best.is_none_or(|(other, _)| rank > other) {
                best = Some((rank, rule));
            }
        }
        match (best, plain) {
            (Some((_, rule)), _) => Found::Rule(rule),
            (None, Found::NoMethod) if is_any => Found::NoOperation,
            (None, plain) => plain,
        }
    }

    /// What is answered at the metadata of a resource, whatever the rules say.
    #[must_use]
    pub fn answer(
        &self,
        host: &NormalHost<'_>,
        path: &[Cow<'_, str>],
        method: &str,
    ) -> Option<Answer<'_>> {
        self.resources.answer(host.as_str(), path, method)
    }

    /// The resource that a request is about, whichever rule decides: that of the longest
    /// path that covers it.
    #[must_use]
    pub fn resource(&self, host: &NormalHost<'_>, path: &[Cow<'_, str>]) -> Option<&Arc<Resource>> {
        let rules = self.guarding.iter().filter_map(|at| self.rules.get(*at));
        let covering = rules.filter(|rule| {
            rule.path.matches(path) && rule.hosts.iter().any(|pattern| pattern.matches(host))
        });
        covering.max_by_key(|rule| rule.path.segments().len())?.resource.as_ref()
    }

    /// A rule of such a path and method that looks at what is asked for.
    #[must_use]
    pub fn asking(
        &self,
        host: &NormalHost<'_>,
        path: &[Cow<'_, str>],
        method: &str,
    ) -> Option<&Rule> {
        let mut asking = self.slot(host, path)?.asking().iter();
        asking.find_map(|at| self.rules.get(*at).filter(|rule| rule.covers(method)))
    }

    /// The rule that lets a preflight of this method pass: what a request will ask for is
    /// not known yet.
    fn covering(&self, slot: &Slot, method: &str) -> Option<&Rule> {
        let asking = slot.asking().iter().copied();
        let mut all = slot.find(method).into_iter().chain(asking);
        all.find_map(|at| self.rules.get(at).filter(|rule| rule.preflight && rule.covers(method)))
    }

    fn slot(&self, host: &NormalHost<'_>, path: &[Cow<'_, str>]) -> Option<&Slot> {
        let exact = self.exact.get(host.as_str());
        // Most policies have none, and most hosts several parents.
        let below = (!self.below.is_empty()).then(|| host.parents());
        let below = below.into_iter().flatten().filter_map(|parent| self.below.get(parent));
        exact
            .into_iter()
            .chain(below)
            .chain(std::iter::once(&self.any))
            .find_map(|tree| tree.find(path))
    }

    /// The shadow rules that are for such a request.
    pub fn shadows<'p>(
        &'p self,
        host: &NormalHost<'_>,
        path: &[Cow<'_, str>],
        method: &str,
    ) -> impl Iterator<Item = &'p Rule> {
        self.shadows.iter().filter(move |rule| {
            rule.covers(method)
                && rule.path.matches(path)
                && rule.hosts.iter().any(|pattern| pattern.matches(host))
        })
    }

    /// Whether there is any shadow rule.
    #[must_use]
    pub fn has_shadows(&self) -> bool {
        !self.shadows.is_empty()
    }

    /// Whether any rule says how the credential goes on.
    #[must_use]
    pub fn has_forwards(&self) -> bool {
        self.has_forwards
    }

    /// Whether any condition asks for what a token says.
    #[must_use]
    pub fn reads_claims(&self) -> bool {
        let when = |rule: &Rule| rule.when.as_ref().is_some_and(|when| when.reads_claims());
        self.rules.iter().chain(&self.shadows).any(when)
    }

    /// Whether any rule or condition asks for what a body may tell.
    #[must_use]
    pub fn reads_bodies(&self) -> bool {
        let when = |rule: &Rule| rule.when.as_ref().is_some_and(|when| when.reads_bodies());
        self.rules.iter().chain(&self.shadows).any(|rule| rule.wants.is_some() || when(rule))
    }

    /// The rules that decide, in the order in which they were given.
    #[must_use]
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

fn repeated_names(rules: &[Rule]) -> Vec<PolicyError> {
    let mut seen = std::collections::HashSet::new();
    rules
        .iter()
        .filter(|rule| !seen.insert(rule.name.as_str()))
        .map(|rule| PolicyError::RepeatedName(rule.name.clone()))
        .collect()
}

#[cfg(test)]
mod tests;
