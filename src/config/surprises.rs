//! Rules that work, and may not be meant: what a narrow rule keeps closed, a
//! broader one opens in another spelling of the path or at another host.

use std::{borrow::Cow, collections::BTreeMap};

use super::reader::Section;
use crate::authz::{Access, Found, HostPattern, NormalHost, PathPattern, Policy, Rule, Segment};

/// As many look-ups are spent on comparing hosts, so that many rules for many
/// hosts are still read in a moment.
const MAX_LOOKUPS: usize = 100_000;

/// What stands for any value of a variable: no rule can name it.
const ANY_VALUE: &str = "\u{0}";
/// A method that no rule lists.
const ANY_METHOD: &str = "ANY";

/// Warns of what may not be meant.
pub(super) fn warn(root: &Section<'_>, policy: &Policy) {
    let listed: Vec<&str> =
        policy.rules().iter().flat_map(|rule| &rule.methods).map(String::as_str).collect();
    for rule in policy.rules() {
        let methods = methods(rule, &listed);
        let by_a_slash = opened_by_a_slash(policy, rule, &methods);
        let by_no_value = opened_by_no_value(policy, rule, &methods);
        for (path, other) in by_a_slash.into_iter().chain(by_no_value) {
            root.warn(
                "rules",
                format!(
                    "{:?} is only for {}; {path} is decided by {:?}, which lets more people in",
                    rule.name, rule.path, other.name,
                ),
                "use path_prefix, or write a second rule for the other form",
            );
        }
    }
    for rule in policy.rules().iter().filter(|rule| rule.wants.is_some()) {
        if let Some(other) = never_asked(policy, rule, &methods(rule, &listed)) {
            root.warn(
                "rules",
                format!(
                    "{:?} looks into requests, but {} is decided by {other:?}, which has another \
                     host or path",
                    rule.name, rule.path,
                ),
                "give both rules the same hosts and the same path, path_prefix or path_template",
            );
        }
    }
    warn_of_open_hosts(root, policy, &listed);
}

/// The rule that decides in the place of one that looks at what is asked for.
fn never_asked<'p>(policy: &'p Policy, rule: &Rule, methods: &[&str]) -> Option<&'p str> {
    let path = example(&rule.path);
    let host = rule.hosts.first().and_then(example_host)?;
    methods.iter().find_map(|method| {
        if policy.asking(&host, &path, method).is_some() {
            return None;
        }
        match policy.find(&host, &path, method, None) {
            Found::Rule(other) => Some(other.name.as_str()),
            _ => None,
        }
    })
}

/// The methods that a rule is for: where it lists none, one that no rule lists
/// and all that some rule does.
fn methods<'a>(rule: &'a Rule, listed: &[&'a str]) -> Vec<&'a str> {
    match rule.methods.as_slice() {
        [] => listed.iter().copied().chain([ANY_METHOD]).collect(),
        own => own.iter().map(String::as_str).collect(),
    }
}

/// A path of the pattern.
fn example(path: &PathPattern) -> Vec<Cow<'_, str>> {
    let text = |segment: &'_ Segment| match segment {
        Segment::Literal(text) => Cow::Owned(text.clone()),
        Segment::Variable => Cow::Borrowed(ANY_VALUE),
    };
    path.segments().iter().map(text).collect()
}

/// A host of the pattern; any, for one that no rule names.
fn example_host(host: &HostPattern) -> Option<NormalHost<'static>> {
    let name = match host {
        HostPattern::Exact(name) => name.clone(),
        HostPattern::Below(parent) => format!("any.{parent}"),
        HostPattern::Any => "any.invalid".to_owned(),
    };
    NormalHost::parse(&name).map(NormalHost::into_owned)
}

/// A rule for such a request that lets more people in than this one.
fn more_open<'p>(
    policy: &'p Policy,
    than: &Rule,
    host: &NormalHost<'_>,
    path: &[Cow<'_, str>],
    methods: &[&str],
) -> Option<&'p Rule> {
    methods.iter().find_map(|method| match policy.find(host, path, method, None) {
        Found::Rule(other) if admits_more(other.access, than.access) => Some(other),
        _ => None,
    })
}

