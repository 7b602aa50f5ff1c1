//! Sessions as people and operators see them: which there are, and how they end on
//! every replica.

use std::time::Duration;

use portcullis::token::peek;
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use crate::{
    redis::{Redis, cli},
    replica::{CONTROL_PLANE, OPEN, PASSWORD, Replica, answer, body},
    replicas::{check, pair, until},
    support::{minted, output, portcullis},
};

/// How long it may take until a session has ended everywhere.
const AT_MOST: Duration = Duration::from_secs(1);

/// A sign-in by this browser: its token.
async fn sign_in(replica: &Replica, name: &str, agent: &str) -> String {
    let request = replica.post("/session", &body(name, PASSWORD)).header("user-agent", agent);
    let (status, signed_in) = answer(request.send().await.unwrap()).await;
    assert_eq!(status, 200, "{signed_in}");
    signed_in["token"].as_str().unwrap().to_owned()
}

pub(crate) fn sid(token: &str) -> String {
    peek(token).unwrap().1["sid"].as_str().unwrap().to_owned()
}

pub(crate) fn request(replica: &Replica, method: Method, path: &str) -> RequestBuilder {
    replica.client.request(method, replica.url(path))
}

pub(crate) async fn sessions(replica: &Replica, token: &str) -> Vec<Value> {
    let all = request(replica, Method::GET, "/session/all").bearer_auth(token);
    let (status, all) = answer(all.send().await.unwrap()).await;
    assert_eq!(status, 200, "{all}");
    all["sessions"].as_array().unwrap().clone()
}

pub(crate) fn names(sessions: &[Value]) -> Vec<&str> {
    sessions.iter().map(|session| session["sid"].as_str().unwrap()).collect()
}

async fn delete(replica: &Replica, sid: &str, token: &str) -> (u16, Value) {
    let path = format!("/session/{sid}");
    answer(request(replica, Method::DELETE, &path).bearer_auth(token).send().await.unwrap()).await
}

#[tokio::test]
async fn each_sign_in_is_shown_and_can_be_ended_by_its_user_alone() {
    let replica = Replica::start(OPEN).ready().await;
    let long = "L".repeat(300);
    let one = sign_in(&replica, "ann", "One/1.0").await;
    let two = sign_in(&replica, "ann", &long).await;
    let other = sign_in(&replica, "Zoë", "Other/1.0").await;

    let all = sessions(&replica, &one).await;
    assert_eq!(all.len(), 2);
    let of = |sid: &str| all.iter().find(|session| session["sid"] == sid).unwrap();
    let (own, second) = (of(&sid(&one)), of(&sid(&two)));
    let begun = peek(&one).unwrap().1["auth_time"].as_i64().unwrap();
    assert_eq!(
        own,
        &json!({
            "sid": sid(&one), "current": true, "method": "password", "agent": "One/1.0",
            "address": "127.0.0.1", "begun": begun, "seen": begun, "ends": begun + 7 * 24 * 3600,
        })
    );
    assert_eq!((&second["current"], &second["agent"]), (&json!(false), &json!("L".repeat(256))));

    // Nobody else's, nor one that is none.
    for bad in [sid(&other), "0".repeat(32), "%00".into(), "all2".into()] {
        let (status, told) = delete(&replica, &bad, &one).await;
        assert_eq!((status, &told["error"]["type"]), (404, &json!("not_found_error")), "{bad}");
    }
    assert_eq!(delete(&replica, &sid(&one), "junk").await.0, 401);
    assert_eq!(replica.session(&other).await, 200);

    assert_eq!(delete(&replica, &sid(&two), &one).await.0, 200);
    assert_eq!((replica.session(&one).await, replica.session(&two).await), (200, 401));
    assert_eq!(names(&sessions(&replica, &one).await), [sid(&one)]);
    assert_eq!(delete(&replica, &sid(&two), &one).await.0, 404, "once");

    // One's own takes the cookie away.
    let path = format!("/session/{}", sid(&one));
    let ended = request(&replica, Method::DELETE, &path).bearer_auth(&one).send().await.unwrap();
    assert!(ended.headers()["set-cookie"].to_str().unwrap().ends_with("Max-Age=0"));
    assert_eq!(replica.session(&one).await, 401);
    replica.says("\"event\":\"session_begin\"");
    replica.says("\"cause\":\"ended_by_user\"");
}

