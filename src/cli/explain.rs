//! `explain`.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
};

use portcullis::{
    authz::{
        Access, CheckInput, Decision, Engine, Forward, Header, Headers, NormalPath, Notes, Reason,
        Verdict,
    },
    clock::{Clock as _, SystemClock},
    config::Config,
};
use serde_json::{Value, json};

use super::{ConfigArgs, NO, WRONG, YES, advice::advice, fail, keys, print, test::Bench};

/// Shows what the service would decide about a request, and why. It does not know which
/// tokens were revoked while the service runs
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis explain /api/agents
  portcullis explain --method POST --host app.example.com \\
    -H \"authorization: Bearer $TOKEN\" /api/agents/7?verbose=1
  portcullis explain --claims ann.json --context plan=gold /users/7/runs")]
pub(super) struct Explain {
    #[command(flatten)]
    config: ConfigArgs,
    /// The request's method
    #[arg(long, default_value = "GET")]
    method: String,
    /// The request's host
    #[arg(long, default_value = "localhost")]
    host: String,
    /// A header of the request; may be given several times
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// A token, sent as `Authorization: Bearer`
    #[arg(long, conflicts_with = "claims")]
    token: Option<String>,
    /// A JSON file with the claims of a valid token: one of this service, or of the
    /// issuer that `iss` names
    #[arg(long, value_name = "FILE")]
    claims: Option<PathBuf>,
    /// A context value that the gateway's route sends; may be given several times
    #[arg(long, value_name = "NAME=VALUE", value_parser = pair)]
    context: Vec<(String, String)>,
    /// Prints the answer as JSON
    #[arg(long)]
    json: bool,
    /// The request's path, with its query
    path: String,
}

impl Explain {
    pub(super) fn run(mut self) -> Result<ExitCode, ExitCode> {
        let config = self.config.clone().load()?;
        if !config.has_own_rules {
            let _ = writeln!(
                io::stderr(),
                "note: the configuration has no rules of its own, so the two built-in rules decide: name yours with --config"
            );
        }
        let engine = self.engine(config)?;
        let headers =
            self.headers.iter().map(|(name, value)| Header { name, value: value.as_bytes() });
        let input = CheckInput {
            method: &self.method,
            scheme: "https",
            host: &self.host,
            path: &self.path,
            headers: Headers::new(headers.collect(), Vec::new()),
            context: self.context.iter().map(|(name, value)| (&**name, &**value)).collect(),
            ..CheckInput::default()
        };
        let notes = Notes::default();
        let decision = engine.decide_noting(&input, SystemClock.now(), Some(&notes));
        let read = notes.into_inner();
        if self.json {
            print(in_json(&decision, &engine, read));
        } else {
            print(in_words(&decision, &engine, &input, &read).trim_end());
        }
        Ok(ExitCode::from(if decision.is_allowed() { YES } else { NO }))
    }
}

impl Explain {
    /// The engine, with the keys of whichever issuer the request's token names; or
    /// with one of this run alone, which has signed the claims that are given.
    fn engine(&mut self, config: Config) -> Result<Engine, ExitCode> {
        if let Some(file) = self.claims.take() {
            let fix = "give a JSON object such as {\"sub\": \"ann\", \"userId\": 7, \"role\": \"REGULAR\"}";
            let wrong = |cause: String| fail(WRONG, format!("{}: {cause}", file.display()), fix);
            let text = fs::read_to_string(&file).map_err(|error| wrong(error.to_string()))?;
            let claims = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
            let bench = Bench::new(config).map_err(|cause| wrong(cause.to_owned()))?;
            self.token = Some(bench.signed(claims));
            self.bring_token();
            return Ok(bench.engine);
        }
        self.bring_token();
        let parameter = format!("{}=", config.tokens.query_parameter);
        let in_query = self.path.split(['?', '&']).find_map(|pair| pair.strip_prefix(&*parameter));
        let words = self.headers.iter().flat_map(|(_, value)| value.split([' ', '=', ';', ',']));
        // Whatever it is, only an issuer of the configuration is asked.
        let token = words.chain(in_query).find(|word| word.starts_with("eyJ"));
        let (engine, trouble) = keys::engine_for(config, token);
        if let Some(trouble) = trouble {
            let _ = writeln!(io::stderr(), "warning: {trouble}");
        }
        Ok(engine)
    }

    fn bring_token(&mut self) {
        let header = |token| ("authorization".to_owned(), format!("Bearer {token}"));
        self.headers.extend(self.token.take().map(header));
    }
}

fn header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as \"name: value\"")?;
    http::HeaderName::try_from(name.trim())
        .map_err(|_| format!("{name:?} is not the name of a header"))?;
    Ok((name.trim().to_owned(), value.trim().to_owned()))
}

fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    Ok((name.to_owned(), value.to_owned()))
}

