//! Issuers that are alike in everything but their `iss` and their keys, side by
//! side, while their keys change.

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use portcullis::{
    clock::Timestamp,
    token::{Algorithm, Issuer, IssuerKeys, KeySet, Refusal, Verified, Verifier},
};
use serde_json::json;

use crate::{
    ask::NOW,
    jwt,
    signer::Signer,
    token_keys::{
        claims, interleaved, iss, issuer, now, published, secret, seen, settings, verifier,
    },
};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// How many of each issuer's users there are.
const USERS: usize = 8;
const THREADS: usize = 8;

fn set(key: &Signer) -> KeySet {
    published(&[key.public()])
}

/// An issuer whose keys are fetched, and a count of the unknown ones.
fn fetched(name: &str) -> (Issuer, Arc<IssuerKeys>, Arc<AtomicUsize>) {
    let misses = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&misses);
    let keys = Arc::new(IssuerKeys::awaited(move || {
        count.fetch_add(1, Ordering::Relaxed);
    }));
    (Issuer { settings: settings(name), keys: Arc::clone(&keys) }, keys, misses)
}

fn of(name: &str, user: usize, aud: &str) -> serde_json::Value {
    claims(name, &json!({ "sub": format!("u{user}"), "aud": aud }))
}

/// A key's tokens for each user.
fn tokens(key: &Signer, name: &str, aud: &str) -> Vec<String> {
    (0..USERS).map(|user| key.token(&of(name, user, aud))).collect()
}

