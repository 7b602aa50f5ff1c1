//! Edits of the configurations of Envoy that are shipped.

use crate::stack::replace;

pub(crate) const ASKS: &str = "                      failure_mode_allow: false\n";
pub(crate) const FILTER: &str = "                  - name: envoy.filters.http.ext_authz\n";
pub(crate) const ROUTER: &str = "                  - name: envoy.filters.http.router\n";
pub(crate) const LAST: &str = "                        - match: { prefix: \"/\" }
                          route: { cluster: agents, timeout: 15s }\n";
pub(crate) const HOST: &str =
    "                    - name: all\n                      domains: [\"*\"]\n";
pub(crate) const TABLE: &str = "                route_config:\n                  name: routes\n";
pub(crate) const MANAGER: &str = "                use_remote_address: true\n";
pub(crate) const PATH: &str = "\"%PATH(NQ)%\"";
pub(crate) const LISTENERS: &str = "  listeners:\n";

pub(crate) const PER_ROUTE: &str =
    "type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute";
pub(crate) const FILTER_CONFIG: &str = "type.googleapis.com/envoy.config.route.v3.FilterConfig";
pub(crate) const NAME: &str = "envoy.filters.http.ext_authz";

/// A line with this much before it.
pub(crate) fn line(indent: usize, text: &str) -> String {
    format!("{}{text}\n", " ".repeat(indent))
}

/// What is behind this text in a configuration.
pub(crate) fn with(config: &str, behind: &str, more: &str) -> String {
    replace(config, behind, &format!("{behind}{more}"))
}

/// What is before this text in a configuration.
pub(crate) fn before(config: &str, text: &str, more: &str) -> String {
    replace(config, text, &format!("{more}{text}"))
}

/// What a level of the routes says of the filter.
pub(crate) fn per_filter(indent: usize, name: &str, said: &str) -> String {
    line(indent, &format!("typed_per_filter_config: {{ {name}: {{ {said} }} }}"))
}

pub(crate) fn disabled() -> String {
    format!("\"@type\": {PER_ROUTE}, disabled: true")
}

/// A filter of this type, with what it is told.
pub(crate) fn filter(kind: &str, told: &str) -> String {
    let name = kind.split('.').rev().nth(2).unwrap();
    let url = format!("type.googleapis.com/envoy.extensions.filters.http.{kind}");
    let typed = format!("{{ \"@type\": {url}{told} }}");
    line(18, &format!("- name: {name}")) + &line(20, &format!("typed_config: {typed}"))
}

/// A configuration without one of the filters.
pub(crate) fn without(config: &str, name: &str) -> String {
    let begin = config.find(&format!("                  - name: {name}\n")).unwrap();
    let rest = &config[begin..];
    let next = rest.find("\n                  - name: ").unwrap() + 1;
    format!("{}{}", &config[..begin], &rest[next..])
}

/// An edit, and what is to be found then.
pub(crate) struct Case {
    pub(crate) config: String,
    pub(crate) severity: &'static str,
    /// What is in the cause.
    pub(crate) cause: &'static str,
    /// What the place ends with.
    pub(crate) at: &'static str,
    /// Whether a real Envoy takes it, without anything beside it.
    pub(crate) is_taken: bool,
}

pub(crate) fn case(
    severity: &'static str,
    cause: &'static str,
    at: &'static str,
    config: String,
) -> Case {
    Case { config, severity, cause, at, is_taken: true }
}
