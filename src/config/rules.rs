//! `[[rules]]`: which requests need what.

use std::{collections::HashMap, sync::Arc};

use url::Url;

use super::{
    conditions::{self, MayRead},
    forward,
    issuers::IssuerConfig,
    reader::Section,
    surprises,
};
use crate::{
    api_key::is_scope,
    authz::{
        Access, CredentialKind, HostPattern, IssuedBy, Needs, PathPattern, Policy, Resource, Rule,
        Wants, is_method,
    },
    operation::{LlmRule, McpRule, NamePattern},
    token::{Role, RoleSet, Roles},
};

/// Reads and compiles the rules. `None` when there was a problem.
pub(super) fn read(
    root: &mut Section<'_>,
    roles: Option<&Roles>,
    public_url: Option<&Url>,
    issuers: &[IssuerConfig],
    may_read: &MayRead<'_>,
    folds_case: bool,
) -> Option<Policy> {
    let tables = root.tables("rules");
    let count = tables.len();
    if count == 0 {
        root.problem("rules", "there is no rule, so every request is denied", "write a [[rules]]");
        return None;
    }
    let mut names = HashMap::with_capacity(count);
    let read: Vec<Rule> = tables
        .into_iter()
        .enumerate()
        .filter_map(|(at, table)| {
            rule(table, (at, &mut names), roles, public_url, issuers, may_read)
        })
        .collect();
    let complete = read.len() == count;
    let policy = Policy::compile(read);
    let policy = if folds_case { policy.and_then(Policy::folding_case) } else { policy };
    match policy {
        Ok(policy) => {
            surprises::warn(root, &policy);
            complete.then_some(policy)
        }
        Err(errors) => {
            let fix = if folds_case {
                "give each rule its own name, and each host, path and method one rule; with \
                 check.case_insensitive, paths that differ only in case count as one"
            } else {
                "give each rule its own name, and each host, path and method one rule"
            };
            for error in errors {
                root.problem("rules", error.to_string(), fix);
            }
            None
        }
    }
}

/// The rule at this place. `names` are those of the rules before it, with their places, also
/// where there is more to fix in them.
fn rule(
    mut section: Section<'_>,
    (at, names): (usize, &mut HashMap<String, usize>),
    roles: Option<&Roles>,
    public_url: Option<&Url>,
    issuers: &[IssuerConfig],
    may_read: &MayRead<'_>,
) -> Option<Rule> {
    let name = section.parsed("name", "a name of at most 64 characters in ASCII", |name| {
        let fits =
            (1..=64).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| name.to_owned())
    });
    if !section.has("name") {
        section.problem("name", "the rule has no name", "name it: name = \"agents\"");
    }
    let earlier = name.as_ref().map(|name| *names.entry(name.clone()).or_insert(at));
    let earlier = earlier.filter(|earlier| *earlier != at);
    if let Some(earlier) = earlier {
        let cause = format!("rules[{earlier}] has the same name");
        section.problem("name", cause, "give each rule its own name: it appears in the logs");
    }
    let (path, variables) = path(&mut section).unzip();
    let hosts = hosts(&mut section);
    let methods = methods(&mut section);
    let needs = needs(&mut section, issuers);
    let wants = wants(&mut section);
    let resource = resource(&mut section);
    if section.has("resource") && resource.is_none() {
        return None;
    }
    let access = access(&mut section, roles);
    let asks = needs.as_ref().is_some_and(|needs| *needs != Needs::default());
    if asks && matches!(access, Some(Access::Public | Access::Deny)) {
        let cause = "a public rule, or one that denies, cannot ask for a credential";
        section.problem(
            "access",
            cause,
            "leave scopes, issuers and credentials out, or write roles",
        );
    }
    let methods_and_needs = methods.as_deref().zip(needs.as_ref()).zip(access);
    let when = match (methods_and_needs, roles) {
        (Some(((methods, needs), access)), Some(roles)) => {
            let variables: &[_] = variables.as_deref().unwrap_or_default();
            let about = conditions::About { variables, methods, needs, access, roles, issuers };
            conditions::read(&mut section, &about, may_read)
        }
        // What is wrong with the rest has been told.
        _ => section.text("when", conditions::EXPECTED).and(None),
    };
    let preflight = section.get("preflight", "true or false").unwrap_or(false);
    let forward = forward::read(&mut section, public_url);
    if section.has("forward") && forward.is_none() {
        return None;
    }
    let shadow = section
        .parsed("mode", "\"enforce\" or \"shadow\"", |mode| match mode {
            "enforce" => Some(false),
            "shadow" => Some(true),
            _ => None,
        })
        .unwrap_or(false);
    if preflight && (shadow || access == Some(Access::Deny)) {
        section.problem(
            "preflight",
            "a rule that denies, or does not decide, cannot allow a preflight",
            "remove it",
        );
    }
    section.finish();
    Some(Rule {
        name: name.filter(|_| earlier.is_none())?,
        hosts: hosts?,
        path: path?,
        methods: methods?,
        access: access?,
        needs: needs?,
        wants: wants?,
        resource,
        when,
        variables: variables?,
        preflight,
        forward,
        shadow,
        number: 0,
    })
}