#[tokio::test]
async fn signing_out_of_all_ends_all_and_of_one_that_one() {
    let replica = Replica::start(OPEN).ready().await;
    let mut tokens = Vec::new();
    for n in 0..4 {
        tokens.push(sign_in(&replica, "ann", &format!("Browser/{n}")).await);
    }
    let other = sign_in(&replica, "Zoë", "Other/1.0").await;
    assert_eq!(replica.logout(&tokens[0]).await.0, 200);
    assert_eq!(sessions(&replica, &tokens[1]).await.len(), 3);

    let all = |query: &str, token: &str| {
        let path = format!("/session/logout?{query}");
        request(&replica, Method::POST, &path).bearer_auth(token).send()
    };
    for bad in ["all=yes", "all=", "all=true&all=true", "all=false&all=true"] {
        let (status, told) = answer(all(bad, &tokens[1]).await.unwrap()).await;
        assert_eq!((status, &told["error"]["param"]), (400, &json!("all")), "{bad}");
    }
    assert_eq!(all("all=true", &tokens[0]).await.unwrap().status(), 401, "it has ended");
    assert_eq!(replica.session(&tokens[2]).await, 200);

    assert_eq!(all("all=true", &tokens[1]).await.unwrap().status(), 200);
    for token in &tokens {
        assert_eq!(replica.session(token).await, 401);
    }
    assert_eq!(replica.session(&other).await, 200);
    assert_eq!(sessions(&replica, &other).await.len(), 1);
}

#[tokio::test]
async fn a_token_is_renewed_as_it_was_shown() {
    let replica = Replica::start(OPEN).ready().await;
    let token = sign_in(&replica, "ann", "One/1.0").await;
    let renew = || request(&replica, Method::POST, "/session/renew");
    // There is none that lives longer within the second.
    let (status, renewed) = answer(renew().bearer_auth(&token).send().await.unwrap()).await;
    assert_eq!(status, 200);
    let left = renewed["expires_in"].as_i64().unwrap();
    assert!((8 * 3600 - 5..=8 * 3600).contains(&left), "{left}");

    until("a second to pass", async || {
        let answer = answer(renew().bearer_auth(&token).send().await.unwrap()).await.1;
        answer["token"] != json!(token)
    })
    .await;
    let (_, renewed) = answer(renew().bearer_auth(&token).send().await.unwrap()).await;
    let new = renewed["token"].as_str().unwrap();
    assert_eq!((sid(new), replica.session(new).await), (sid(&token), 200));

    // The cookie, from a page of this service alone.
    let by_cookie = || renew().header("cookie", format!("token={token}"));
    assert_eq!(by_cookie().send().await.unwrap().status(), 403);
    let own = by_cookie().header("sec-fetch-site", "same-origin").send().await.unwrap();
    let cookie = own.headers()["set-cookie"].to_str().unwrap().to_owned();
    assert_eq!(cookie, format!("token={new}; Path=/; HttpOnly; SameSite=Lax"));
    let (status, told) = answer(own).await;
    assert_eq!((status, told.get("token")), (200, None));
    assert!(told["expires_in"].is_i64());

    // One of no session, and none.
    let minted = minted("REGULAR", None);
    let (status, told) = answer(renew().bearer_auth(&minted).send().await.unwrap()).await;
    assert_eq!((status, &told["error"]["type"]), (400, &json!("invalid_request_error")));
    assert_eq!(sessions(&replica, &minted).await.len(), 1);
    assert_eq!(renew().send().await.unwrap().status(), 401);

    // Out, also with the one that was renewed.
    assert_eq!(replica.logout(new).await.0, 200);
    assert_eq!((replica.session(new).await, replica.session(&token).await), (401, 401));
    assert_eq!(renew().bearer_auth(&token).send().await.unwrap().status(), 401);

    let never = Replica::start(&format!("sessions.renew = false\n{OPEN}")).ready().await;
    let token = sign_in(&never, "ann", "One/1.0").await;
    let refused = request(&never, Method::POST, "/session/renew").bearer_auth(&token);
    assert_eq!(refused.send().await.unwrap().status(), 400);
}

