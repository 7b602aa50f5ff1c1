//! Where in a file the listeners, routes and clusters are, whatever its form.

use super::tree::{Node, Typed};

/// What nobody has named is looked for so deep: tools put what they print of several
/// Envoys into maps of maps.
const MAX_WRAPPINGS: u8 = 4;

/// What was found, by name.
#[derive(Debug, Default)]
pub(super) struct Found<'t> {
    pub(super) listeners: Vec<Node<'t>>,
    pub(super) routes: Vec<Node<'t>>,
    pub(super) clusters: Vec<Node<'t>>,
    /// Filters that came by an ECDS.
    pub(super) filters: Vec<Node<'t>>,
    /// Envoy's own interface for operators.
    pub(super) admins: Vec<Node<'t>>,
    /// Where more listeners come from than are here.
    pub(super) lds: Option<Node<'t>>,
    /// What a dump has as it was at the start: what it has of now goes before.
    bootstrap: Option<Node<'t>>,
    has_dump_of_listeners: bool,
}

impl<'t> Found<'t> {
    /// Looks through a file.
    pub(super) fn look(root: &Node<'t>) -> Self {
        let mut found = Self::default();
        found.walk(root, MAX_WRAPPINGS);
        if let Some(bootstrap) = found.bootstrap.take() {
            found.bootstrap(&bootstrap, !found.has_dump_of_listeners);
        }
        if found.has_dump_of_listeners {
            found.lds = None;
        }
        found
    }

    /// A cluster by its name.
    pub(super) fn cluster(&self, name: &str) -> Option<&Node<'t>> {
        self.clusters.iter().find(|cluster| cluster.text("name") == Some(name))
    }

    /// Those of a name: there may be one in force and one to come.
    pub(super) fn routes_named(&self, name: &str) -> Vec<Node<'t>> {
        let is_it = |routes: &&Node<'t>| routes.text("name") == Some(name);
        self.routes.iter().filter(is_it).cloned().collect()
    }

    /// A filter that came by an ECDS.
    pub(super) fn filter(&self, name: &str) -> Option<Typed<'t>> {
        let mut filters = self.filters.iter();
        filters.find(|filter| filter.text("name") == Some(name))?.typed("typed_config")
    }

    fn walk(&mut self, node: &Node<'t>, wrappings: u8) {
        if node.is_list() {
            return node.items().iter().for_each(|item| self.walk(item, wrappings));
        }
        let name = node.any().map_or("", |typed| typed.name);
        let last = name.rsplit('.').next().unwrap_or_default();
        let has = |field: &str| node.get(field).is_some();
        match last {
            "BootstrapConfigDump" => self.bootstrap = node.get("bootstrap"),
            "ListenersConfigDump" => {
                self.has_dump_of_listeners = true;
                node.list("static_listeners").iter().for_each(|one| self.listener_of(one));
                node.list("dynamic_listeners").iter().for_each(|one| self.listener_of(one));
            }
            "StaticListener" | "DynamicListener" => {
                self.has_dump_of_listeners = true;
                self.listener_of(node);
            }
            "RoutesConfigDump" => {
                // Those that are not dynamic stand in their listeners.
                let all = node.list("dynamic_route_configs");
                self.routes.extend(all.iter().filter_map(|one| one.get("route_config")));
            }
            "DynamicRouteConfig" => self.routes.extend(node.get("route_config")),
            "ClustersConfigDump" => {
                for kind in
                    ["static_clusters", "dynamic_active_clusters", "dynamic_warming_clusters"]
                {
                    let all = node.list(kind);
                    self.clusters.extend(all.iter().filter_map(|one| one.get("cluster")));
                }
            }
            "EcdsConfigDump" => {
                let all = node.list("ecds_filters");
                self.filters.extend(all.iter().filter_map(|one| one.get("ecds_filter")));
            }
            "Listener" => self.listeners.push(node.clone()),
            "RouteConfiguration" => self.routes.push(node.clone()),
            "Cluster" => self.clusters.push(node.clone()),
            "TypedExtensionConfig" => self.filters.push(node.clone()),
            _ if has("configs") => {
                node.list("configs").iter().for_each(|one| self.walk(one, wrappings));
            }
            _ if has("static_resources") || has("dynamic_resources") => self.bootstrap(node, true),
            _ if has("filter_chains") || has("default_filter_chain") || has("api_listener") => {
                self.listeners.push(node.clone());
            }
            _ if has("virtual_hosts") => self.routes.push(node.clone()),
            _ if has("resources") => {
                node.list("resources").iter().for_each(|one| self.walk(one, wrappings));
            }
            _ if has("resource") => self.walk_into(node, "resource", wrappings),
            _ if wrappings > 0 && last.is_empty() => {
                for (_, inner) in node.entries() {
                    self.walk(&inner, wrappings - 1);
                }
            }
            _ => {}
        }
    }

    fn walk_into(&mut self, node: &Node<'t>, field: &str, wrappings: u8) {
        if let Some(inner) = node.get(field) {
            self.walk(&inner, wrappings);
        }
    }

    /// A listener of a dump: the one in force, and the one that is to come.
    fn listener_of(&mut self, one: &Node<'t>) {
        self.listeners.extend(one.get("listener"));
        for state in ["active_state", "warming_state"] {
            self.listeners.extend(one.way(&[state, "listener"]));
        }
    }

    fn bootstrap(&mut self, bootstrap: &Node<'t>, has_listeners: bool) {
        if let Some(resources) = bootstrap.get("static_resources") {
            if has_listeners {
                self.listeners.extend(resources.list("listeners"));
            }
            self.clusters.extend(resources.list("clusters"));
        }
        self.admins.extend(bootstrap.get("admin"));
        let dynamic = bootstrap.get("dynamic_resources");
        self.lds = self.lds.take().or_else(|| dynamic.and_then(|d| d.get("lds_config")));
    }
}