/// The path, and the variables of its template.
fn path(section: &mut Section<'_>) -> Option<(PathPattern, Vec<(usize, String)>)> {
    let mut given = Vec::new();
    for key in ["path", "path_prefix", "path_template"] {
        if let Some(text) = section.text(key, "a path such as \"/api/agents\"") {
            given.push((key, text));
        }
    }
    let [(key, text)] = given.as_slice() else {
        let cause = format!("the rule has {} paths", given.len());
        section.problem("", cause, "write one of path, path_prefix and path_template");
        return None;
    };
    if *key != "path_template" && text.contains(['{', '}']) {
        let cause = format!("the braces in {text:?} are literal here, not variables");
        section.warn(key, cause, "write path_template for variables, or %7B for a brace");
    }
    let pattern = match *key {
        "path" => PathPattern::exact(text),
        "path_prefix" => PathPattern::prefix(text),
        _ => PathPattern::template(text),
    };
    let pattern =
        pattern.map_err(|error| section.problem(key, error.to_string(), error.fix())).ok()?;
    let is_template = matches!(pattern, PathPattern::Template(_));
    let variables = if is_template { PathPattern::variables(text) } else { Vec::new() };
    Some((pattern, variables))
}

fn hosts(section: &mut Section<'_>) -> Option<Vec<HostPattern>> {
    let Some(texts) = section.get::<Vec<String>>("hosts", "a list of hosts") else {
        // Not given is any host; given and not a list is a problem.
        return (!section.has("hosts")).then(|| vec![HostPattern::Any]);
    };
    if texts.is_empty() {
        section.problem("hosts", "the list is empty", "list a host, or remove the key for any");
        return None;
    }
    let mut hosts = Vec::with_capacity(texts.len());
    for text in texts {
        match HostPattern::parse(&text) {
            Ok(host) => hosts.push(host),
            Err(error) => {
                section.problem("hosts", error.to_string(), error.fix());
                return None;
            }
        }
    }
    hosts.sort();
    hosts.dedup();
    Some(hosts)
}

fn methods(section: &mut Section<'_>) -> Option<Vec<String>> {
    let Some(mut methods) = section.get::<Vec<String>>("methods", "a list such as [\"GET\"]")
    else {
        return (!section.has("methods")).then(Vec::new);
    };
    if methods.is_empty() || !methods.iter().all(|method| is_method(method.as_bytes())) {
        section.problem(
            "methods",
            "methods are written in capitals, and an empty list matches no method",
            "write a list such as [\"GET\", \"POST\"], or remove the key for any",
        );
        return None;
    }
    methods.sort();
    methods.dedup();
    Some(methods)
}

/// `scopes`, `issuers` and `credentials`; `None` when there was a problem.
fn needs(section: &mut Section<'_>, known: &[IssuerConfig]) -> Option<Needs> {
    let names: Vec<&str> = known.iter().map(|issuer| &*issuer.settings.name).collect();
    let issuer = |text: &str| match text {
        "own" => Some(IssuedBy::Own),
        _ => names.contains(&text).then(|| IssuedBy::Issuer(text.to_owned())),
    };
    let scopes = section.parsed_list("scopes", "a scope, without blanks and quotes", |text| {
        is_scope(text).then(|| text.to_owned())
    });
    let expected = format!("one of: {}", [&["own"], &names[..]].concat().join(", "));
    let issuers = section.parsed_list("issuers", &expected, issuer);
    let kind = |text: &str| match text {
        "token" => Some(CredentialKind::Token),
        "api-key" => Some(CredentialKind::ApiKey),
        _ => None,
    };
    let credentials = section.parsed_list("credentials", "\"token\" or \"api-key\"", kind);
    let asked = [
        ("scopes", scopes.is_empty()),
        ("issuers", issuers.is_empty()),
        ("credentials", credentials.is_empty()),
    ];
    for (key, is_empty) in asked {
        if section.has(key) && is_empty {
            section.problem(
                key,
                "the list is empty",
                "name what the rule asks for, or leave the list out",
            );
            return None;
        }
    }
    Some(Needs { scopes, issuers, credentials })
}

