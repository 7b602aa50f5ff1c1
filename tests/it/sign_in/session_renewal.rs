//! When a check brings the cookie anew, and what the new one says.

use std::{collections::HashSet, sync::Arc, thread};

use portcullis::{
    authz::Engine,
    clock::Timestamp,
    token::{Revocation, RevocationList, TokenRef, peek},
};
use serde_json::{Value, json};

use crate::{
    ask::{Ask, NOW, Out, ask, config, engine},
    jwt,
    support::{output, portcullis},
};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;
const SID: &str = "00112233445566778899aabbccddeeff";

/// The engine of a service that renews, by these settings.
fn renewing(toml: &str) -> Engine {
    let mut engine = engine(&format!("http.public_url = \"https://app.example.com\"\n{toml}"));
    engine.sessions.renews = true;
    engine
}

/// The claims of a token of a sign-in at `NOW`, with these changed.
fn claims(changes: &Value) -> Value {
    let mut all = json!({ "sid": SID, "auth_time": NOW, "exp": NOW + 8 * HOUR });
    all.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
    jwt::with(NOW, &all)
}

fn token(changes: &Value) -> String {
    jwt::token(&claims(changes))
}

fn with_cookie(token: &str) -> Ask {
    ask("GET", "/api/agents").with("cookie", &format!("a=1; __Host-token={token}; b=2"))
}

/// The token of a cookie that was set, whose form is as it should be.
fn renewed(out: &Out) -> Option<String> {
    assert_eq!(out.status, 200, "{out:?}");
    let cookie = out.set_cookie.as_deref()?;
    let value = cookie.strip_prefix("__Host-token=").unwrap();
    let (token, form) = value.split_once("; ").unwrap();
    assert_eq!(form, "Path=/; HttpOnly; SameSite=Lax; Secure");
    Some(token.to_owned())
}

fn said(token: &str) -> Value {
    peek(token).unwrap().1
}

#[test]
fn a_tenth_of_its_life_later_the_cookie_is_renewed() {
    let token = token(&json!({}));
    for (after, is_due) in [
        (0, false),
        (48 * 60 - 1, false),
        (48 * 60, true),
        (4 * HOUR, true),
        (8 * HOUR - 1, true),
        // Within the leeway.
        (8 * HOUR + 29, true),
    ] {
        let out = with_cookie(&token).at(&renewing(""), NOW + after);
        assert_eq!(renewed(&out).is_some(), is_due, "{after}");
    }
    let late = with_cookie(&token).at(&renewing(""), NOW + 8 * HOUR + 30);
    assert_eq!((late.reason, late.set_cookie), ("expired", None));
}

#[test]
fn a_renewed_token_says_the_same_but_for_its_times_and_its_id() {
    let engine = renewing("tokens.issuer = \"us\"\ntokens.audience = \"here\"\n");
    let more = json!({
        "iss": "us", "aud": ["there", "here"], "scope": "a b", "login_method": "sso",
        "act": { "sub": "agent" }, "plan": { "deep": [1, 2.5, null, 9_007_199_254_740_991_i64] },
        "nbf": NOW, "email": null, "userId": 7,
    });
    let token = token(&more);
    let at = NOW + HOUR;
    let new = renewed(&with_cookie(&token).at(&engine, at)).unwrap();
    let (mut was, mut is) = (said(&token), said(&new));
    for (name, expected) in [
        ("iat", json!(at)),
        ("exp", json!(at + 8 * HOUR)),
        ("sid", json!(SID)),
        ("auth_time", json!(NOW)),
    ] {
        assert_eq!(is[name], expected, "{name}");
    }
    assert_ne!(is["jti"], was["jti"]);
    assert_eq!(is["jti"].as_str().unwrap().len(), 32);
    for name in ["iat", "exp", "jti", "nbf"] {
        was.as_object_mut().unwrap().remove(name);
        is.as_object_mut().unwrap().remove(name);
    }
    assert_eq!(is, was);
    // It is as good as the one before, and not due itself.
    let out = with_cookie(&new).at(&engine, at);
    assert_eq!((out.user.as_str(), renewed(&out)), ("7", None));
    assert_eq!(with_cookie(&new).at(&engine, at + 8 * HOUR + 29).status, 200);
}