/// A header that is set; a credential is not shown.
fn shown<'a>(name: &str, value: &'a str, decision: &Decision<'_>, engine: &Engine) -> &'a str {
    let own = decision.rule.and_then(|rule| rule.forward.as_ref());
    match (name, own.unwrap_or(&engine.credentials.forward)) {
        ("authorization", Forward::Minted(_)) => "(a token of a minute, made for the upstream)",
        ("authorization" | "cookie", _) => "(as sent)",
        _ => value,
    }
}

fn in_words(
    decision: &Decision<'_>,
    engine: &Engine,
    input: &CheckInput<'_>,
    read: &[(String, Option<String>)],
) -> String {
    let mut text = String::new();
    let mut line = |key: &str, value: &str| {
        let _ = writeln!(text, "{key:<9}{value}");
    };
    line("decision", decision.name());
    line("rule", decision.rule_name().unwrap_or("none"));
    if let Some(principal) = &decision.principal {
        let claims = &principal.claims;
        line("user", &format!("{} (id {}, {})", claims.name, claims.user_id, principal.role));
        if let Some(issuer) = &claims.issued_by {
            line("issuer", issuer);
        }
    }
    if let Some(id) = decision.key_id {
        line("key", &id.to_string());
    }
    for (name, value) in read {
        match value {
            Some(value) => line("read", &format!("{name} = {value}")),
            None => line("read", &format!("{name} is not there")),
        }
    }
    match &decision.verdict {
        Verdict::Allow(grant) => {
            for (name, value) in &grant.set {
                line("set", &format!("{name}: {}", shown(name, value, decision, engine)));
            }
            for name in &grant.remove {
                line("remove", name);
            }
            for parameter in &grant.remove_query {
                line("remove", &format!("?{parameter}="));
            }
        }
        Verdict::Deny(denial) => {
            line("reason", denial.reason.as_str());
            if let (Reason::BadPath, Err(cause)) =
                (denial.reason, NormalPath::parse(input.path_and_query().0, engine.path_allow))
            {
                line("because", &cause.to_string());
            }
            if let Some(cause) = denial.reason.cause() {
                line("because", cause);
            }
            if let (Reason::Role, Some(wanted)) = (denial.reason, wanted_roles(decision, engine)) {
                line("because", &wanted);
            }
            if let Some(unmet) = &decision.unmet {
                line("because", &unmet.to_string());
            }
            line("status", &denial.status().to_string());
            for (name, value) in denial.headers() {
                line("answer", &format!("{name}: {value}"));
            }
            line("fix", advice(denial.reason));
        }
        Verdict::Answer(answer) => {
            line("status", &answer.status.to_string());
            line("answer", answer.body);
        }
    }
    for rule in &decision.shadow {
        line("shadow", &format!("{rule} would have denied"));
    }
    text
}

/// Which roles the rule takes, and which is the user's.
fn wanted_roles(decision: &Decision<'_>, engine: &Engine) -> Option<String> {
    let Access::Roles(wanted) = &decision.rule?.access else { return None };
    let names: Vec<&str> = engine.verifier.roles().names_in(*wanted).collect();
    let role = decision.principal.as_ref()?.role;
    Some(format!("the rule takes {}, and the user is {role}", names.join(", ")))
}

fn in_json(decision: &Decision<'_>, engine: &Engine, read: Vec<(String, Option<String>)>) -> Value {
    let principal = decision.principal.as_ref();
    let mut value = json!({
        "decision": decision.name(),
        "rule": decision.rule_name(),
        "reason": decision.reason().map(Reason::as_str),
        "shadow": decision.shadow,
        "values_read": read.into_iter().map(|(name, value)| (name, value.into()))
            .collect::<serde_json::Map<_, _>>(),
        "condition": decision.unmet.as_ref().map(|unmet| json!({
            "part": unmet.part,
            "failure": unmet.failure,
        })),
        "key_id": decision.key_id.map(|id| id.to_string()),
        "user": principal.map(|principal| json!({
            "id": principal.claims.user_id.as_str(),
            "name": principal.claims.name,
            "email": principal.claims.email,
            "role": principal.role,
            "issuer": principal.claims.issued_by.as_deref().unwrap_or("own"),
        })),
    });
    let more = match &decision.verdict {
        Verdict::Allow(grant) => json!({
            "status": 200,
            "headers_set": grant.set.iter()
                .map(|(name, value)| ((*name).to_owned(), shown(name, value, decision, engine).into()))
                .collect::<serde_json::Map<_, _>>(),
            "headers_removed": grant.remove,
            "query_parameters_removed": grant.remove_query,
        }),
        Verdict::Deny(denial) => json!({
            "status": denial.status(),
            "answer_headers": denial.headers().into_iter()
                .map(|(name, value)| (name.to_owned(), value.into()))
                .collect::<serde_json::Map<_, _>>(),
            "fix": advice(denial.reason),
        }),
        Verdict::Answer(answer) => json!({
            "status": answer.status,
            "answer_headers": answer.headers.iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).into()))
                .collect::<serde_json::Map<_, _>>(),
            "answer": answer.body,
        }),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}
