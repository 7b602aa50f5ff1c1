//! Takes parameters off a query as Envoy's `ext_authz` does, so that an upstream sees the
//! same whichever of both has asked.

use std::{collections::BTreeMap, fmt::Write as _};

/// The path without these parameters. As Envoy does: sorted by their names, each with a
/// `=`, and without the query where none is left.
pub(crate) fn without(path: &str, names: &[&str]) -> String {
    let Some((place, query)) = path.split_once('?') else { return path.to_owned() };
    let mut parameters: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for parameter in query.split('&').filter(|parameter| !parameter.is_empty()) {
        let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
        if !names.contains(&name) {
            parameters.entry(name).or_default().push(value);
        }
    }
    let mut out = place.to_owned();
    let all = parameters.iter().flat_map(|(name, values)| values.iter().map(move |it| (name, it)));
    for (at, (name, value)) in all.enumerate() {
        let _ = write!(out, "{}{name}={value}", if at == 0 { '?' } else { '&' });
    }
    out
}