#[test]
fn every_rule_has_a_request_that_is_not_renewed() {
    let good = token(&json!({}));
    let at = NOW + HOUR;
    assert!(renewed(&with_cookie(&good).at(&renewing(""), at)).is_some());

    // By the token.
    for (why, changes) in [
        ("of no session", json!({ "sid": null })),
        ("of a session that began nobody knows when", json!({ "auth_time": null })),
        ("with an empty session", json!({ "sid": "" })),
        ("with a time that is none", json!({ "auth_time": "now" })),
        ("issued nobody knows when", json!({ "iat": null })),
        ("past the end", json!({ "auth_time": NOW - 7 * DAY + HOUR })),
        ("with its end already", json!({ "auth_time": NOW - 7 * DAY + 8 * HOUR })),
        ("living longer", json!({ "exp": NOW + 9 * HOUR + 1, "iat": NOW })),
    ] {
        let out = with_cookie(&token(&changes)).at(&renewing(""), at);
        assert_eq!(renewed(&out), None, "{why}");
    }

    // By the request.
    let own = ("origin", "https://app.example.com");
    let evil = ("origin", "https://evil.example.com");
    let friend = ("origin", "https://friend.example.com");
    let site = |value| ("sec-fetch-site", value);
    let trusting = "tokens.cookie.origins = [\"https://friend.example.com\"]\n";
    let cases: [(&[(&str, &str)], bool); 17] = [
        (&[], true),
        (&[site("same-origin")], true),
        (&[site("none")], true),
        (&[site("cross-site")], false),
        (&[site("same-site")], false),
        (&[site("something")], false),
        (&[site("same-origin"), site("same-origin")], false),
        (&[own], true),
        (&[evil], false),
        (&[("origin", "null")], false),
        (&[friend], true),
        (&[own, own], false),
        (&[site("cross-site"), friend], true),
        (&[site("same-site"), friend], true),
        (&[site("cross-site"), evil], false),
        (&[("sec-websocket-version", "13"), site("same-origin")], false),
        (&[("upgrade", "websocket"), ("connection", "upgrade"), site("same-origin")], false),
    ];
    for (headers, is_renewed) in cases {
        let question = headers
            .iter()
            .fold(with_cookie(&good), |question, (name, value)| question.with(name, value));
        let out = question.at(&renewing(trusting), at);
        assert_eq!(renewed(&out).is_some(), is_renewed, "{headers:?}");
    }
    let by_bearer = with_cookie(&good).bearer(&good).at(&renewing(""), at);
    assert_eq!(renewed(&by_bearer), None);
    let query = format!("/api/agents?access-token={good}");
    let always = "tokens.query_parameter_on = \"always\"\n";
    assert_eq!(renewed(&ask("GET", &query).at(&renewing(always), at)), None);

    // By the rule: a denial gives nothing, and a public one knows who it is.
    let open = ask("GET", "/api/healthcheck").with("cookie", &format!("__Host-token={good}"));
    assert!(renewed(&open.at(&renewing(""), at)).is_some());
    let denied = with_cookie(&token(&json!({ "role": "RESTRICTED" }))).at(&renewing(""), at);
    assert_eq!((denied.reason, denied.set_cookie), ("role", None));

    // By the service: off, as it is for all who ask but the service itself.
    let config = "http.public_url = \"https://app.example.com\"\n";
    assert_eq!(renewed(&with_cookie(&good).at(&engine(config), at)), None);
}