/// What must come of a token.
#[derive(Clone, Copy)]
enum Fate {
    /// Accepted, as its issuer's user.
    Of(&'static str),
    Refused(Refusal),
    /// Accepted while this is the number of its issuer's key, and refused else.
    WhileKeyIs(usize),
}

#[test]
fn issuers_that_are_alike_are_never_mixed_while_the_keys_of_one_change() {
    let [first, second, theirs] = [0, 1, 2].map(|_| Signer::new("1", Algorithm::Es256));
    let (acme, keys, _) = fetched("acme");
    let verifier = verifier(Vec::new(), vec![acme, issuer("zeta", &[&theirs])]);
    keys.put(set(&first), now(), DAY);

    // One `kid`, one `sub`, one `jti`; the audiences crossed, and the keys.
    let all = [
        (tokens(&first, "acme", "acme-api"), Fate::WhileKeyIs(0)),
        (tokens(&second, "acme", "acme-api"), Fate::WhileKeyIs(1)),
        (tokens(&theirs, "zeta", "zeta-api"), Fate::Of("zeta")),
        (tokens(&theirs, "zeta", "acme-api"), Fate::Refused(Refusal::BadAudience)),
        (tokens(&theirs, "acme", "acme-api"), Fate::Refused(Refusal::BadSignature)),
        (tokens(&second, "zeta", "zeta-api"), Fate::Refused(Refusal::BadSignature)),
    ];
    // Odd while the keys are being exchanged; half of an even one counts how often
    // they were.
    let (exchanges, exchanging) = (AtomicUsize::new(0), Mutex::new(()));
    let (accepted, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let one = |at: usize| {
        let (tokens, fate) = &all[at % all.len()];
        let user = at / all.len() % USERS;
        let before = exchanges.load(Ordering::SeqCst);
        let seen = seen(&verifier, &tokens[user]);
        let after = exchanges.load(Ordering::SeqCst);
        let key = match fate {
            Fate::Of(name) => return assert_eq!(seen, Ok(format!("{name}:u{user}"))),
            Fate::Refused(refusal) => return assert_eq!(seen, Err(*refusal)),
            Fate::WhileKeyIs(key) => *key,
        };
        let good = Ok(format!("acme:u{user}"));
        if before != after || before % 2 == 1 {
            // Either is right; nothing else is.
            assert!(seen == good || seen == Err(Refusal::BadSignature), "{seen:?}");
        } else if before / 2 % 2 == key {
            assert_eq!(seen, good);
            accepted.fetch_add(1, Ordering::Relaxed);
        } else {
            assert_eq!(seen, Err(Refusal::BadSignature), "the key was gone before it was asked");
            refused.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (all, asked) = (interleaved(100_000), AtomicUsize::new(0));
    let run = || {
        loop {
            let at = asked.fetch_add(1, Ordering::Relaxed);
            if at >= all {
                return;
            }
            if at % 5000 == 4999 {
                let _one = exchanging.lock().unwrap();
                let number = exchanges.fetch_add(1, Ordering::SeqCst) / 2 + 1;
                keys.put(set([&first, &second][usize::from(number % 2 == 1)]), now(), DAY);
                exchanges.fetch_add(1, Ordering::SeqCst);
            }
            one(at);
        }
    };
    thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(run);
        }
    });
    assert_eq!(exchanges.into_inner() / 2, all / 5000);
    let (accepted, refused) = (accepted.into_inner(), refused.into_inner());
    assert!(accepted > all / 10 && refused > all / 10, "{accepted} {refused}");
}

#[test]
fn what_is_taken_back_of_one_issuer_stays_good_of_the_others() {
    let (theirs, ours) = (Signer::new("1", Algorithm::EdDsa), Signer::new("1", Algorithm::EdDsa));
    let issuers = vec![issuer("acme", &[&ours]), issuer("zeta", &[&theirs])];
    let verifier = verifier(vec![secret(None, jwt::SECRET.as_bytes())], issuers);
    let acme = ours.token(&claims("acme", &json!({})));
    let zeta = theirs.token(&claims("zeta", &json!({})));
    let own = jwt::token(&jwt::with(NOW, &json!({ "jti": "1", "userId": "ann" })));
    let all = || [&acme, &zeta, &own].map(|token| seen(&verifier, token).map_err(|_| ()));
    let [a, z, o] = ["acme:ann", "zeta:ann", "ann"].map(|user| Ok(user.to_owned()));
    for _ in 0..3 {
        assert_eq!(all(), [a.clone(), z.clone(), o.clone()]);
    }
    let revoke = |token: &str| {
        let (name, until) = verifier.name_of(token, now()).unwrap();
        verifier.revocations().revoke_token(name, until);
    };
    revoke(&own);
    assert_eq!(all(), [a.clone(), z.clone(), Err(())]);
    revoke(&acme);
    assert_eq!(all(), [Err(()), z.clone(), Err(())]);
    // A user is one issuer's, too.
    let of = |name: &str, key: &Signer| key.token(&claims(name, &json!({ "jti": "2" })));
    let (acme, zeta) = (of("acme", &ours), of("zeta", &theirs));
    verifier.revocations().cut_off_user("ann", now());
    verifier.revocations().cut_off_user("zeta:ann", now());
    assert_eq!(seen(&verifier, &acme).map_err(|_| ()), a);
    assert_eq!(seen(&verifier, &zeta), Err(Refusal::Revoked));
}

#[test]
fn a_signed_token_that_is_not_good_here_is_not_remembered_in_the_place_of_one_that_is() {
    let key = Signer::new("1", Algorithm::EdDsa);
    let verifier =
        verifier(vec![secret(None, jwt::SECRET.as_bytes())], vec![issuer("acme", &[&key])]);
    // A token of each kind of issuer, which differs from the others of its kind.
    let own = |nth: usize, changes: &serde_json::Value| {
        let mut claims = jwt::with(NOW, changes);
        claims["jti"] = json!(format!("{nth}"));
        jwt::token(&claims)
    };
    let theirs = |nth: usize, changes: &serde_json::Value| {
        let mut claims = claims("acme", changes);
        claims["jti"] = json!(format!("{nth}"));
        key.token(&claims)
    };
    let verify = |token: &String| verifier.verify(token, now());

    // Two of these may have one place, which is the later one's then.
    let good = (0..500).map(|nth| own(nth, &json!({}))).chain([theirs(0, &json!({}))]);
    let met = good.map(|token| {
        verify(&token).unwrap();
        (verify(&token).unwrap(), token)
    });
    let met: Vec<_> = met.collect();
    let is_known = |(known, token): &&(Arc<Verified>, String)| {
        verify(token).is_ok_and(|verified| Arc::ptr_eq(&verified, known))
    };
    let known: Vec<_> = met.iter().filter(is_known).collect();
    assert!(known.len() > 400, "{}", known.len());

    let (elsewhere, past) =
        (json!({ "aud": "zeta-api" }), json!({ "iat": NOW - 200, "exp": NOW - 100 }));
    for (refusal, changes) in [
        (Refusal::BadAudience, &elsewhere),
        (Refusal::Expired, &past),
        (Refusal::Revoked, &json!({})),
    ] {
        for make in [&own as &dyn Fn(usize, &serde_json::Value) -> String, &theirs] {
            for token in (1000..1300).map(|nth| make(nth, changes)) {
                if refusal == Refusal::Revoked {
                    let (name, until) = verifier.name_of(&token, now()).unwrap();
                    verifier.revocations().revoke_token(name, until);
                }
                // It is met for the second time, and once more.
                for _ in 0..3 {
                    assert_eq!(verify(&token).err(), Some(refusal));
                }
            }
            // So many, remembered, would have had the places of some ten of these.
            let left = known.iter().filter(|known| is_known(known)).count();
            assert_eq!(left, known.len(), "{refusal:?}");
        }
    }
}

/// A verifier of one issuer and its token, which is remembered.
fn remembered(key: &Signer) -> (Verifier, Arc<IssuerKeys>, Arc<AtomicUsize>, String) {
    let (acme, keys, misses) = fetched("acme");
    let verifier = verifier(Vec::new(), vec![acme]);
    let token = key.token(&claims("acme", &json!({ "exp": NOW + 20 * 3600 })));
    assert_eq!(seen(&verifier, &token), Err(Refusal::IssuerUnavailable), "nobody has fetched");
    keys.put(set(key), now(), Duration::from_secs(3600));
    for _ in 0..3 {
        assert_eq!(seen(&verifier, &token), Ok("acme:ann".into()));
    }
    (verifier, keys, misses, token)
}

#[test]
fn keys_that_are_too_old_verify_nothing_also_what_is_remembered() {
    let key = Signer::new("1", Algorithm::Es256);
    let (verifier, keys, misses, token) = remembered(&key);
    let refusal = |secs: i64, millis: i64| {
        verifier.verify(&token, Timestamp::from_millis((NOW + secs) * 1000 + millis)).err()
    };
    assert_eq!(refusal(3600, -1), None);
    assert_eq!(refusal(3600, 0), Some(Refusal::IssuerUnavailable));
    assert_eq!(refusal(3600, -1), None, "its time is looked at every time");
    // "Nothing has changed" is as good as the keys themselves.
    keys.confirm(Timestamp::from_secs(NOW + 7000), Duration::from_secs(3600));
    assert_eq!((refusal(10_600, -1), refusal(10_600, 0)), (None, Some(Refusal::IssuerUnavailable)));
    // As are the same keys once more.
    keys.put(set(&key), Timestamp::from_secs(NOW + 9000), Duration::from_secs(3600));
    assert_eq!((refusal(12_600, -1), refusal(12_600, 0)), (None, Some(Refusal::IssuerUnavailable)));
    assert_eq!(misses.load(Ordering::Relaxed), 0, "nobody asks for keys that are known");
}

#[test]
fn a_key_that_is_gone_verifies_nothing_and_one_that_is_new_is_asked_for() {
    let (old, new) = (Signer::new("old", Algorithm::Rs256), Signer::new("new", Algorithm::EdDsa));
    let (verifier, keys, misses, token) = remembered(&old);
    let next = new.token(&claims("acme", &json!({})));
    for asked in 1..4 {
        assert_eq!(seen(&verifier, &next), Err(Refusal::UnknownKey));
        assert_eq!(misses.load(Ordering::Relaxed), asked);
    }
    // Both, for an overlap; then the new one alone.
    keys.put(published(&[old.public(), new.public()]), now(), DAY);
    assert_eq!((seen(&verifier, &token).is_ok(), seen(&verifier, &next).is_ok()), (true, true));
    keys.put(set(&new), now(), DAY);
    assert_eq!(seen(&verifier, &token), Err(Refusal::UnknownKey));
    assert_eq!(seen(&verifier, &next), Ok("acme:ann".into()));
    // It is not remembered against a set that takes it back in, either.
    keys.put(set(&old), now(), DAY);
    assert_eq!((seen(&verifier, &token).is_ok(), seen(&verifier, &next).is_ok()), (true, false));
}

#[test]
fn keys_without_a_name_are_tried_in_number() {
    let keys: Vec<Signer> = (0..5).map(|_| Signer::new("", Algorithm::EdDsa)).collect();
    let nameless = |count: usize| {
        let jwks: Vec<serde_json::Value> = keys[..count]
            .iter()
            .map(|key| {
                let mut jwk = key.public();
                jwk.as_object_mut().unwrap().remove("kid");
                jwk
            })
            .collect();
        let keys = Arc::new(IssuerKeys::fixed(published(&jwks)));
        verifier(Vec::new(), vec![Issuer { settings: settings("acme"), keys }])
    };
    let token = |at: usize, kid: serde_json::Value| {
        let mut header = json!({ "alg": "EdDSA" });
        if kid.is_string() {
            header["kid"] = kid;
        }
        keys[at].sign(&header.to_string(), &claims("acme", &json!({})).to_string())
    };
    let four = nameless(4);
    assert!((0..4).all(|at| seen(&four, &token(at, json!(null))).is_ok()));
    assert_eq!(seen(&four, &token(4, json!(null))), Err(Refusal::BadSignature));
    assert_eq!(seen(&four, &token(0, json!("1"))), Err(Refusal::UnknownKey));
    assert_eq!(seen(&nameless(5), &token(0, json!(null))), Err(Refusal::UnknownKey));
    assert_eq!(iss("acme"), "https://acme.example.com");
}
