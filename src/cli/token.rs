//! `token mint`, `token inspect` and `token revoke`.

use std::{
    io::{self, Read as _},
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
    time::Duration,
};

use clap::Subcommand;
use portcullis::{
    app,
    authz::Reason,
    clock::{Clock as _, SystemClock, Timestamp},
    config::Config,
    token::{
        MAX_LEEWAY, Minter, NewToken, RevocationList, SessionLimits, TokenRef, UserId, Verifier,
        peek,
    },
};
use secrecy::ExposeSecret as _;
use serde_json::Value;

use super::{ConfigArgs, NO, WRONG, YES, fail, issued, keys, print, shared::Shared};

/// The most that is read from stdin: more than any token that is accepted.
const MAX_TOKEN_BYTES: u64 = 64 * 1024;

/// Makes, inspects and revokes tokens
#[derive(Debug, Subcommand)]
pub(super) enum Token {
    Mint(Mint),
    Inspect(Inspect),
    Revoke(Revoke),
}

impl Token {
    pub(super) fn run(self) -> Result<ExitCode, ExitCode> {
        match self {
            Self::Mint(mint) => mint.run(),
            Self::Inspect(inspect) => inspect.run(),
            Self::Revoke(revoke) => revoke.run(),
        }
    }
}

/// Prints a signed token, and nothing else
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  TOKEN=$(portcullis token mint --name ann --user-id 7 --role REGULAR)
  # as another issuer would make it, to see how its tokens are handled
  portcullis token mint --config portcullis.toml --issuer acme --issuer-file private.jwk.json \\
    --name ann --user-id 7 --role staff")]
pub(super) struct Mint {
    #[command(flatten)]
    config: ConfigArgs,
    /// The user's name (the claim `sub`)
    #[arg(long)]
    name: String,
    /// The user's id (the claim `userId`)
    #[arg(long)]
    user_id: String,
    /// The role, one of identity.roles; for another issuer, the name it uses for a role
    #[arg(long)]
    role: String,
    /// The user's email
    #[arg(long)]
    email: Option<String>,
    /// How long the token is valid, such as 30m or 1h
    #[arg(long, default_value = "1h", value_parser = humantime::parse_duration)]
    ttl: Duration,
    /// A private JSON Web Key of another issuer: makes a token as that issuer would
    #[arg(long, value_name = "FILE")]
    issuer_file: Option<PathBuf>,
    /// The name of that issuer; not needed if the configuration has only one
    #[arg(long, value_name = "NAME", requires = "issuer_file")]
    issuer: Option<String>,
    /// A claim of that issuer's token, as JSON or a plain string; may be given several
    /// times
    #[arg(long, value_name = "NAME=VALUE", value_parser = claim, requires = "issuer_file")]
    claim: Vec<(String, Value)>,
}

/// A claim; what is no JSON is text.
fn claim(text: &str) -> Result<(String, Value), &'static str> {
    let (name, value) = text.split_once('=').ok_or("write it as name=value")?;
    let value = serde_json::from_str(value).unwrap_or_else(|_| value.into());
    Ok((name.to_owned(), value))
}

impl Mint {
    fn run(self) -> Result<ExitCode, ExitCode> {
        if let Some(file) = &self.issuer_file {
            return self.as_another(file);
        }
        let verifier = verifier(self.config.load()?);
        let role = verifier.roles().get(&self.role).ok_or_else(|| {
            let known = verifier.roles().names().join(", ");
            fail(
                WRONG,
                format!("--role: {:?} is not a role", self.role),
                format!("use one of: {known}"),
            )
        })?;
        let user_id = UserId::new(self.user_id)
            .ok_or_else(|| fail(WRONG, "--user-id: it is empty", "give the user's id"))?;
        let token = NewToken {
            name: &self.name,
            user_id: &user_id,
            role,
            email: self.email.as_deref(),
            lifetime: self.ttl,
            login_method: None,
            session: None,
        };
        let token = Minter::new(&verifier).mint(&token, SystemClock.now()).map_err(|error| {
            fail(WRONG, error, "give a name, and a --ttl of at most tokens.max_lifetime")
        })?;
        print(token.expose_secret());
        Ok(ExitCode::from(YES))
    }
}

