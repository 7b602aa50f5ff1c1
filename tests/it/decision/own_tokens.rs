//! Tokens as the systems write them that portcullis came from: their claims,
//! their roles' names, their missing `iat`, their changed secret.

use std::sync::Arc;

use portcullis::{
    app,
    authz::Engine,
    clock::Timestamp,
    token::{Minter, NewToken, RevocationList, UserId, peek},
};
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};

use crate::{
    ask::{NOW, ask, config, engine},
    jwt,
    stack::bearer,
    support::{output, portcullis, serve},
};

const WEEK: i64 = 7 * 24 * 3600;
/// As LiteLLM's dashboard writes its tokens.
const LITELLM: &str = r#"
[tokens]
claims = { id = "user_id", name = "user_id", email = "user_email", role = "user_role" }
role_map = { proxy_admin = "ADMIN", internal_user = "REGULAR" }
extra = { auth_header_name = "Authorization", premium_user = false, version = 1, who = "name" }
"#;

fn decided(engine: &Engine, claims: &Value) -> (u16, &'static str) {
    let out = ask("GET", "/api/agents").bearer(&jwt::token(claims)).of(engine);
    (out.status, out.reason)
}

/// A token of the engine's own.
fn minted(engine: &Engine, id: &str, method: Option<&str>) -> (String, Value) {
    let token = NewToken {
        name: "ann",
        user_id: &UserId::new(id).unwrap(),
        role: engine.verifier.roles().get("ADMIN").unwrap(),
        email: Some("ann@example.com"),
        lifetime: std::time::Duration::from_secs(3600),
        login_method: method,
        session: None,
    };
    let token = Minter::new(&engine.verifier).mint(&token, Timestamp::from_secs(NOW)).unwrap();
    let (_, claims) = peek(token.expose_secret()).unwrap();
    (token.expose_secret().to_owned(), claims)
}

#[test]
fn a_token_of_the_longest_life_is_good_also_when_its_issuers_clock_is_ahead() {
    let plain = engine("");
    // `exp` is seven days from its issue, and there is no `iat`.
    let texera = |ahead: i64| json!({ "sub": "ann", "userId": 7, "role": "REGULAR", "email": "a@x", "exp": NOW + WEEK + ahead });
    for ahead in [0, 1, 30] {
        assert_eq!(decided(&plain, &texera(ahead)), (200, ""), "{ahead}");
    }
    assert_eq!(decided(&plain, &texera(31)), (401, "lives_too_long"));
}

#[test]
fn a_user_id_that_is_an_integer_is_made_a_number() {
    let plain = engine("");
    assert_eq!(minted(&plain, "7", None).1["userId"], json!(7));
    assert_eq!(minted(&plain, "007", None).1["userId"], json!("007"));
    assert_eq!(minted(&plain, "sso:7", None).1["userId"], json!("sso:7"));
    for id in ["7", "007", "9007199254740993"] {
        let (token, _) = minted(&plain, id, None);
        let out = ask("GET", "/api/agents").bearer(&token).of(&plain);
        assert_eq!((out.status, out.user.as_str()), (200, id));
    }
}

#[test]
fn claims_and_roles_may_have_the_names_that_another_system_gives_them() {
    let litellm = engine(LITELLM);
    let claims = |role: &str| json!({ "user_id": "u-1", "user_email": "ann@x", "user_role": role, "exp": NOW + 60, "iat": NOW });
    let out = ask("GET", "/api/agents").bearer(&jwt::token(&claims("proxy_admin"))).of(&litellm);
    let set: Vec<_> = out.set.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(
        set,
        [
            ("x-user-id", "u-1"),
            ("x-user-name", "u-1"),
            ("x-user-email", "ann@x"),
            ("x-user-role", "ADMIN")
        ]
    );
    assert_eq!(decided(&litellm, &claims("internal_user")), (200, ""));
    // A role that has no other name has its own; one that has is known by that alone.
    assert_eq!(decided(&litellm, &claims("INACTIVE")), (403, "role"));
    for role in ["ADMIN", "REGULAR", "Proxy_admin", "", "team"] {
        assert_eq!(decided(&litellm, &claims(role)), (401, "bad_claim"), "{role}");
    }
    assert_eq!(decided(&litellm, &jwt::claims(NOW)), (401, "missing_claim"));
    // A number for the id, which is the name, too.
    let mut number = claims("proxy_admin");
    number["user_id"] = json!(7);
    let out = ask("GET", "/api/agents").bearer(&jwt::token(&number)).of(&litellm);
    assert_eq!((out.sets("x-user-id"), out.sets("x-user-name")), (Some("7"), Some("7")));

    // And it makes them so.
    let (token, claims) = minted(&litellm, "u-1", Some("sso"));
    assert_eq!(ask("GET", "/api/agents").bearer(&token).of(&litellm).status, 200);
    for (name, value) in [
        ("user_id", json!("u-1")),
        ("user_email", json!("ann@example.com")),
        ("user_role", json!("proxy_admin")),
        ("login_method", json!("sso")),
        ("auth_header_name", json!("Authorization")),
        ("premium_user", json!(false)),
        ("version", json!(1)),
        ("who", json!("ann")),
    ] {
        assert_eq!(claims[name], value, "{name}");
    }
    assert!(claims.get("sub").is_none() && claims.get("userId").is_none(), "{claims}");
    assert!(litellm.verifier.verify(&token, Timestamp::from_secs(NOW)).unwrap().claims.is_sso);
    let (_, plain) = minted(&litellm, "u-1", None);
    assert!(plain.get("login_method").is_none());
}

