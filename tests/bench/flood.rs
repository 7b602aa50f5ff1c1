//! A flood of tokens that name keys which nobody has, while the keys of their
//! issuer are followed: how many a second are refused, how often the issuer is
//! asked, and what tokens by its keys wait.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use axum::{Router, routing::get};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use portcullis::{
    app,
    config::{Config, Sources},
    issuers::KeyWatch,
    metrics::Metrics,
    store::Store,
    token::{Algorithm, Refusal, RevocationList, Verifier},
};
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::{Fixed, NOW, Signer, Timestamp, claims, jwt};

const THREADS: usize = 2;
/// So many unknown ones come between two of each other kind.
const BETWEEN: u64 = 500;
/// The least that is refused a second, by all threads, of a release build.
const LEAST: f64 = 100_000.0;
/// The longest that nearly every good token may take.
const SANE: Duration = Duration::from_millis(1);

/// What a thread has seen.
struct Seen {
    unknown: u64,
    /// How long a token took that is remembered, each time.
    remembered: Vec<Duration>,
    /// How long each took that was never met before.
    fresh: Vec<Duration>,
}

/// Floods for so long, prints what came of it as JSON, and fails where that is
/// not as it should be.
pub(crate) fn flood(span: Duration) {
    let key = Signer::new("good", Algorithm::EdDsa);
    let asked = Arc::new(AtomicUsize::new(0));
    // What follows the keys, and the issuer, have a thread of their own.
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let port = runtime.block_on(issuer(&key, Arc::clone(&asked)));

    let room = tempfile::tempdir().unwrap();
    let file = room.path().join("portcullis.toml");
    let toml = format!(
        "[[issuers]]\nname = \"main\"\nissuer = \"https://main.example.com\"\naudience = [\"api\"]\n\
         claims.role = \"role\"\njwks_uri = \"http://127.0.0.1:{port}/jwks\"\n\
         [[rules]]\nname = \"all\"\npath_prefix = \"/\"\nroles = [\"REGULAR\"]\n"
    );
    std::fs::write(&file, toml).unwrap();
    let secret = ("AUTH_JWT_SECRET".into(), jwt::SECRET.into());
    let config = Config::load(&Sources::new(vec![file], [secret])).unwrap();
    let store = Arc::new(Store::memory(Arc::new(Fixed), Duration::from_secs(3600)));
    let watch = Arc::new(KeyWatch::new(store, Arc::new(Fixed), Arc::new(Metrics::default())));
    let revoked = Arc::new(RevocationList::empty());
    let (engine, followed) = app::engine_watched(config, revoked, &watch);
    watch.follow(followed);
    runtime.spawn(Arc::clone(&watch).run(CancellationToken::new()));
    let begun = Instant::now();
    while !watch.has_asked() {
        assert!(begun.elapsed() < Duration::from_secs(10), "the keys were never fetched");
        thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(asked.load(Ordering::Relaxed), 1);

    let signed = |jti: String| key.token(&claims("main", &jti));
    let (known, verifier) = (signed("known".to_owned()), &engine.verifier);
    for _ in 0..2 {
        verifier.verify(&known, Timestamp::from_secs(NOW)).unwrap();
    }
    let fresh: Vec<Vec<String>> = (0..THREADS)
        .map(|thread| (0..2000).map(|nth| signed(format!("{thread}-{nth}"))).collect())
        .collect();
    let begun = Instant::now();
    let seen: Vec<Seen> = thread::scope(|scope| {
        let known = &known;
        let threads: Vec<_> = fresh
            .iter()
            .zip(1..)
            .map(|(fresh, start)| scope.spawn(move || one(verifier, start, known, fresh, span)))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let took = begun.elapsed();

    let unknown: u64 = seen.iter().map(|seen| seen.unknown).sum();
    #[expect(clippy::cast_precision_loss, reason = "as many fit exactly")]
    let a_second = unknown as f64 / took.as_secs_f64();
    let latencies = |of: fn(&Seen) -> &[Duration]| {
        let mut all: Vec<Duration> = seen.iter().flat_map(of).copied().collect();
        all.sort_unstable();
        [50, 99].map(|percent| all[all.len() * percent / 100])
    };
    let [remembered, fresh] = [latencies(|seen| &seen.remembered), latencies(|seen| &seen.fresh)];
    let asked = asked.load(Ordering::Relaxed);
    let nanoseconds = |of: [Duration; 2]| of.map(|one| u64::try_from(one.as_nanos()).unwrap());
    let told = json!({
        "seconds": took.as_secs_f64(), "threads": THREADS, "unknown_a_second": a_second.round(),
        "fetches": asked, "remembered_p50_p99_ns": nanoseconds(remembered),
        "fresh_p50_p99_ns": nanoseconds(fresh),
    });
    println!("{told}");
    let once_a_minute = 1 + usize::try_from(span.as_secs() / 60).unwrap();
    assert_eq!(asked, 1 + once_a_minute, "at the start, and once a minute for all of these");
    if !cfg!(debug_assertions) {
        assert!(a_second >= LEAST, "{a_second} a second, at least {LEAST}");
        for p99 in [remembered[1], fresh[1]] {
            assert!(p99 < SANE, "a good token takes {p99:?}, at most {SANE:?}");
        }
    }
}

/// An issuer of this key, which counts how often it is asked; its port.
async fn issuer(key: &Signer, asked: Arc<AtomicUsize>) -> u16 {
    let set = json!({ "keys": [key.public()] }).to_string();
    let answer = move || {
        asked.fetch_add(1, Ordering::Relaxed);
        let set = set.clone();
        async move { set }
    };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let router = Router::new().route("/jwks", get(answer));
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

/// What one thread sends: tokens that nobody has signed, each of another `kid`,
/// and now and then a good one.
fn one(verifier: &Verifier, start: u64, known: &str, fresh: &[String], span: Duration) -> Seen {
    let now = Timestamp::from_secs(NOW);
    // Of the right form, as far as it is read before the key is looked for.
    let behind = &known[known.find('.').unwrap()..];
    let mut fresh = fresh.iter();
    let mut seen = Seen { unknown: 0, remembered: Vec::new(), fresh: Vec::new() };
    let (begun, mut random, mut token) = (Instant::now(), start, String::new());
    let timed = |token: &str| {
        let begun = Instant::now();
        let answer = verifier.verify(token, now);
        let took = begun.elapsed();
        assert_eq!(answer.unwrap().claims.user_id.as_str(), "main:ann");
        took
    };
    while begun.elapsed() < span {
        for _ in 0..BETWEEN {
            let header = format!("{{\"alg\":\"EdDSA\",\"kid\":\"{:016x}\"}}", next(&mut random));
            token.clear();
            URL_SAFE_NO_PAD.encode_string(header, &mut token);
            token.push_str(behind);
            assert_eq!(verifier.verify(&token, now).err(), Some(Refusal::UnknownKey));
        }
        seen.unknown += BETWEEN;
        seen.remembered.push(timed(known));
        seen.fresh.extend(fresh.next().map(|token| timed(token)));
    }
    seen
}

/// The next random number (`SplitMix64`), so that making it costs nothing beside
/// what is measured.
fn next(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut mixed = *state;
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}