impl Mint {
    /// A token of another issuer.
    fn as_another(&self, file: &Path) -> Result<ExitCode, ExitCode> {
        let config = self.config.clone().load()?;
        let wanted = self.issuer.as_deref();
        let mut fitting = config
            .issuers
            .iter()
            .map(|issuer| &issuer.settings)
            .filter(|settings| wanted.is_none_or(|wanted| *settings.name == *wanted));
        let (Some(issuer), None) = (fitting.next(), fitting.next()) else {
            let names: Vec<&str> =
                config.issuers.iter().map(|issuer| &*issuer.settings.name).collect();
            let fix = format!("give --issuer, one of: {}", names.join(", "));
            return Err(fail(WRONG, "it is not clear which of [[issuers]] makes the token", fix));
        };
        let wanted = issued::Wanted {
            id: &self.user_id,
            name: &self.name,
            email: self.email.as_deref(),
            role: &self.role,
            claims: &self.claim,
            now: SystemClock.now().as_secs(),
            lifetime: i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX),
        };
        let token = issued::token(issuer, file, &wanted).map_err(|cause| {
            let cause = format!("--issuer-file: {}: {cause}", file.display());
            fail(WRONG, cause, "name a private JSON Web Key of one of the issuer's algorithms")
        })?;
        print(token);
        Ok(ExitCode::from(YES))
    }
}

/// Prints a token's claims, and whether the service would accept it
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis token inspect \"$TOKEN\"
  pbpaste | portcullis token inspect")]
pub(super) struct Inspect {
    #[command(flatten)]
    config: ConfigArgs,
    /// The token; if it is left out, stdin is read
    token: Option<String>,
}

impl Inspect {
    fn run(self) -> Result<ExitCode, ExitCode> {
        let config = self.config.load()?;
        let token = self.token.map_or_else(from_stdin, Ok)?;
        let token = token.trim();
        let (engine, trouble) = keys::engine_for(config, Some(token));
        let verifier = engine.verifier;
        if let Ok((header, claims)) = peek(token) {
            print(format_args!("header  {header}\nclaims  {claims}"));
        }
        if let Some(issuer) = verifier.issuer_named_by(token) {
            print(format_args!("issuer  {}", issuer.settings.name));
        }
        if let Some(trouble) = trouble {
            print(format_args!("keys    {trouble}"));
        }
        match verifier.verify(token, SystemClock.now()) {
            Ok(good) => {
                let (end, now) = (good.claims.expires_at, SystemClock.now());
                let whole = |span: Duration| {
                    humantime::format_duration(Duration::from_secs(span.as_secs()))
                };
                if end > now {
                    print(format_args!("accepted, for another {}", whole(end.since(now))));
                } else {
                    let past = whole(now.since(end));
                    print(format_args!("accepted, though it expired {past} ago: the leeway"));
                }
                Ok(ExitCode::from(YES))
            }
            Err(refusal) => {
                let reason = Reason::Token(refusal).as_str();
                print(format_args!("refused: {refusal} ({reason})"));
                if verifier.is_signed_in_lower_case(token) {
                    print(
                        "fix: it was signed with the lower-case form of a key, so give portcullis \
                         the secret in lower case, as the issuer uses it",
                    );
                }
                Ok(ExitCode::from(NO))
            }
        }
    }
}

/// Revokes a token, or all tokens that a user has been issued so far, on every replica
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  portcullis token revoke --config portcullis.toml \"$TOKEN\"
  portcullis token revoke --config portcullis.toml --jti 3f2a… --until 2026-12-01T00:00:00Z
  portcullis token revoke --config portcullis.toml --user-id 7")]