#[test]
fn nothing_is_renewed_beyond_the_end_of_the_session() {
    let engine = renewing("");
    // Signed in six days and 23 hours ago, and renewed since.
    let began = NOW - 6 * DAY - 23 * HOUR;
    let last = token(&json!({ "auth_time": began, "exp": NOW + HOUR / 2 }));
    let new = renewed(&with_cookie(&last).at(&engine, NOW + HOUR / 4)).unwrap();
    assert_eq!(said(&new)["exp"], json!(began + 7 * DAY));
    let out = with_cookie(&new).at(&engine, NOW + HOUR - 1);
    assert_eq!(renewed(&out), None);
    let over = with_cookie(&new).at(&engine, NOW + HOUR + 30);
    assert_eq!(over.reason, "expired");
    // A whole week by one sign-in, and not an hour more.
    let (mut now, mut cookie) = (NOW, token(&json!({})));
    loop {
        let out = with_cookie(&cookie).at(&engine, now);
        if out.reason == "expired" {
            break;
        }
        cookie = renewed(&out).unwrap_or(cookie);
        now += HOUR;
    }
    assert_eq!(now, NOW + 7 * DAY + HOUR);
}

#[test]
fn what_ends_a_session_ends_what_was_renewed() {
    let list = Arc::new(RevocationList::empty());
    let toml = "http.public_url = \"https://app.example.com\"\n";
    let mut engine = portcullis::app::engine(config(toml), Arc::clone(&list));
    engine.sessions.renews = true;
    let at = NOW + HOUR;
    let old = token(&json!({}));
    let new = renewed(&with_cookie(&old).at(&engine, at)).unwrap();
    let later =
        token(&json!({ "auth_time": NOW + 2, "iat": NOW + 2, "sid": "another", "jti": "2" }));
    let plain = token(&json!({ "auth_time": null, "sid": null, "jti": "3", "iat": NOW + 2 }));
    let reasons = |at: i64| {
        [&old, &new, &later, &plain].map(|token| with_cookie(token).at(&engine, at).reason)
    };
    assert_eq!(reasons(at), [""; 4]);
    // All that the user was issued until a second after the sign-in: the renewed
    // token, which was issued long after that, is of that session.
    list.cut_off_user("7", Timestamp::from_secs(NOW + 1));
    assert_eq!(reasons(at), ["revoked", "revoked", "", ""]);
    // One session, by its name alone.
    list.revoke_token(TokenRef::by_session("another"), Timestamp::from_secs(NOW + 7 * DAY));
    assert_eq!(reasons(at), ["revoked", "revoked", "revoked", ""]);
    // What is left of old cut-offs counts in the same way.
    let everybody = Arc::new(RevocationList::empty());
    let mut engine = portcullis::app::engine(config(toml), Arc::clone(&everybody));
    engine.sessions.renews = true;
    everybody.take(vec![Revocation::Everybody(Timestamp::from_secs(NOW))]);
    assert_eq!(with_cookie(&new).at(&engine, at).reason, "revoked");
    assert_eq!(with_cookie(&later).at(&engine, at).reason, "");
}

#[test]
fn a_session_of_another_issuer_is_none_here() {
    let list = RevocationList::empty();
    list.revoke_token(TokenRef::by_session(SID), Timestamp::from_secs(NOW + 7 * DAY));
    assert!(list.has_ended(SID, "7", Timestamp::from_secs(NOW)));
    assert!(!list.has_ended("other", "7", Timestamp::from_secs(NOW)));
    // The name of a session is no other name.
    for name in [TokenRef::by_id(SID), TokenRef::by_id_of(Some("acme"), SID)] {
        assert_ne!(name, TokenRef::by_session(SID));
    }
}

