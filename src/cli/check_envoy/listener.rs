//! Listeners, and the connection managers in them.

use super::{
    chain::{Chain, Surroundings, look_upstream},
    found::Found,
    logs, manager,
    report::Report,
    routes::Routes,
    tree::Node,
    upstreams::address,
};

/// Looks at all that was found. `open` are clusters that may be reached by anybody.
pub(super) fn look(found: &Found<'_>, open: &[String], report: &mut Report) {
    if let Some(lds) = &found.lds {
        report.warn(
            lds,
            "more listeners come from there, and they are not in this file",
            "look at what /config_dump of a running Envoy prints",
        );
    }
    for admin in &found.admins {
        look_at_admin(admin, report);
    }
    for listener in &found.listeners {
        let name = listener.text("name").map(str::to_owned);
        let name = name.or_else(|| address(listener).map(|(host, port)| format!("{host}:{port}")));
        report.look_at(Some(name.as_deref().unwrap_or("without a name")));
        look_at_listener(listener, found, open, report);
    }
    report.look_at(None);
    for cluster in &found.clusters {
        let options = cluster.get("typed_extension_protocol_options");
        let options = options.map(|options| options.entries()).unwrap_or_default();
        for (_, options) in options {
            look_upstream(&options.list("http_filters"), report);
        }
    }
}

/// Envoy's own interface: it prints the configuration, and changes the runtime.
fn look_at_admin(admin: &Node<'_>, report: &mut Report) {
    let Some((host, _)) = address(admin) else { return };
    let is_here = host == "localhost"
        || host.parse::<std::net::IpAddr>().is_ok_and(|address| address.is_loopback());
    if !is_here {
        report.warn(
            admin,
            format!(
                "Envoy's admin interface listens on {host}: whoever reaches it can read the \
                 configuration, change the runtime and stop Envoy"
            ),
            "let it listen on 127.0.0.1",
        );
    }
}

fn look_at_listener(listener: &Node<'_>, found: &Found<'_>, open: &[String], report: &mut Report) {
    if let Some(typed) = listener.get("api_listener").and_then(|api| api.typed("api_listener")) {
        look_at_manager(&typed.body, found, open, report);
    }
    let mut chains = listener.list("filter_chains");
    chains.extend(listener.get("default_filter_chain"));
    for filter in chains.iter().flat_map(|chain| chain.list("filters")) {
        let typed = filter.typed("typed_config");
        let kind = typed.as_ref().map_or("", |typed| typed.name);
        match typed {
            Some(typed) if kind.ends_with("HttpConnectionManager") => {
                look_at_manager(&typed.body, found, open, report);
            }
            Some(_) if kind.ends_with(".TcpProxy") => report.warn(
                &filter,
                "it forwards raw bytes: nobody is asked about the requests in them",
                "use a connection manager with ext_authz, if these are requests",
            ),
            None if filter.get("config_discovery").is_some() => report.warn(
                &filter,
                "the configuration of this filter is not in this file",
                "look at what /config_dump of a running Envoy prints",
            ),
            _ => {}
        }
    }
}

fn look_at_manager(manager: &Node<'_>, found: &Found<'_>, open: &[String], report: &mut Report) {
    let chain = Chain::read(manager, "http_filters", found);
    let routes = Routes::of(manager, &chain, found);
    let has_guard = chain.guards().next().is_some();
    if !has_guard && routes.are_of_admin(found) {
        return;
    }
    if has_guard || routes.reach(found, open) {
        manager::look(manager, &routes, report);
    }
    look_at_chain(manager, &chain, &routes, found, open, report);
    let upgrades = manager.list("upgrade_configs");
    for upgrade in upgrades.iter().filter(|it| !it.list("filters").is_empty()) {
        let chain = Chain::read(upgrade, "filters", found);
        let routes = Routes::of(manager, &chain, found);
        look_at_chain(manager, &chain, &routes, found, open, report);
    }
    logs::look(manager, &chain, report);
}

fn look_at_chain(
    manager: &Node<'_>,
    chain: &Chain<'_>,
    routes: &Routes<'_>,
    found: &Found<'_>,
    open: &[String],
    report: &mut Report,
) {
    if chain.guards().next().is_none() {
        if routes.reach(found, open) {
            report.error(
                &chain.node,
                "no filter asks portcullis, and requests reach an upstream",
                "add ext_authz, as in envoy/envoy.yaml; if its clusters may be open, name them \
                 with --open",
            );
        }
        return;
    }
    let around = Surroundings {
        underscores_come: manager::underscores_come(manager),
        knows_addresses: manager.is_on("use_remote_address"),
        trailers_go_on: routes.may_speak_http2(found),
    };
    chain.look(around, report);
    routes.look(chain, found, open, report);
}
