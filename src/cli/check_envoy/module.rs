//! The engine in Envoy: what its filter is told.

use serde_json::Value;

use super::{report::Report, tree::Node};

/// Whether a dynamic module is portcullis'.
pub(super) fn is_own(body: &Node<'_>) -> bool {
    let names = [
        body.get("filter_name"),
        body.way(&["dynamic_module_config", "name"]),
        body.way(&["dynamic_module_config", "module", "local", "filename"]),
    ];
    names.iter().flatten().filter_map(Node::as_text).any(|name| name.contains("portcullis"))
}

/// Looks at the module's filter. `falls_back` when a filter behind it asks portcullis
/// wherever it has not allowed; `knows_addresses` when Envoy takes a client's address
/// from the connection.
pub(super) fn look(body: &Node<'_>, falls_back: bool, knows_addresses: bool, report: &mut Report) {
    let config = body.get("dynamic_module_config");
    let place = config.as_ref().unwrap_or(body);
    if !config.as_ref().is_some_and(|config| config.is_on("do_not_close")) {
        report.warn(
            place,
            "the module may be unloaded while its thread is at work, which would crash Envoy",
            "write do_not_close: true",
        );
    }
    let remote = config.as_ref().and_then(|config| config.way(&["module", "remote"]));
    if remote.is_some() && !config.as_ref().is_some_and(|config| config.is_on("nack_on_cache_miss"))
    {
        report.grave(
            !falls_back,
            place,
            "if the module cannot be fetched, its filter is silently left out, and requests pass \
             unchecked"
                .to_owned(),
            "write nack_on_cache_miss: true, or put the file where Envoy finds it; and keep \
             ext_authz behind it",
        );
    }
    let Some(said) = body.get("filter_config").as_ref().and_then(said) else { return };
    if said.get("use_remote_address") == Some(&Value::Bool(true)) && !knows_addresses {
        report.error(
            body,
            "the module is told that Envoy knows the addresses of clients, but Envoy takes them \
             from what clients write into x-forwarded-for",
            "also write use_remote_address: true in the listener, or remove it from filter_config",
        );
    }
    let leaves = [("fallback", "ext_authz"), ("mode", "shadow")];
    let leaves = leaves.iter().any(|(key, value)| {
        said.get(*key).and_then(Value::as_str).is_some_and(|said| said == *value)
    });
    if leaves && !falls_back {
        report.error(
            body,
            "the module leaves requests to ext_authz, but no such filter after it asks \
             portcullis, so they pass",
            "put ext_authz after it, with filter_enabled_metadata as in envoy/module.yaml; or \
             remove fallback and mode",
        );
    }
}

/// What stands in `filter_config`.
fn said(config: &Node<'_>) -> Option<Value> {
    let value = config.get("value")?;
    match value.as_text() {
        Some(text) => serde_json::from_str(text).ok(),
        None => Some(value.to_value()),
    }
}