#[test]
fn any_number_of_requests_at_once_get_one_token() {
    let engine = renewing("");
    let at = NOW + HOUR;
    let old = token(&json!({}));
    let run = || renewed(&with_cookie(&old).at(&engine, at)).unwrap();
    let made: HashSet<String> = thread::scope(|scope| {
        let threads: Vec<_> = (0..16).map(|_| scope.spawn(run)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(made.len(), 1);
    // Within the minute the same one, also by a clock that was set back; then
    // another one.
    for (after, is_same) in [(0, true), (59, true), (-59, true), (60, false)] {
        let new = renewed(&with_cookie(&old).at(&engine, at + after)).unwrap();
        assert_eq!(made.contains(&new), is_same, "{after}");
    }
    // Nobody else gets it, whoever signed two users into one session.
    for changes in [json!({ "userId": "8" }), json!({ "role": "ADMIN" })] {
        let out = with_cookie(&token(&changes)).at(&engine, at + 60);
        assert_eq!(renewed(&out), None, "{changes}");
    }
    // It is told of once.
    let told = engine.verifier.renewed_sessions();
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].user_id.as_str(), told[0].sid.as_str()), ("7", SID));
    assert_eq!(told[0].at, Timestamp::from_secs(at + 60));
    assert_eq!(engine.verifier.renewed_sessions(), []);
}

#[test]
fn a_flood_of_sessions_is_bounded_and_ends() {
    let engine = renewing("");
    let at = NOW + HOUR;
    let of = |n: u32| {
        let sid = format!("{n:032x}");
        with_cookie(&token(&json!({ "sid": sid, "jti": sid })))
    };
    let made = (0..9000).filter(|n| renewed(&of(*n).at(&engine, at)).is_some()).count();
    assert_eq!(made, 8192);
    // One that was renewed keeps its cookie, one that was not waits for room.
    assert!(renewed(&of(0).at(&engine, at + 30)).is_some());
    assert!(renewed(&of(8999).at(&engine, at + 59)).is_none());
    assert!(renewed(&of(8999).at(&engine, at + 61)).is_some());
}

#[test]
fn a_site_without_tls_has_a_cookie_without_it() {
    let list = Arc::new(RevocationList::empty());
    let mut engine = portcullis::app::engine(config(""), list);
    assert!(!engine.sessions.renews, "an engine that nobody told to does not sign");
    engine.sessions.renews = true;
    let question =
        ask("GET", "/api/agents").with("cookie", &format!("token={}", token(&json!({}))));
    let cookie = question.at(&engine, NOW + HOUR).set_cookie.unwrap();
    assert!(cookie.starts_with("token=ey") && !cookie.contains("Secure"), "{cookie}");
}

#[test]
fn a_session_is_at_least_as_long_as_its_first_token() {
    let check = |variables: &[(&str, &str)]| {
        let mut command = portcullis();
        command.arg("check-config").envs(variables.iter().copied());
        let done = output(&mut command, "");
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    let absolute = "PORTCULLIS__SESSIONS__ABSOLUTE";
    for (given, cause) in [("7h", "would outlive the session"), ("0s", "nobody could stay")] {
        let (code, said) = check(&[(absolute, given)]);
        assert_eq!(code, Some(2), "{given}");
        assert!(said.contains("sessions.absolute") && said.contains(cause), "{said}");
        assert!(said.contains("fix: "), "{said}");
    }
    assert_eq!(check(&[(absolute, "8h")]).0, Some(0));
    // Who had longer tokens before there were sessions has them yet.
    let long =
        [("PORTCULLIS__TOKENS__LIFETIME", "30d"), ("PORTCULLIS__TOKENS__MAX_LIFETIME", "30d")];
    assert_eq!(check(&long).0, Some(0));
    let limits =
        engine("tokens.lifetime = \"30d\"\ntokens.max_lifetime = \"30d\"\n").sessions.limits;
    assert_eq!(limits.absolute, limits.lifetime);
    // What tells of a session tells of nothing else.
    let (code, said) = check(&[("PORTCULLIS__TOKENS__CLAIMS__ID", "sid")]);
    assert_eq!(code, Some(2), "{said}");
}