#[tokio::test]
async fn the_control_planes_page_may_list_renew_and_end() {
    let replica = Replica::start(OPEN).ready().await;
    let token = sign_in(&replica, "ann", "One/1.0").await;
    let path = format!("/session/{}", sid(&token));
    let preflight = request(&replica, Method::OPTIONS, &path)
        .header("origin", CONTROL_PLANE)
        .header("access-control-request-method", "DELETE");
    let preflight = preflight.send().await.unwrap();
    let allowed = preflight.headers()["access-control-allow-methods"].to_str().unwrap();
    assert_eq!(allowed, "GET, POST, DELETE, OPTIONS");
    for (origin, expected) in [("https://evil.example.com", 403), (CONTROL_PLANE, 200)] {
        for (method, path) in [
            (Method::GET, "/session/all"),
            (Method::POST, "/session/renew"),
            (Method::DELETE, &path),
        ] {
            let request = request(&replica, method, path).bearer_auth(&token);
            let response = request.header("origin", origin).send().await.unwrap();
            assert_eq!(response.status(), expected, "{origin} {path}");
            let allowed = response.headers().get("access-control-allow-origin");
            assert_eq!(allowed.is_some(), expected == 200);
        }
    }
}

#[tokio::test]
async fn the_oldest_of_too_many_ends() {
    let replica = Replica::start(OPEN).ready().await;
    let first = sign_in(&replica, "ann", "first").await;
    // The others begin in a later second.
    renewed(&replica, &first).await;
    let mut last = String::new();
    for _ in 0..100 {
        last = sign_in(&replica, "ann", "more").await;
    }
    assert_eq!((replica.session(&first).await, replica.session(&last).await), (401, 200));
    let all = sessions(&replica, &last).await;
    assert_eq!(all.len(), 100);
    assert!(all.iter().all(|session| session["agent"] == "more"));
    replica.says("\"cause\":\"too_many\"");
}

/// Another token of the same session.
pub(crate) async fn renewed(replica: &Replica, token: &str) -> String {
    let mut new = token.to_owned();
    until("another token", async || {
        let renew = request(replica, Method::POST, "/session/renew").bearer_auth(token);
        let (_, answer) = answer(renew.send().await.unwrap()).await;
        answer["token"].as_str().unwrap().clone_into(&mut new);
        new != token
    })
    .await;
    new
}

/// Runs `portcullis session` with the configuration of a replica.
fn command(replica: &Replica, arguments: &[&str]) -> (i32, String, String) {
    let mut command = portcullis();
    command.arg("session").args(arguments);
    command.args(["--config", replica.config_file.to_str().unwrap()]);
    let out = output(&mut command, "");
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (out.status.code().unwrap(), text(out.stdout), text(out.stderr))
}

