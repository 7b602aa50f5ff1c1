//! A connection manager: what it makes of a request before any filter sees it.

use std::collections::BTreeSet;

use super::{logs, names, report::Report, routes::Routes, tree::Node};

/// Whether headers with an underscore come in.
pub(super) fn underscores_come(manager: &Node<'_>) -> bool {
    let options = manager.get("common_http_protocol_options");
    !options.is_some_and(|options| {
        let closed = [("REJECT_REQUEST", 1.0), ("DROP_HEADER", 2.0)];
        options.is_one_of("headers_with_underscores_action", &closed)
    })
}

/// Looks at its settings.
pub(super) fn look(manager: &Node<'_>, routes: &Routes<'_>, report: &mut Report) {
    look_at_paths(manager, report);
    if underscores_come(manager) {
        report.warn(
            manager,
            "headers with an underscore are let in: some upstreams read x_user_role as x-user-role",
            "write common_http_protocol_options: { headers_with_underscores_action: \
             REJECT_REQUEST }",
        );
    }
    if !manager.is_on("use_remote_address") {
        report.warn(
            manager,
            "a client's address is what it writes into x-forwarded-for: conditions, and keys that \
             may be used only from one network, believe it",
            "write use_remote_address: true, and xff_num_trusted_hops if there are proxies in \
             front",
        );
    }
    let ends = ends_streams(manager);
    for upgrade in manager.list("upgrade_configs") {
        look_at_upgrade(&upgrade, ends || routes.are_timed(), report);
    }
    // A tool may write the same on every route: one is enough to find the rest by.
    let mut told = BTreeSet::new();
    for (upgrade, is_timed) in routes.upgrades() {
        let ends = ends || *is_timed;
        if told.insert((upgrade.text("upgrade_type").unwrap_or_default(), ends)) {
            look_at_upgrade(upgrade, ends, report);
        }
    }
    look_at_traces(manager, report);
}

fn look_at_upgrade(upgrade: &Node<'_>, ends: bool, report: &mut Report) {
    let kind = upgrade.text("upgrade_type").unwrap_or_default();
    if upgrade.get("enabled").is_some() && !upgrade.may_be_on("enabled") {
        return;
    }
    if !kind.eq_ignore_ascii_case("websocket") {
        report.warn(
            upgrade,
            format!("in a tunnel of {kind} there may be requests that nobody checks"),
            "remove it; portcullis lets through only WebSockets",
        );
    } else if !ends {
        report.warn(
            upgrade,
            "a WebSocket is checked when it opens and not again, and it may stay open for ever",
            "write common_http_protocol_options: { max_stream_duration: 3600s }",
        );
    }
}

fn ends_streams(manager: &Node<'_>) -> bool {
    let options = manager.get("common_http_protocol_options");
    options.is_some_and(|options| options.lasts("max_stream_duration"))
}

/// One reading of a path for everybody.
fn look_at_paths(manager: &Node<'_>, report: &mut Report) {
    for (field, cause) in [
        (
            "normalize_path",
            "a path with dot segments chooses a different route than its plain form",
        ),
        ("merge_slashes", "a path with // chooses a different route than its plain form"),
    ] {
        if !manager.is_on(field) {
            report.warn(manager, cause, format!("write {field}: true"));
        }
    }
    let closed = [("REJECT_REQUEST", 2.0), ("UNESCAPE_AND_REDIRECT", 3.0)];
    if !manager.is_one_of("path_with_escaped_slashes_action", &closed) {
        report.warn(
            manager,
            "a path with %2F chooses a different route than its plain form",
            "write path_with_escaped_slashes_action: UNESCAPE_AND_REDIRECT",
        );
    }
}

/// A span tells the whole address of a request, a WebSocket's token with it.
fn look_at_traces(manager: &Node<'_>, report: &mut Report) {
    let Some(tracing) = manager.get("tracing") else { return };
    let is_cut = tracing.number("max_path_tag_length").is_some_and(|length| length < 2.0);
    let tags = tracing.list("custom_tags");
    let is_replaced =
        tags.iter().any(|tag| tag.text("tag") == Some("http.url") && tag.get("literal").is_some());
    if !is_cut && !is_replaced {
        report.warn(
            &tracing,
            "spans tell the query of a request, which may contain a WebSocket's token",
            "write max_path_tag_length: 0",
        );
    }
    for tag in tags {
        let name = tag.way(&["request_header", "name"]);
        if name.and_then(|name| name.as_text()).is_some_and(names::is_credential) {
            report.error(&tag, "spans tell a credential", "remove the tag");
        }
        logs::look_at_operators(&tag, report);
    }
}
