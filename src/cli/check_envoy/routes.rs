//! Where the routes of a connection manager lead, and whether anybody is asked there.

use std::collections::BTreeSet;

use super::{
    asking,
    chain::{self, Chain, Filter, Kind},
    found::Found,
    report::Report,
    tree::Node,
    upstreams::{self, Whose},
};

/// A way from a request to an upstream.
#[derive(Debug)]
struct Place<'t> {
    /// The route, or its part of a weighted one.
    node: Node<'t>,
    /// Where it leads; not known before there is a request, perhaps.
    cluster: Option<&'t str>,
    asked: Asked,
    /// Where a filter that would decide is turned off.
    off: Option<Node<'t>>,
    whose: Whose,
    /// How long a stream may live is said here.
    is_timed: bool,
}

/// Whether anybody is asked on a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// A filter decides.
    Yes,
    /// The module does, and the `ext_authz` behind it is off.
    Module,
    Nobody,
}

/// All ways.
#[derive(Debug, Default)]
pub(super) struct Routes<'t> {
    places: Vec<Place<'t>>,
    /// What names routes that are not in the file.
    unseen: Vec<Node<'t>>,
    /// What a route adds or says of a filter, each under its filter's name.
    said: Vec<(&'t str, Node<'t>)>,
    added: Vec<Node<'t>>,
    /// Upgrades that a route lets through by itself, and whether it ends their streams.
    upgrades: Vec<(Node<'t>, bool)>,
}

impl<'t> Routes<'t> {
    /// The routes of a connection manager, as this chain of its goes along them.
    pub(super) fn of(manager: &Node<'t>, chain: &Chain<'t>, found: &Found<'t>) -> Self {
        let mut routes = Self::default();
        let mut tables: Vec<Node<'t>> = manager.get("route_config").into_iter().collect();
        if let Some(rds) = manager.get("rds") {
            let named = found.routes_named(rds.text("route_config_name").unwrap_or_default());
            if named.is_empty() {
                routes.unseen.push(rds);
            }
            tables.extend(named);
        }
        if let Some(scoped) = manager.get("scoped_routes") {
            let list =
                scoped.way(&["scoped_route_configurations_list", "scoped_route_configurations"]);
            let scopes = list.map(|list| list.items()).unwrap_or_default();
            let here: Vec<_> =
                scopes.iter().filter_map(|scope| scope.get("route_configuration")).collect();
            let are_all_here = !scopes.is_empty() && here.len() == scopes.len();
            if !are_all_here && found.routes.is_empty() {
                routes.unseen.push(scoped);
            }
            // Which of them are its own, the scopes say, which come from elsewhere, too.
            tables.extend(here.into_iter().chain(found.routes.iter().cloned()));
        }
        for table in tables {
            routes.table(&table, chain);
        }
        routes
    }

    fn table(&mut self, table: &Node<'t>, chain: &Chain<'t>) {
        self.unseen.extend(table.get("vhds"));
        self.settings(table);
        for host in table.list("virtual_hosts") {
            self.settings(&host);
            let mut routes = host.list("routes");
            if let Some(matcher) = host.get("matcher") {
                // Its routes are somewhere in a tree.
                matcher.visit(&mut |node| {
                    let typed = node.any();
                    if typed.is_some_and(|typed| typed.name.ends_with(".config.route.v3.Route")) {
                        routes.push(node.clone());
                    }
                });
            }
            for route in routes {
                self.settings(&route);
                self.route(&[table, &host], &route, chain);
            }
        }
    }

    /// What a level says of filters, and adds.
    fn settings(&mut self, level: &Node<'t>) {
        self.added.extend(level.list("request_headers_to_add"));
        let filters = level.get("typed_per_filter_config").map(|filters| filters.entries());
        self.said.extend(filters.unwrap_or_default());
    }

