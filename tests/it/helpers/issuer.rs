//! Issuers as a configuration names them, their tokens, and who asks with them.

use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, authorization_client::AuthorizationClient, check_response::HttpResponse,
};
use portcullis::clock::{Clock as _, SystemClock};
use serde_json::json;
use tonic::transport::{Channel, Endpoint};

use crate::{
    grpc::{metadata, question},
    jwt,
    replica::Replica,
    rogue::Rogue,
    support::PATIENCE,
};

pub(crate) const AUDIENCE: &str = "https://api.example.com";

/// A replica's rules: one that everybody passes who is somebody.
pub(crate) const RULE: &str = "[[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\n\
                               roles = [\"REGULAR\", \"ADMIN\"]\n[lifecycle]\ndrain = \"0s\"\n";

/// One of `[[issuers]]`, with more keys of it.
pub(crate) fn table(name: &str, issuer: &str, more: &str) -> String {
    format!(
        "[[issuers]]\nname = {name:?}\nissuer = {issuer:?}\naudience = [{AUDIENCE:?}]\n\
         role_map = {{ staff = \"REGULAR\", admins = \"ADMIN\" }}\n{more}\n"
    )
}

/// A token of an issuer in the tests' hand, of ann of the staff, signed by its
/// nth key.
pub(crate) fn token(rogue: &Rogue, nth: usize) -> String {
    let now = SystemClock.now().as_secs();
    let claims = json!({
        "iss": rogue.issuer, "aud": AUDIENCE, "sub": "ann", "preferred_username": "ann",
        "email": "ann@example.com", "realm_access": { "roles": ["staff"] },
        "iat": now, "exp": now + 600,
    });
    rogue.signed(nth, &claims)
}

/// A token of this service itself.
pub(crate) fn own() -> String {
    jwt::token(&jwt::claims(SystemClock.now().as_secs()))
}

/// Who asks a replica, over one connection.
#[derive(Clone)]
pub(crate) struct Asker(pub(crate) AuthorizationClient<Channel>);

impl Asker {
    pub(crate) async fn of(replica: &Replica) -> Self {
        let address = format!("http://{}", replica.check);
        let channel = Endpoint::new(address).unwrap().connect().await.unwrap();
        Self(AuthorizationClient::new(channel))
    }

    pub(crate) async fn check(&self, token: &str) -> CheckResponse {
        let bearer = format!("Bearer {token}");
        let question = question("GET", "/api/agents", &[("authorization", &bearer)]);
        self.0.clone().check(question).await.unwrap().into_inner()
    }

    /// The status and the reason of a denial; of an allowance `200` and nothing.
    pub(crate) async fn ask(&self, token: &str) -> (i32, String) {
        let answer = self.check(token).await;
        if let Some(HttpResponse::DeniedResponse(denied)) = &answer.http_response {
            (denied.status.as_ref().unwrap().code, metadata(&answer, "reason"))
        } else {
            assert_eq!(answer.status.unwrap().code, 0);
            (200, String::new())
        }
    }

    /// The reason of a denial; of an allowance nothing.
    pub(crate) async fn reason(&self, token: &str) -> String {
        self.ask(token).await.1
    }

    /// Waits for this reason.
    pub(crate) async fn comes_to(&self, token: &str, reason: &str) {
        let begun = std::time::Instant::now();
        loop {
            let now = self.reason(token).await;
            if now == reason {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "it stays {now:?}, and is not {reason:?}");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }
}

impl Replica {
    async fn count(&self, sample: &str) -> u64 {
        let metrics = self.metrics().await;
        let found = metrics.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {sample} in {metrics}")).parse().unwrap()
    }

    /// How often the keys of an issuer were asked for with this result.
    pub(crate) async fn fetches(&self, issuer: &str, result: &str) -> u64 {
        let labels = format!("issuer=\"{issuer}\",result=\"{result}\"");
        self.count(&format!("portcullis_issuer_fetches_total{{{labels}}}")).await
    }

    /// Waits until they were asked for so often.
    pub(crate) async fn has_fetched(&self, issuer: &str, result: &str, times: u64) {
        let begun = std::time::Instant::now();
        while self.fetches(issuer, result).await < times {
            assert!(begun.elapsed() < PATIENCE, "{issuer} {result}: {}", self.running.log());
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    }

    /// How many keys of an issuer there are.
    pub(crate) async fn keys(&self, issuer: &str) -> u64 {
        self.count(&format!("portcullis_issuer_keys{{issuer=\"{issuer}\"}}")).await
    }

    /// The lines of the log at a warning or an error that name this issuer.
    pub(crate) fn complaints(&self, issuer: &str) -> Vec<String> {
        let log = self.running.log();
        let of = |line: &&str| {
            line.contains(&format!("\"issuer\":\"{issuer}\""))
                && (line.contains("\"WARN\"") || line.contains("\"ERROR\""))
        };
        log.lines().filter(of).map(str::to_owned).collect()
    }
}