#[test]
fn a_cut_off_lets_in_who_signs_in_again_also_without_an_iat() {
    let at = |toml: &str, cut_off: i64, claims: &Value| {
        let engine = app::engine(config(toml), Arc::new(RevocationList::empty()));
        engine.verifier.revocations().cut_off_user("7", Timestamp::from_secs(cut_off));
        decided(&engine, claims)
    };
    let texera = |exp: i64| json!({ "sub": "ann", "userId": 7, "role": "REGULAR", "exp": exp });
    let assumed = "tokens.assume_lifetime = \"7d\"";
    // Without it, nobody of whom it is not known when is let in again.
    assert_eq!(at("", NOW - 60, &texera(NOW + WEEK)), (401, "revoked"));
    assert_eq!(at(assumed, NOW - 60, &texera(NOW + WEEK)), (200, ""), "issued now");
    assert_eq!(at(assumed, NOW - 60, &texera(NOW + WEEK - 60)), (401, "revoked"), "in that second");
    assert_eq!(at(assumed, NOW - 60, &texera(NOW + WEEK - 3600)), (401, "revoked"), "before it");
    assert_eq!(at(assumed, NOW - 60, &texera(NOW + WEEK - 59)), (200, ""));
    // What says itself when it was issued is taken at its word.
    let mut says = texera(NOW + WEEK - 120);
    says["iat"] = json!(NOW - 120);
    assert_eq!(at(assumed, NOW - 60, &says), (401, "revoked"));
    // One that lives longer than is assumed would count as issued in the future.
    let longer = "tokens.assume_lifetime = \"1d\"\ntokens.max_lifetime = \"7d\"";
    assert_eq!(at(longer, NOW - 60, &texera(NOW + WEEK)), (401, "lives_too_long"));
    assert_eq!(at(longer, NOW - 60, &texera(NOW + 24 * 3600 + 30)), (200, ""));
    let warned = config(longer).warnings;
    assert!(warned.iter().any(|it| it.key == "tokens.assume_lifetime"), "{warned:?}");
    assert!(config(assumed).warnings.is_empty());
}

#[test]
fn claims_that_could_mean_two_things_are_refused() {
    let check = |toml: &str| {
        let file = tempfile::Builder::new().suffix(".toml").tempfile().unwrap();
        std::fs::write(file.path(), toml).unwrap();
        let mut command = portcullis();
        let done =
            output(command.args(["check-config", "--config", file.path().to_str().unwrap()]), "");
        (done.status.code(), String::from_utf8(done.stderr).unwrap())
    };
    for (toml, key) in [
        ("tokens.claims = { id = \"exp\" }", "tokens.claims.id"),
        ("tokens.claims = { id = \"\" }", "tokens.claims.id"),
        ("tokens.claims = { role = \"sub\" }", "tokens.claims.role"),
        ("tokens.claims = { id = \"role\" }", "tokens.claims.role"),
        ("tokens.claims = { ident = \"x\" }", "tokens.claims.ident"),
        ("tokens.role_map = { boss = \"KING\" }", "tokens.role_map"),
        ("tokens.extra = { jti = \"x\" }", "tokens.extra"),
        ("tokens.extra = { role = \"ADMIN\" }", "tokens.extra"),
        ("tokens.extra = { list = [1] }", "tokens.extra"),
        ("tokens.assume_lifetime = \"long\"", "tokens.assume_lifetime"),
    ] {
        let (code, said) = check(toml);
        assert_eq!(code, Some(2), "{toml}: {said}");
        assert!(said.contains(key) && said.contains("fix:"), "{toml}: {said}");
    }
    let (code, said) = check(LITELLM);
    assert_eq!((code, said.as_str()), (Some(0), ""));
    // Each key is told once among those that are known.
    let (_, said) = check("[nonsense]");
    assert_eq!(said.matches("login").count(), 1, "{said}");
}

#[test]
fn a_secret_that_the_issuer_writes_in_lower_case_is_told_of_and_accepts_nothing() {
    let secret = jwt::SECRET.to_ascii_uppercase();
    let signed = |secret: &str| {
        let claims =
            jwt::claims(portcullis::clock::Clock::now(&portcullis::clock::SystemClock).as_secs());
        let hmac = aws_lc_rs::hmac::HMAC_SHA256;
        jwt::sign_with(hmac, secret.as_bytes(), jwt::HEADER, &claims.to_string())
    };
    let inspect = |token: &str| {
        let mut command = portcullis();
        let done =
            output(command.env("AUTH_JWT_SECRET", &secret).args(["token", "inspect", token]), "");
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, said) = inspect(&signed(jwt::SECRET));
    assert_eq!(code, Some(1));
    assert!(said.contains("lower-case form of a key") && said.contains("fix:"), "{said}");
    let (code, said) = inspect(&signed("another-secret-of-the-tests-0123456789"));
    assert!(code == Some(1) && !said.contains("lower-case"), "{said}");
    let (code, said) = inspect(&signed(&secret));
    assert!(code == Some(0) && !said.contains("lower-case"), "{said}");

    // The log says so once a minute, whoever asks how often.
    let running = serve("127.0.0.1:0", &[("AUTH_JWT_SECRET", &secret)]);
    let internal = crate::support::address_of_listener(&running, "internal");
    for _ in 0..20 {
        let answer = crate::asked::ask_envoy(internal, "/api/agents", &bearer("ADMIN"));
        assert_eq!(answer.status, 401);
    }
    running.line("lower-case form of one of the keys");
    assert_eq!(running.log().matches("lower-case form").count(), 1);
}
