//! Tokens for upstreams: whose they are, for whom, how many and how long.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::{
        Arc, Barrier,
        atomic::{AtomicI64, AtomicUsize, Ordering},
    },
    thread,
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use portcullis::{
    clock::Timestamp,
    token::{Algorithm, Issuer, IssuerKeys, MintError, Refusal, Verifier, peek},
};
use serde_json::{Value, json};

use crate::{
    ask::{NOW, ask, engine},
    jwt,
    signer::Signer,
    token_keys::{
        claims, interleaved, issuer, key_pair, now, published, secret, settings, verifier,
    },
};

const PUBLIC: &str = "https://app.example.com";
const THREADS: usize = 8;

/// A service with tokens of its own and of an issuer, and a key for upstreams.
fn service(issuers: Vec<Issuer>) -> Verifier {
    let own = secret(Some("own"), jwt::SECRET.as_bytes());
    verifier(vec![own, key_pair("pair", Algorithm::Es256)], issuers).known_upstream_as(PUBLIC)
}

/// The token that a credential is exchanged for, at so many seconds.
fn minted(verifier: &Verifier, token: &str, audience: &Arc<str>, at: i64) -> Arc<str> {
    let now = Timestamp::from_secs(at);
    let verified = verifier.verify(token, now).unwrap();
    verifier.minted(&verified, audience, now).unwrap()
}

fn said(bearer: &str) -> (Value, Value) {
    peek(bearer.strip_prefix("Bearer ").unwrap()).unwrap()
}

fn jti(bearer: &str) -> String {
    said(bearer).1["jti"].as_str().unwrap().to_owned()
}

#[test]
fn nobody_gets_what_was_made_for_somebody_or_somewhere_else() {
    let signer = Signer::new("1", Algorithm::Es256);
    let verifier = service(vec![issuer("acme", &[&signer])]);
    // Alike in all but who they are.
    let mut credentials: Vec<(String, String)> = ["u0", "u1", "u2", "acme:u0"]
        .map(|user| {
            let changes = json!({ "userId": user, "jti": "1" });
            (jwt::token(&jwt::with(NOW, &changes)), user.to_owned())
        })
        .to_vec();
    credentials.extend(["u0", "u1", "u2"].map(|user| {
        (signer.token(&claims("acme", &json!({ "sub": user }))), format!("acme:{user}"))
    }));
    let audiences: [Arc<str>; 2] = ["https://a.internal".into(), "https://b.internal".into()];
    let (asked, signed) = (AtomicI64::new(0), AtomicUsize::new(0));
    let all = i64::try_from(interleaved(100_000)).unwrap();
    let run = || {
        // What was looked into once is known by its text.
        let mut known: HashMap<Arc<str>, (String, String)> = HashMap::new();
        loop {
            let at = asked.fetch_add(1, Ordering::Relaxed);
            if at >= all {
                return signed.fetch_add(known.len(), Ordering::Relaxed);
            }
            let index = usize::try_from(at).unwrap();
            let (token, user) = &credentials[index % credentials.len()];
            let audience = &audiences[index / credentials.len() % 2];
            // Half an hour passes meanwhile.
            let bearer = minted(&verifier, token, audience, NOW + at * 1800 / all);
            let (seen_user, seen_audience) = known.entry(bearer).or_insert_with_key(|bearer| {
                let (_, claims) = said(bearer);
                let text = |name: &str| claims[name].as_str().unwrap().to_owned();
                (text("sub"), text("aud"))
            });
            assert_eq!((&*seen_user, &**seen_audience), (user, &**audience));
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(run);
        }
    });
    // Each for fifty seconds, and each thread has looked into each.
    let signed = signed.into_inner();
    assert!(signed <= credentials.len() * 2 * 37 * THREADS, "{signed}");
}

