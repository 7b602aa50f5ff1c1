//! `ext_authz`: what is asked, of whom, and what becomes of a question without an answer.

use super::{
    names::{self, SET, WITH_UNDERSCORES, WITHOUT_UNDERSCORES, fits, is_listed},
    report::Report,
    tree::Node,
};

/// Where the module says what it has decided, and where `ext_authz` does.
pub(super) const NAMESPACE: &str = "envoy.filters.http.ext_authz";

/// Looks at the filter's own settings. `underscores_come` when headers with an
/// underscore reach it.
pub(super) fn look(body: &Node<'_>, underscores_come: bool, report: &mut Report) {
    look_at_failures(body, report);
    look_at_share(body, report);
    look_at_body(body.get("with_request_body").as_ref(), report);
    if body.is_on("clear_route_cache") {
        report.warn(
            body,
            "the route is chosen again after the check, with the headers that the answer sets: \
             the second route may configure filters differently from the first",
            "remove clear_route_cache, unless routes are chosen by these headers",
        );
    }
    look_at_changes(body, report);
    look_at_sent(body, underscores_come, report);
    look_at_answers_over_http(body, report);
}

/// A question without an answer, or with a no.
fn look_at_failures(body: &Node<'_>, report: &mut Report) {
    if body.may_be_on("failure_mode_allow") {
        let place = body.get("failure_mode_allow");
        report.error(
            place.as_ref().unwrap_or(body),
            "when portcullis cannot be asked, requests pass, with the x-user headers that the \
             client wrote",
            "write failure_mode_allow: false",
        );
    }
    if body.may_be_on("failure_mode_allow_header_add") {
        let place = body.get("failure_mode_allow_header_add");
        report.warn(
            place.as_ref().unwrap_or(body),
            "it only tells the upstream that nobody was asked, so the upstream would have to refuse",
            "remove it, and write failure_mode_allow: false",
        );
    }
    if body.may_be_on("shadow_mode") {
        let place = body.get("shadow_mode");
        report.error(
            place.as_ref().unwrap_or(body),
            "a no is noted, but the request passes",
            "remove shadow_mode; to try a rule of portcullis, give the rule mode = \"shadow\"",
        );
    }
}

/// How many of the requests are asked about.
fn look_at_share(body: &Node<'_>, report: &mut Report) {
    let denies = body.get("deny_at_disable").is_some_and(|flag| flag.is_on("default_value"));
    if let Some(enabled) = body.get("filter_enabled") {
        let is_all = enabled.get("default_value").is_some_and(|share| is_all(&share));
        let fix = "remove filter_enabled, or write deny_at_disable: { default_value: true }";
        match (is_all, denies) {
            (false, false) => report.error(
                &enabled,
                "only a part of the requests is checked, and the rest passes",
                fix,
            ),
            (true, false) => report.warn(
                &enabled,
                "a value of the runtime can turn the filter off, and then requests pass",
                fix,
            ),
            (false, true) => report.warn(
                &enabled,
                "only a part of the requests is checked, and the rest is denied",
                "remove filter_enabled",
            ),
            (true, true) => {}
        }
    }
    if denies && body.get("filter_enabled_metadata").is_some() {
        let place = body.get("deny_at_disable");
        report.warn(
            place.as_ref().unwrap_or(body),
            "a request that the module has allowed, and that is not checked again, is denied",
            "do not use deny_at_disable together with filter_enabled_metadata",
        );
    }
}

/// Whether a `FractionalPercent` is all of it.
fn is_all(share: &Node<'_>) -> bool {
    let of = if share.is_one_of("denominator", &[("TEN_THOUSAND", 1.0)]) {
        10_000.0
    } else if share.is_one_of("denominator", &[("MILLION", 2.0)]) {
        1_000_000.0
    } else {
        100.0
    };
    share.number("numerator").is_some_and(|count| count >= of)
}

/// The body that goes with a question.
pub(super) fn look_at_body(settings: Option<&Node<'_>>, report: &mut Report) {
    let Some(settings) = settings else { return };
    if settings.may_be_on("allow_partial_message") {
        report.warn(
            settings,
            "of a long body only a part is sent, which may mean something else than the whole: \
             rules that look into bodies refuse it",
            "write allow_partial_message: false",
        );
    }
}