    fn route(&mut self, above: &[&Node<'t>], route: &Node<'t>, chain: &Chain<'t>) {
        let action = route.get("route");
        if action.is_none() && route.get("filter_action").is_none() {
            // It answers by itself.
            return;
        }
        let weighted = action.as_ref().and_then(|action| action.get("weighted_clusters"));
        let parts = weighted.map(|weighted| weighted.list("clusters")).unwrap_or_default();
        let is_timed = action.as_ref().is_some_and(|action| {
            let limit = action.get("max_stream_duration");
            limit.is_some_and(|limit| limit.lasts("max_stream_duration"))
        });
        let upgrades = action.as_ref().map(|action| action.list("upgrade_configs"));
        let upgrades = upgrades.unwrap_or_default().into_iter();
        self.upgrades.extend(upgrades.map(|upgrade| (upgrade, is_timed)));
        let mut levels = above.to_vec();
        levels.push(route);
        if parts.is_empty() {
            let cluster = action.as_ref().and_then(|action| action.text("cluster"));
            self.places.push(Place { is_timed, ..Place::of(&levels, route, cluster, chain) });
        }
        for part in &parts {
            self.settings(part);
            let levels = [&levels[..], &[part]].concat();
            let place = Place::of(&levels, route, part.text("name"), chain);
            self.places.push(Place { node: part.clone(), is_timed, ..place });
        }
    }

    /// Whether an upstream can be reached by them that is to be guarded.
    pub(super) fn reach(&self, found: &Found<'t>, open: &[String]) -> bool {
        let guarded = self.guarded();
        !self.unseen.is_empty()
            || self.places.iter().any(|place| !place.may_be_open(&guarded, found, open))
    }

    /// Whether all that they reach is Envoy's own interface.
    pub(super) fn are_of_admin(&self, found: &Found<'t>) -> bool {
        self.unseen.is_empty() && self.places.iter().all(|place| place.is_admin(found))
    }

    /// Whether an upstream may speak HTTP/2 or later.
    pub(super) fn may_speak_http2(&self, found: &Found<'t>) -> bool {
        let speaks = |place: &Place<'t>| {
            let cluster = place.cluster.and_then(|name| found.cluster(name));
            cluster.is_none_or(upstreams::speaks_http2)
        };
        !self.unseen.is_empty() || self.places.iter().any(speaks)
    }

    /// Upgrades that routes let through, each with whether its streams are ended.
    pub(super) fn upgrades(&self) -> &[(Node<'t>, bool)] {
        &self.upgrades
    }

    /// Whether each says how long a stream may live.
    pub(super) fn are_timed(&self) -> bool {
        self.unseen.is_empty() && self.places.iter().all(|place| place.is_timed)
    }

    /// The clusters that somebody is asked for.
    fn guarded(&self) -> BTreeSet<&'t str> {
        let asked = self.places.iter().filter(|place| place.asked != Asked::Nobody);
        asked.filter_map(|place| place.cluster).collect()
    }

    /// Looks at routes along a chain with a filter that decides.
    pub(super) fn look(
        &self,
        chain: &Chain<'t>,
        found: &Found<'t>,
        open: &[String],
        report: &mut Report,
    ) {
        for unseen in &self.unseen {
            report.warn(
                unseen,
                "these routes are not in this file, so it is not known where they turn the filter \
                 off",
                "look at what /config_dump of a running Envoy prints",
            );
        }
        let guarded = self.guarded();
        for place in &self.places {
            if place.asked == Asked::Nobody && !place.may_be_open(&guarded, found, open) {
                place.tell(&guarded, report);
            }
            if place.asked == Asked::Module {
                report.warn(
                    place.off.as_ref().unwrap_or(&place.node),
                    "ext_authz is off here but the module is on: nobody is asked where the module \
                     does not decide",
                    "turn both off, or neither",
                );
            }
        }
        for (name, said) in &self.said {
            let guard = chain.guards().find(|filter| filter.name == *name);
            look_at_said(said, guard.is_some(), report);
        }
        for added in &self.added {
            if let Some(key) = added.way(&["header", "key"]) {
                asking::look_at_added(&key, key.as_text().unwrap_or_default(), report);
            }
        }
    }
}