pub(super) struct Revoke {
    #[command(flatten)]
    config: ConfigArgs,
    /// The token
    #[arg(required_unless_present_any = ["jti", "user_id"], conflicts_with_all = ["jti", "user_id"])]
    token: Option<String>,
    /// The token's `jti`
    #[arg(long, requires = "until", conflicts_with = "user_id")]
    jti: Option<String>,
    /// The name of the issuer whose `jti` it is; the default is this service
    #[arg(long, requires = "jti", value_name = "NAME")]
    issuer: Option<String>,
    /// When the token expires: seconds since 1970, or a time in the form of RFC 3339
    #[arg(long, requires = "jti", value_parser = time)]
    until: Option<Timestamp>,
    /// The user's id
    #[arg(long)]
    user_id: Option<String>,
}

impl Revoke {
    fn run(self) -> Result<ExitCode, ExitCode> {
        let config = self.config.load()?;
        let shared = Shared::of(&config, "sign out by POST /session/logout")?;
        let limits =
            SessionLimits { lifetime: config.tokens.lifetime, absolute: config.sessions.absolute };
        let mut session = None;
        let (token, user_id) = match (self.token, self.jti.zip(self.until), self.user_id) {
            (Some(token), ..) => {
                let named;
                (named, session) = of_token(config, token.trim())?;
                (Some(named), None)
            }
            (None, Some((jti, until)), _) => {
                let of = self.issuer.as_deref();
                if let Some(name) = of.filter(|name| !has_issuer(&config, name)) {
                    let cause = format!("--issuer: there is no issuer {name:?}");
                    return Err(fail(WRONG, cause, "name one of [[issuers]], or leave it out"));
                }
                (Some((TokenRef::by_id_of(of, &jti), until)), None)
            }
            (None, None, user_id) => (None, user_id),
        };
        // It may be accepted for a leeway yet, whatever that is set to.
        let is_over = |(_, until): &(_, Timestamp)| until.plus(MAX_LEEWAY) <= SystemClock.now();
        if token.as_ref().is_some_and(is_over) {
            let fix = "there is nothing to do, unless --until is wrong";
            return Err(fail(WRONG, "the token has expired by itself", fix));
        }
        shared.ask(async |store| {
            // What was renewed of it, too: whoever has it may have what follows it.
            if let Some((session, began)) = session {
                let last = SystemClock.now().plus(limits.lifetime);
                store.revoke(session, limits.end(began).max(last)).await?;
            }
            match (token, user_id) {
                (Some((token, until)), _) => store.revoke(token, until).await,
                (None, Some(user_id)) => store.cut_off(&user_id).await.map(drop),
                (None, None) => Ok(()),
            }
        })?;
        print("revoked");
        Ok(ExitCode::from(YES))
    }
}

fn has_issuer(config: &Config, name: &str) -> bool {
    config.issuers.iter().any(|issuer| *issuer.settings.name == *name)
}

/// What names a token of ours, or of an issuer, and its end; and what names its
/// session, and when that began.
type Named = ((TokenRef, Timestamp), Option<(TokenRef, Timestamp)>);

fn of_token(config: Config, token: &str) -> Result<Named, ExitCode> {
    let (engine, trouble) = keys::engine_for(config, Some(token));
    if let Some(trouble) = trouble {
        return Err(fail(NO, trouble, "try again when it can be reached"));
    }
    let (verifier, now) = (&engine.verifier, SystemClock.now());
    let named = verifier.name_of(token, now).and_then(|named| {
        let session = verifier.session_of(token, now)?;
        Ok((named, session))
    });
    named.map_err(|refusal| {
        fail(
            WRONG,
            format!("the token does not belong to this service: {refusal}"),
            "there is nothing to do",
        )
    })
}

fn time(text: &str) -> Result<Timestamp, &'static str> {
    Timestamp::parse(text).ok_or("it is neither seconds since 1970 nor a time of RFC 3339")
}

fn from_stdin() -> Result<String, ExitCode> {
    let mut token = String::new();
    io::stdin().take(MAX_TOKEN_BYTES).read_to_string(&mut token).map_err(|error| {
        fail(WRONG, format!("stdin cannot be read: {error}"), "give the token as an argument")
    })?;
    Ok(token)
}

fn verifier(config: Config) -> Verifier {
    app::engine(config, Arc::new(RevocationList::empty())).verifier
}