/// Which headers the answer may change.
fn look_at_changes(body: &Node<'_>, report: &mut Report) {
    let Some(rules) = body.get("decoder_header_mutation_rules") else { return };
    let may_change = |name: &str| {
        let is_in = |field: &str| rules.get(field).is_some_and(|regex| fits(&regex, name));
        !is_in("disallow_expression")
            && (is_in("allow_expression") || !rules.may_be_on("disallow_all"))
    };
    if let Some(name) = SET.iter().find(|name| !may_change(name)) {
        report.error(
            &rules,
            format!("portcullis may not change {name}, so the client's own value passes"),
            "allow changes to headers that begin with x-user-, or remove these rules",
        );
    }
}

/// What portcullis is shown of a request: it takes off what it sees, and the four
/// headers whatever it sees.
fn look_at_sent(body: &Node<'_>, underscores_come: bool, report: &mut Report) {
    let http = body.get("http_service");
    let old =
        http.as_ref().and_then(|http| http.way(&["authorization_request", "allowed_headers"]));
    let (allowed, never) = (body.get("allowed_headers"), body.get("disallowed_headers"));
    let is_sent = |name: &str| {
        let is_allowed = match (&allowed, &http) {
            (None, None) => true,
            (None, Some(_)) => name == "authorization" || is_listed(old.as_ref(), name),
            (Some(list), _) => is_listed(Some(list), name),
        };
        is_allowed && !is_listed(never.as_ref(), name)
    };
    let place = allowed.as_ref().or(never.as_ref()).unwrap_or(body);
    let forged = WITH_UNDERSCORES.iter().find(|name| !is_sent(name));
    let fix = "send every spelling, as envoy/envoy.yaml does, or remove allowed_headers";
    if let Some(name) = forged.filter(|_| underscores_come) {
        report.error(
            place,
            format!(
                "a client's {name} is not shown to portcullis, so it cannot be removed: some \
                 upstreams read it as {}",
                name.replace('_', "-")
            ),
            format!("write headers_with_underscores_action: REJECT_REQUEST; and {fix}"),
        );
    }
    if let Some(name) = WITHOUT_UNDERSCORES.iter().find(|name| !is_sent(name)) {
        report.warn(
            place,
            format!(
                "a client's {name} is not shown to portcullis, so it cannot be removed: some \
                 upstreams may read it as a header of portcullis"
            ),
            fix,
        );
    }
    if is_sent("cookie") && !is_sent("origin") && !is_sent("sec-fetch-site") {
        report.warn(
            place,
            "portcullis is not shown which page a request comes from: a page of another site \
             could keep a session alive",
            "also send origin and sec-fetch-site",
        );
    }
}

/// Over HTTP, Envoy takes of an answer what it is told to.
fn look_at_answers_over_http(body: &Node<'_>, report: &mut Report) {
    let Some(http) = body.get("http_service") else { return };
    let answers = http.get("authorization_response");
    let list = |name: &str| answers.as_ref().and_then(|answers| answers.get(name));
    let (set, added) =
        (list("allowed_upstream_headers"), list("allowed_upstream_headers_to_append"));
    let place = answers.as_ref().unwrap_or(&http);
    if let Some(name) = SET.iter().find(|name| !is_listed(set.as_ref(), name)) {
        report.error(
            place,
            format!("{name} of the answer is not used, so the client's own value passes"),
            "add the prefix x-user- to allowed_upstream_headers, as envoy/http_service.yaml does",
        );
    }
    if let Some(name) = SET.iter().find(|name| is_listed(added.as_ref(), name)) {
        report.error(
            place,
            format!("{name} of the answer is added to the value that the client wrote"),
            "remove it from allowed_upstream_headers_to_append",
        );
    }
}

/// Whether it asks exactly where the module has not allowed.
pub(super) fn is_fallback(metadata: &Node<'_>) -> bool {
    let path = metadata.list("path");
    let is_decision = path.len() == 1
        && path.first().is_some_and(|segment| segment.text("key") == Some("decision"));
    let value = metadata.way(&["value", "string_match"]);
    metadata.text("filter") == Some(NAMESPACE)
        && is_decision
        && value.is_some_and(|value| value.text("exact") == Some("allow"))
        && metadata.is_on("invert")
}

/// Whether a filter that is not portcullis' may write what the module is believed.
pub(super) fn names_decision(body: &Node<'_>) -> bool {
    body.texts().iter().any(|(_, text)| text.contains(NAMESPACE))
}

/// A header that is set behind the decision.
pub(super) fn look_at_added(header: &Node<'_>, name: &str, report: &mut Report) {
    if names::is_identity(name) {
        report.error(
            header,
            format!("{name} is set after the decision, and overwrites what portcullis says"),
            "let only portcullis say who the caller is",
        );
    }
}