impl<'t> Place<'t> {
    fn of(
        levels: &[&Node<'t>],
        route: &Node<'t>,
        cluster: Option<&'t str>,
        chain: &Chain<'t>,
    ) -> Self {
        let states: Vec<_> =
            chain.guards().map(|guard| (guard.kind, state(guard, levels))).collect();
        let is_on = |kind| states.iter().any(|(of, state)| *of == kind && state.is_on);
        let asked = match (is_on(Kind::Module), is_on(Kind::Asks)) {
            (false, false) => Asked::Nobody,
            (true, false) if chain.falls_back() => Asked::Module,
            _ => Asked::Yes,
        };
        let off = states.iter().find_map(|(_, state)| state.off.clone());
        let whose = Whose::of(route.get("match").as_ref());
        Self { node: route.clone(), cluster, asked, off, whose, is_timed: false }
    }

    /// Whether it leads to nothing that has to be guarded.
    fn may_be_open(&self, guarded: &BTreeSet<&str>, found: &Found<'t>, open: &[String]) -> bool {
        self.cluster.is_some_and(|cluster| {
            open.iter().any(|name| name == cluster)
                || (self.whose == Whose::Own && !guarded.contains(cluster))
                || self.is_admin(found)
        })
    }

    /// Whether it leads to what Envoy says of itself.
    fn is_admin(&self, found: &Found<'t>) -> bool {
        let cluster = self.cluster.and_then(|name| found.cluster(name));
        self.whose == Whose::Envoys && cluster.is_some_and(|it| upstreams::is_admin(it, found))
    }

    fn tell(&self, guarded: &BTreeSet<&str>, report: &mut Report) {
        let to = match self.cluster {
            Some(name) if guarded.contains(name) => {
                format!("cluster {name:?}, which is guarded on other routes")
            }
            Some(name) => format!("cluster {name:?}"),
            None => "a cluster that is chosen by the request".to_owned(),
        };
        let cause = match &self.off {
            Some(_) => format!("the filter is turned off on a route to {to}"),
            None => format!("no filter is on, by itself or by the route, on the way to {to}"),
        };
        report.error(
            self.off.as_ref().unwrap_or(&self.node),
            format!("{cause}: nobody is asked, and the client's own x-user headers pass"),
            "leave the filter on, and write a rule with access = \"public\"; if the cluster may be \
             open, name it with --open",
        );
    }
}

/// Whether a filter is on.
struct State<'t> {
    is_on: bool,
    /// Where it is turned off.
    off: Option<Node<'t>>,
}

/// Whether a filter is on: the most specific level that names it says so.
fn state<'t>(filter: &Filter<'t>, levels: &[&Node<'t>]) -> State<'t> {
    let said = levels.iter().rev().find_map(|level| {
        let filters = level.get("typed_per_filter_config")?.entries();
        filters.into_iter().find(|(name, _)| *name == filter.name).map(|(_, said)| said)
    });
    match said {
        None => State { is_on: !filter.is_off, off: None },
        Some(said) if turns_off(&said) => State { is_on: false, off: Some(said) },
        Some(_) => State { is_on: true, off: None },
    }
}

/// Whether what a route says of a filter turns it off.
fn turns_off(said: &Node<'_>) -> bool {
    let typed = said.any();
    typed.is_some_and(|typed| {
        typed.body.may_be_on("disabled")
            || typed.body.get("config").is_some_and(|config| turns_off(&config))
    })
}

/// What a route says of a filter beside that.
fn look_at_said(said: &Node<'_>, is_of_guard: bool, report: &mut Report) {
    let Some(typed) = said.any() else { return };
    let body = typed.body;
    if typed.name.ends_with(".HeaderMutationPerRoute") {
        chain::look_at_mutations(&body, report);
    }
    if let Some(config) = body.get("config") {
        look_at_said(&config, is_of_guard, report);
    }
    if !is_of_guard {
        return;
    }
    if body.may_be_on("is_optional") {
        report.warn(
            said,
            "an Envoy that does not know the filter ignores its settings here",
            "remove is_optional",
        );
    }
    let Some(settings) = body.get("check_settings") else { return };
    asking::look_at_body(settings.get("with_request_body").as_ref(), report);
    for service in ["grpc_service", "http_service"] {
        if let Some(service) = settings.get(service) {
            report.warn(
                &service,
                "somebody else is asked on this route",
                "remove it, unless this is portcullis as well",
            );
        }
    }
}