/// Some servers serve `/admin/` as `/admin`; a rule for the one alone leaves the
/// other to a rule that may let more people in.
fn opened_by_a_slash<'p>(
    policy: &'p Policy,
    rule: &Rule,
    methods: &[&str],
) -> Option<(String, &'p Rule)> {
    if matches!(rule.path, PathPattern::Prefix(_)) {
        return None;
    }
    let mut path = example(&rule.path);
    let shown = rule.path.to_string();
    let other_form = if path.last().is_some_and(|last| last.is_empty()) {
        path.pop();
        shown.trim_end_matches('/').to_owned()
    } else {
        path.push("".into());
        format!("{shown}/")
    };
    // The root has but one form.
    if path.is_empty() {
        return None;
    }
    let other = at_its_hosts(policy, rule, &path, methods).next()?;
    Some((other_form, other))
}

/// Some servers take `/agents/` for `/agents/{id}` with no value for the id. Whoever has
/// written a rule for that very path has seen it.
fn opened_by_no_value<'p>(
    policy: &'p Policy,
    rule: &Rule,
    methods: &[&str],
) -> Option<(String, &'p Rule)> {
    let mut path = example(&rule.path);
    let last = path.last_mut().filter(|last| **last == ANY_VALUE)?;
    *last = "".into();
    let is_broad = |other: &&Rule| matches!(other.path, PathPattern::Prefix(_));
    let other = at_its_hosts(policy, rule, &path, methods).find(is_broad)?;
    Some((rule.path.to_string().trim_end_matches("{}").to_owned(), other))
}

/// The rules that let more people in by this path, at each host of the rule.
fn at_its_hosts<'p>(
    policy: &'p Policy,
    rule: &Rule,
    path: &[Cow<'_, str>],
    methods: &[&str],
) -> impl Iterator<Item = &'p Rule> {
    let hosts = rule.hosts.iter().filter_map(example_host);
    hosts.filter_map(move |host| more_open(policy, rule, &host, path, methods))
}

/// Where a gateway routes several hosts to one upstream, who names the host
/// that is more open reads by it what another host's rule keeps closed.
fn warn_of_open_hosts(root: &Section<'_>, policy: &Policy, listed: &[&str]) {
    let mut hosts: Vec<&HostPattern> = policy.rules().iter().flat_map(|rule| &rule.hosts).collect();
    hosts.sort();
    hosts.dedup();
    // The broader rule and the host, with what they open.
    let mut opened: BTreeMap<(usize, &HostPattern), Vec<&Rule>> = BTreeMap::new();
    let mut lookups = 0;
    for rule in policy.rules() {
        let (path, methods) = (example(&rule.path), methods(rule, listed));
        for host in hosts.iter().filter(|host| !rule.hosts.contains(host)) {
            lookups += methods.len();
            if lookups > MAX_LOOKUPS {
                break;
            }
            let other = example_host(host)
                .and_then(|host| more_open(policy, rule, &host, &path, &methods))
                .filter(|other| other.path != rule.path);
            if let Some(other) = other {
                opened.entry((other.number, host)).or_default().push(rule);
            }
        }
    }
    for ((number, host), closed) in opened {
        let (Some(other), Some(first)) = (policy.rules().get(number), closed.first()) else {
            continue;
        };
        let more = match closed.len() {
            1 => String::new(),
            count => format!(" (more such rules: {})", count - 1),
        };
        root.warn(
            "rules",
            format!(
                "at {host}, {} is decided by {:?}, which lets more people in than {:?} does elsewhere{more}",
                first.path, other.name, first.name,
            ),
            "write a rule for that host and path too, or make sure that the gateway routes the \
             hosts to separate upstreams and refuses all other hosts",
        );
    }
    if lookups > MAX_LOOKUPS {
        root.warn(
            "rules",
            "there are so many rules and hosts that not all of them were compared",
            "check yourself that no host's broader rule opens what another host's rule closes",
        );
    }
}

/// Whether the first lets somebody in whom the second does not.
fn admits_more(first: Access, second: Access) -> bool {
    let openness = |access| match access {
        Access::Deny => 0,
        Access::Roles(_) => 1,
        Access::Authenticated => 2,
        Access::Public => 3,
    };
    match (first, second) {
        (Access::Roles(first), Access::Roles(second)) => !first.is_subset(second),
        (first, second) => openness(first) > openness(second),
    }
}