#[test]
fn one_is_signed_a_minute_for_a_credential_and_an_audience_whoever_asks_at_once() {
    let verifier = service(Vec::new());
    let audiences: [Arc<str>; 2] = ["https://a.internal".into(), "https://b.internal".into()];
    let mut all = HashSet::new();
    for round in 0..100 {
        let changes = json!({ "jti": round.to_string() });
        let (token, barrier) = (jwt::token(&jwt::with(NOW, &changes)), Barrier::new(THREADS));
        let of_round: BTreeSet<(String, String)> = thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                .map(|thread| {
                    let (verifier, token, barrier) = (&verifier, &token, &barrier);
                    let audience = &audiences[thread % 2];
                    scope.spawn(move || {
                        barrier.wait();
                        let bearer = minted(verifier, token, audience, NOW);
                        (audience.to_string(), jti(&bearer))
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(of_round.len(), 2, "one for each audience: {of_round:?}");
        for (audience, jti) in &of_round {
            let audience = audiences.iter().find(|own| ***own == **audience).unwrap();
            assert_eq!(self::jti(&minted(&verifier, &token, audience, NOW + 30)), *jti);
        }
        all.extend(of_round);
    }
    assert_eq!(all.len(), 200);
}

#[test]
fn one_is_new_within_a_minute_and_never_outlives_what_it_was_made_of() {
    let verifier = service(Vec::new());
    let audience: Arc<str> = "https://a.internal".into();
    // With a leeway of thirty seconds, it is accepted for 130.
    let token = jwt::token(&jwt::with(NOW, &json!({ "exp": NOW + 100 })));
    let mut made: Vec<(String, i64)> = Vec::new();
    for at in 0..130 {
        let bearer = minted(&verifier, &token, &audience, NOW + at);
        let (_, claims) = said(&bearer);
        let (issued, expires) = (claims["iat"].as_i64().unwrap(), claims["exp"].as_i64().unwrap());
        assert!(issued <= NOW + at && NOW + at < expires, "{at}: {claims}");
        assert!(expires - issued <= 60 && expires <= NOW + 130, "{at}: {claims}");
        let jti = claims["jti"].as_str().unwrap().to_owned();
        if made.last().is_none_or(|(last, _)| *last != jti) {
            made.push((jti, at));
        }
    }
    let times: Vec<i64> = made.iter().map(|(_, at)| *at).collect();
    assert_eq!(times, [0, 50, 100], "none is signed for each request of the last seconds");
    assert_eq!(made.iter().map(|(jti, _)| jti).collect::<HashSet<_>>().len(), made.len());
    let end = Timestamp::from_secs(NOW + 130);
    assert_eq!(verifier.verify(&token, end).err(), Some(Refusal::Expired));
}

#[test]
fn a_clock_that_is_set_back_hands_out_nothing_of_the_future() {
    let verifier = service(Vec::new());
    let audience: Arc<str> = "https://a.internal".into();
    let token = jwt::token(&jwt::with(NOW, &json!({ "exp": NOW + 2 * 24 * 3600 })));
    let ahead = minted(&verifier, &token, &audience, NOW + 24 * 3600);
    let right = minted(&verifier, &token, &audience, NOW);
    assert_ne!(jti(&ahead), jti(&right));
    assert_eq!(said(&right).1["exp"], NOW + 60);
}

#[test]
fn a_credential_for_ever_more_audiences_takes_no_more_than_a_few() {
    let verifier = service(Vec::new());
    let token = jwt::token(&jwt::with(NOW, &json!({})));
    let audiences: Vec<Arc<str>> =
        (0..40).map(|n| format!("https://{n}.internal").into()).collect();
    let mint = |audience: &Arc<str>| {
        let bearer = minted(&verifier, &token, audience, NOW);
        assert_eq!(said(&bearer).1["aud"], **audience);
        jti(&bearer)
    };
    let made: Vec<String> = audiences.iter().map(mint).collect();
    // The last ones are at hand, and the first ones have made room for them.
    assert_eq!(mint(&audiences[39]), made[39]);
    assert_eq!(mint(&audiences[34]), made[34]);
    assert_ne!(mint(&audiences[0]), made[0]);
}

#[test]
fn it_says_who_it_is_and_anybody_can_verify_it_but_it_opens_nothing_here() {
    for algorithm in [Algorithm::Es256, Algorithm::EdDsa] {
        let signer = Signer::new("1", Algorithm::EdDsa);
        let own = secret(Some("own"), jwt::SECRET.as_bytes());
        let verifier =
            verifier(vec![own, key_pair("pair", algorithm)], vec![issuer("acme", &[&signer])])
                .known_upstream_as(PUBLIC);
        let audience: Arc<str> = "https://a.internal".into();
        let full = signer.token(&claims(
            "acme",
            &json!({
                "name": "Ann", "email": "ann@example.com", "role": "ADMIN", "scope": "read write",
                "act": { "sub": "agent-1" }, "sid": "s-1", "secret": "of the issuer",
            }),
        ));
        let bearer = minted(&verifier, &full, &audience, NOW);
        let (header, mut claims) = said(&bearer);
        assert_eq!(header, json!({ "alg": algorithm.name(), "kid": "pair", "typ": "at+jwt" }));
        let jti = claims.as_object_mut().unwrap().remove("jti").unwrap();
        assert_eq!(jti.as_str().unwrap().len(), 32);
        assert_eq!(
            claims,
            json!({
                "iss": PUBLIC, "aud": "https://a.internal", "sub": "acme:ann", "name": "Ann",
                "email": "ann@example.com", "role": "ADMIN", "scope": "read write",
                "act": { "sub": "agent-1" }, "sid": "s-1", "iat": NOW, "exp": NOW + 60,
            })
        );
        let plain = minted(
            &verifier,
            &jwt::token(&jwt::with(NOW, &json!({ "email": "" }))),
            &audience,
            NOW,
        );
        let members: Vec<String> = said(&plain).1.as_object().unwrap().keys().cloned().collect();
        assert_eq!(members, ["aud", "exp", "iat", "iss", "jti", "name", "role", "sub"]);

        // An upstream that has fetched the public keys.
        let jwks: Vec<Value> = verifier.keys().public()["keys"].as_array().unwrap().clone();
        assert_eq!(jwks.len(), 1, "the shared secret is not among them");
        let mut upstream = settings("up");
        upstream.issuer = Some(PUBLIC.into());
        upstream.audience = vec!["https://a.internal".into()];
        let trusting = |settings| {
            let keys = Arc::new(IssuerKeys::fixed(published(&jwks)));
            self::verifier(Vec::new(), vec![Issuer { settings, keys }])
        };
        let token = bearer.strip_prefix("Bearer ").unwrap();
        let there = trusting(upstream.clone());
        assert_eq!(there.verify(token, now()).unwrap().claims.user_id.as_str(), "up:acme:ann");
        upstream.audience = vec!["https://b.internal".into()];
        let refusal = trusting(upstream).verify(token, now()).err();
        assert_eq!(refusal, Some(Refusal::BadAudience));

        // Where it was made, it is no credential: with an issuer beside, and alone.
        assert_eq!(verifier.verify(token, now()).err(), Some(Refusal::UnknownIssuer));
        let alone = service(Vec::new());
        let bearer = minted(&alone, &jwt::token(&jwt::claims(NOW)), &audience, NOW);
        let token = bearer.strip_prefix("Bearer ").unwrap();
        assert_eq!(alone.verify(token, now()).err(), Some(Refusal::Malformed));
    }
}

#[test]
fn without_a_key_that_anybody_can_verify_by_there_is_none() {
    let verifier = verifier(vec![secret(None, jwt::SECRET.as_bytes())], Vec::new());
    let verifier = verifier.known_upstream_as(PUBLIC);
    let verified = verifier.verify(&jwt::token(&jwt::claims(NOW)), now()).unwrap();
    let made = verifier.minted(&verified, &"https://a.internal".into(), now());
    assert!(matches!(made, Err(MintError::NoKey)), "{made:?}");
}

#[test]
fn the_engine_gives_each_user_and_each_upstream_its_own() {
    let directory = tempfile::tempdir().unwrap();
    let pair = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let der = STANDARD.encode(pair.to_pkcs8v1().unwrap());
    let file = directory.path().join("key.pem");
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{der}\n-----END PRIVATE KEY-----\n");
    std::fs::write(&file, pem).unwrap();
    let rule = |name: &str, forward: &str| {
        format!(
            "[[rules]]\nname = \"{name}\"\npath_prefix = \"/{name}\"\naccess = \"authenticated\"\n{forward}\n"
        )
    };
    let engine = engine(&format!(
        "http.public_url = \"{PUBLIC}\"\ntokens.forward = \"minted\"\ntokens.keys = [{{ kid = \"own\", secret = \"{}\" }}, \
         {{ kid = \"pair\", private_key_file = \"{}\" }}]\n{}{}{}",
        jwt::SECRET,
        file.display(),
        rule("a", "forward = { minted = { audience = \"https://a.internal\" } }"),
        rule("b", "forward = { minted = { audience = \"https://b.internal\" } }"),
        rule("c", ""),
    ));
    let tokens = ["7", "8", "9"]
        .map(|user| (user, jwt::token(&jwt::with(NOW, &json!({ "userId": user, "jti": "1" })))));
    let audiences = [("/a", "https://a.internal"), ("/b", "https://b.internal"), ("/c", PUBLIC)];
    let run = |from: usize| {
        let mut own = HashMap::new();
        for at in (0..interleaved(8_000) / THREADS).map(|at| at + from) {
            let (user, token) = &tokens[at % 3];
            let (path, audience) = audiences[at / 3 % 3];
            let out = ask("GET", path).bearer(token).of(&engine);
            let bearer = out.sets("authorization").unwrap();
            let known = own.entry((*user, path)).or_insert_with(|| {
                let (header, claims) = said(bearer);
                assert_eq!((&header["alg"], &claims["sub"]), (&json!("EdDSA"), &json!(user)));
                assert_eq!((&claims["aud"], &claims["iss"]), (&json!(audience), &json!(PUBLIC)));
                bearer.to_owned()
            });
            assert_eq!(bearer, known, "one for a minute");
        }
        own
    };
    let run = &run;
    let seen: Vec<HashMap<_, _>> = thread::scope(|scope| {
        let threads: Vec<_> = (0..THREADS).map(|from| scope.spawn(move || run(from))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(seen.iter().all(|one| one.len() == 9 && *one == seen[0]), "all threads got the same");
    let distinct: HashSet<&String> = seen[0].values().collect();
    assert_eq!(distinct.len(), 9);
    for bearer in distinct {
        let out = ask("GET", "/a").with("authorization", bearer).of(&engine);
        assert_eq!((out.status, out.reason), (401, "malformed_token"));
    }
}