/// `resource`: what clients are told of where to get a token.
fn resource(section: &mut Section<'_>) -> Option<Arc<Resource>> {
    let is_given = section.has("resource");
    let mut table = section.table("resource");
    let url = table.text("url", "an address such as \"https://gw.example.com/mcp\"");
    // As it calls itself, to the letter.
    let server = |text: &str| {
        let url = Url::parse(text).ok()?;
        let is_plain = url.query().is_none() && url.fragment().is_none();
        (matches!(url.scheme(), "https" | "http") && is_plain).then(|| text.to_owned())
    };
    let servers = table.parsed_list("authorization_servers", "an issuer's address", server);
    let scope = |text: &str| is_scope(text).then(|| text.to_owned());
    let scopes = table.parsed_list("scopes_supported", "a scope, without blanks and quotes", scope);
    let name = table.text("name", "a name for people");
    let resource = Resource::new(&url.unwrap_or_default(), &servers, &scopes, name.as_deref());
    let resource = match resource {
        _ if !is_given => None,
        Ok(resource) => Some(Arc::new(resource)),
        Err(error) => {
            let fix = "write url = \"https://gw.example.com/mcp\", as clients write it, and the \
                        issuers in authorization_servers";
            table.problem("", error.to_string(), fix);
            None
        }
    };
    table.finish();
    resource
}

/// `mcp` and `llm`: what a request has to ask for.
#[expect(clippy::option_option, reason = "a problem, nothing, or something")]
fn wants(section: &mut Section<'_>) -> Option<Option<Wants>> {
    const EXPECTED: &str = "a name, or the beginning of names with a * at its end";
    let name = |text: &str| NamePattern::parse(text).ok();
    let (has_mcp, has_llm) = (section.has("mcp"), section.has("llm"));
    let mut mcp = section.table("mcp");
    let mcp_rule = McpRule {
        methods: mcp.parsed_list("methods", EXPECTED, name),
        tools: mcp.parsed_list("tools", EXPECTED, name),
    };
    let mut llm = section.table("llm");
    let llm_rule = LlmRule {
        models: llm.parsed_list("models", EXPECTED, name),
        max_tokens: llm.get("max_tokens", "a number of tokens"),
    };
    let calls_tools = mcp_rule.methods.is_empty()
        || mcp_rule.methods.iter().any(|method| method.matches("tools/call"));
    if has_mcp && mcp_rule.methods.is_empty() && mcp_rule.tools.is_empty() {
        mcp.problem("", "it names nothing", "name methods or tools, or remove the table");
    } else if has_mcp && !mcp_rule.tools.is_empty() && !calls_tools {
        let cause = "tools are called only with tools/call, which is not among the methods";
        mcp.problem("methods", cause, "add \"tools/call\", or leave methods out");
    }
    if has_llm && llm_rule.models.is_empty() && llm_rule.max_tokens.is_none() {
        llm.problem("", "it names nothing", "name models or max_tokens, or remove the table");
    }
    mcp.finish();
    llm.finish();
    match (has_mcp, has_llm) {
        (true, true) => {
            let cause = "no request goes to both an MCP server and a model";
            section.problem("llm", cause, "write two rules");
            None
        }
        (true, false) => Some(Some(Wants::Mcp(mcp_rule))),
        (false, true) => Some(Some(Wants::Llm(llm_rule))),
        (false, false) => Some(None),
    }
}

fn access(section: &mut Section<'_>, roles: Option<&Roles>) -> Option<Access> {
    const FIX: &str = "write roles = [...], or access = \"public\", \"authenticated\" or \"deny\"";
    let named: Option<Vec<String>> = section.get("roles", "a list of roles");
    let access = section.parsed("access", "\"public\", \"authenticated\" or \"deny\"", |access| {
        Some(match access {
            "public" => Access::Public,
            "authenticated" => Access::Authenticated,
            "deny" => Access::Deny,
            _ => return None,
        })
    });
    if section.has("roles") && section.has("access") {
        section.problem("access", "the rule has both roles and access", FIX);
        return None;
    }
    match named {
        // Whoever has what else it asks for.
        None if !section.has("roles") && !section.has("access") => {
            let asks =
                ["scopes", "issuers", "credentials", "when"].iter().any(|key| section.has(key));
            if !asks {
                section.problem("", "the rule does not say who may pass", FIX);
            }
            asks.then_some(Access::Authenticated)
        }
        None => access,
        Some(named) if named.is_empty() => {
            section.problem("roles", "the list is empty", FIX);
            None
        }
        Some(named) => role_set(section, &named, roles?).map(Access::Roles),
    }
}

fn role_set(section: &Section<'_>, named: &[String], roles: &Roles) -> Option<RoleSet> {
    let mut set: Vec<Role> = Vec::with_capacity(named.len());
    for name in named {
        match roles.get(name) {
            Some(role) => set.push(role),
            None => section.problem(
                "roles",
                format!("{name:?} is not one of identity.roles"),
                format!("use one of: {}", roles.names().join(", ")),
            ),
        }
    }
    (set.len() == named.len()).then(|| set.into_iter().collect())
}
