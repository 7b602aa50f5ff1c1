//! Where nobody signs in: tokens of others are checked, and who is shut out is
//! said by the configuration alone.

use portcullis::clock::{Clock as _, SystemClock};
use serde_json::{Value, json};

use crate::{
    config::{KEY, load},
    grpc::question,
    jwt,
    mount::Mount,
    replica::Replica,
    support::eventually,
};

/// The status code of a check with this token.
async fn check(replica: &Replica, token: &str) -> i32 {
    let address = format!("http://{}", replica.check);
    let mut client = envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient::connect(address).await.unwrap();
    let bearer = format!("Bearer {token}");
    let asked = question("GET", "/api/agents", &[("authorization", &bearer)]);
    client.check(asked).await.unwrap().into_inner().status.unwrap().code
}

#[tokio::test]
async fn who_the_configuration_names_is_shut_out_until_it_is_taken_out_again() {
    let now = SystemClock.now().as_secs();
    let token = |changes: Value| jwt::token(&jwt::with(now, &changes));
    let (named, other) = (token(json!({})), token(json!({ "jti": "other" })));
    let nameless = token(json!({ "jti": null }));
    let (before, after) = (
        token(json!({ "userId": 8, "jti": "8a", "iat": now - 10 })),
        token(json!({ "userId": 8, "jti": "8b", "iat": now - 4 })),
    );
    let cut_off = humantime::format_rfc3339_seconds(
        std::time::UNIX_EPOCH + std::time::Duration::from_secs(u64::try_from(now - 5).unwrap()),
    );
    let all = [&named, &other, &nameless, &before, &after];
    let toml = |revoked: &str| {
        format!(
            "[tokens]\n{revoked}\n[[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\n\
             roles = [\"REGULAR\"]\n[lifecycle]\ndrain = \"0s\"\n"
        )
    };
    let with =
        toml(&format!("revoked = {{ ids = [\"token-1\"], users = {{ \"8\" = \"{cut_off}\" }} }}"));
    let mount = Mount::new(&[("portcullis.toml", &toml(""))]);
    let replica = Replica::serving(&mount.file("portcullis.toml"));
    // Each twice, so that it is remembered.
    for (nth, (text, expected)) in
        [(toml(""), [0; 5]), (with, [16, 0, 0, 16, 0]), (toml(""), [0; 5])].iter().enumerate()
    {
        if nth > 0 {
            mount.swap(&[("portcullis.toml", text)]);
            let reloaded = "the configuration was reloaded";
            eventually(nth, || {
                (replica.running.log().matches(reloaded).count() == nth).then_some(())
            });
        }
        for _ in 0..3 {
            for (token, expected) in all.iter().zip(expected) {
                assert_eq!(check(&replica, token).await, *expected, "{nth} {token}");
            }
        }
    }
    assert!(replica.running.log().contains("\"reason\":\"revoked\""));
}

#[test]
fn what_is_revoked_by_the_configuration_is_understood_or_a_problem() {
    let problems = |revoked: &str| -> Vec<String> {
        let problems = load(&format!("[tokens]\nrevoked = {revoked}"), &[KEY]).err();
        problems.into_iter().flatten().map(|problem| problem.key).collect()
    };
    let none: [&str; 0] = [];
    assert_eq!(problems("{}"), none);
    assert_eq!(problems("{ ids = [\"a\", \"a\"], users = { \"7\" = \"1795000000\" } }"), none);
    assert_eq!(problems("{ users = { ann = \"2026-11-25T12:00:00Z\" } }"), none);
    assert_eq!(problems("{ ids = [\"\"] }"), ["tokens.revoked.ids"]);
    assert_eq!(problems("{ ids = \"a\" }"), ["tokens.revoked.ids"]);
    for users in
        ["{ \"7\" = \"yesterday\" }", "{ \"\" = \"1795000000\" }", "[\"7\"]", "{ \"7\" = true }"]
    {
        assert_eq!(
            problems(&format!("{{ users = {users} }}")),
            ["tokens.revoked.users"],
            "{users}"
        );
    }
    assert_eq!(problems("{ jti = [] }"), ["tokens.revoked.jti"]);
    // By a variable, too.
    let by_variable = [KEY, ("PORTCULLIS__TOKENS__REVOKED", "{ ids = [\"a\"] }")];
    assert!(!load("", &by_variable).unwrap().tokens.revoked.is_empty());
}