#[tokio::test]
async fn whatever_ends_a_session_ends_it_on_every_replica_within_a_second() {
    let redis = Redis::single();
    let (a, b) = pair(&redis).await;
    let everywhere = async |what: &str, tokens: &[&str]| {
        let took = until(what, async || {
            for token in tokens {
                if check(&a, token).await == 0 || check(&b, token).await == 0 {
                    return false;
                }
            }
            true
        });
        let took = took.await;
        assert!(took < AT_MOST, "{what}: {took:?}");
    };
    // A sign-out, also of what another replica has renewed.
    let token = a.token("ann").await;
    let new = renewed(&b, &token).await;
    assert_eq!((check(&a, &new).await, check(&b, &token).await), (0, 0));
    assert_eq!(a.logout(&token).await.0, 200);
    everywhere("the sign-out", &[&token, &new]).await;

    // By another session of the user.
    let (token, own) = (a.token("ann").await, b.token("ann").await);
    assert_eq!(names(&sessions(&b, &own).await).len(), 2, "the others have ended");
    assert_eq!(delete(&b, &sid(&token), &own).await.0, 200);
    everywhere("the end by another session", &[&token]).await;
    assert_eq!((check(&a, &own).await, check(&b, &own).await), (0, 0));

    // By an operator: one, and all.
    let (code, shown, _) = command(&a, &["list", "--user-id", "7"]);
    assert_eq!(code, 0);
    assert!(
        shown.starts_with(&format!("{} user 7 by password from 127.0.0.1", sid(&own))),
        "{shown}"
    );
    assert_eq!(shown.lines().count(), 1);
    let new = renewed(&b, &own).await;
    let (code, told, _) = command(&a, &["end", "--sid", &sid(&own)]);
    assert_eq!((code, told), (0, format!("ended {}\n", sid(&own))));
    everywhere("the operator's end", &[&own, &new]).await;
    let (code, _, error) = command(&a, &["end", "--sid", &sid(&own)]);
    assert_eq!(code, 1);
    assert!(error.contains("there is no such session") && error.contains("fix: "), "{error}");
    let (one, two) = (a.token("ann").await, b.token("ann").await);
    assert_eq!(command(&a, &["end", "--user-id", "7"]).0, 0);
    everywhere("the operator's end of all", &[&one, &two]).await;
    assert_eq!(command(&a, &["list", "--user-id", "7"]).0, 1);
    assert_eq!(command(&a, &["list"]).0, 2);

    // A token that is revoked takes what was renewed of it along.
    let token = a.token("ann").await;
    let new = renewed(&b, &token).await;
    let mut revoke = portcullis();
    revoke.args(["token", "revoke", "--config", a.config_file.to_str().unwrap(), &token]);
    assert!(output(&mut revoke, "").status.success());
    everywhere("the revocation", &[&token, &new]).await;

    // No key tells whose it is.
    let keys = cli(redis.port, &["KEYS", "*"]);
    assert!(!keys.contains(&sid(&token)) && !keys.contains("ann"), "{keys}");

    let alone = Replica::start(OPEN).ready().await;
    let (code, _, error) = command(&alone, &["list", "--user-id", "7"]);
    assert_eq!(code, 2);
    assert!(error.contains("the store is the memory of another process"), "{error}");
}

#[tokio::test]
async fn with_the_store_away_nobody_signs_in_and_no_session_is_said_to_have_ended() {
    let mut redis = Redis::single();
    let (a, _b) = pair(&redis).await;
    let token = a.token("ann").await;
    redis.stop();
    let bearer = |method, path: &str| request(&a, method, path).bearer_auth(&token).send();
    let own = format!("/session/{}", sid(&token));
    for (method, path) in [
        (Method::GET, "/session/all"),
        (Method::DELETE, &*own),
        (Method::POST, "/session/logout"),
        (Method::POST, "/session/logout?all=true"),
    ] {
        assert_eq!(bearer(method, path).await.unwrap().status(), 503, "{path}");
    }
    let signed_in = a.post("/session", &body("ann", PASSWORD)).send().await.unwrap();
    assert_eq!(signed_in.status(), 503);
    // What needs no store goes on.
    assert_eq!(bearer(Method::POST, "/session/renew").await.unwrap().status(), 200);
    assert_eq!(check(&a, &token).await, 0);
}
