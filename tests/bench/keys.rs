//! What a check by a key costs, from bytes to bytes: with ten keys and with 1,100,000,
//! and by what is wrong with the key.

use std::{collections::BTreeMap, fmt::Write as _, hint::black_box, sync::Arc};

use portcullis::{
    api_key::{ApiKey, KeyChange, KeyHash, KeyId, KeyList, KeySays, NewKey, entry_of_file},
    app::{self, Lists},
    clock::Timestamp,
    config::{Config, Sources},
    grpc::CheckService,
    proto::envoy::service::auth::v3::{
        CheckResponse, attribute_context::HttpRequest, check_response::HttpResponse,
    },
    token::RevocationList,
};
use prost::Message as _;
use secrecy::ExposeSecret as _;

use crate::{NOW, encoded, jwt, print_medians, service_of, taken};

/// Keys in the file and in the store, of which some are asked with.
const IN_FILE: u64 = 100_000;
const IN_STORE: u64 = 1_000_000;
const ASKED: usize = 1000;
/// So many others lie between two of them.
const APART: u64 = 250;
/// The digits of base62.
const DIGITS: &[u8] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Questions of a kind in a turn.
const TIMES: u32 = 300;

/// The key of this number, whose secret nobody has.
fn numbered(number: u64) -> ApiKey {
    // As random as ids are.
    let id = KeyId::from_bits(number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    let mut hash = [0; 32];
    hash[..8].copy_from_slice(&id.bits().to_le_bytes());
    of(id, KeyHash::from_bytes(hash), number)
}

fn of(id: KeyId, hash: KeyHash, number: u64) -> ApiKey {
    let says = KeySays {
        user_id: format!("user-{number:07}"),
        name: format!("agent-{number:07}"),
        role: "REGULAR".to_owned(),
        scopes: vec!["agents:run".to_owned()],
        created: Some(NOW - 1000),
        ..KeySays::default()
    };
    let expires = Some(Timestamp::from_secs(NOW + 90 * 24 * 3600));
    ApiKey { id, hash, says, expires, revoked: None }
}

fn made(number: u64) -> (String, ApiKey) {
    let new = NewKey::make().unwrap();
    (new.text.expose_secret().to_owned(), of(new.id, new.hash, number))
}

fn put(list: &KeyList, keys: impl Iterator<Item = ApiKey>) {
    let changes: Vec<KeyChange> = keys.map(|key| KeyChange::Key(Box::new(key))).collect();
    list.apply(&changes, |_, _, _| {});
}

/// A service that has these keys in its store, and so many more, here and there.
fn service(own: &[(String, ApiKey)], in_file: u64, in_store: u64) -> CheckService {
    let room = tempfile::tempdir().unwrap();
    let file = |name: &str| room.path().join(name);
    let mut text = String::new();
    for number in 0..in_file {
        let _ = writeln!(text, "{}", entry_of_file(&numbered(IN_STORE + number)));
    }
    std::fs::write(file("keys.toml"), text).unwrap();
    let toml = "[api_keys]\nfile = \"keys.toml\"\n\
                [[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\nroles = [\"REGULAR\"]\n";
    std::fs::write(file("portcullis.toml"), toml).unwrap();
    let secret = ("AUTH_JWT_SECRET".into(), jwt::SECRET.into());
    let sources = Sources::new(vec![file("portcullis.toml")], [secret]);
    let config = Config::load(&sources).unwrap();
    let lists = Lists::from(Arc::new(RevocationList::empty()));
    // Ours are strewn among the others: side by side they would share pages of memory,
    // and be nearer than what any other key is compared with.
    let mut own = own.iter().map(|(_, key)| key.clone());
    for page in 0..in_store / APART {
        put(
            &lists.keys,
            own.next().into_iter().chain((page * APART..(page + 1) * APART).map(numbered)),
        );
    }
    put(&lists.keys, own);
    service_of(app::engine(config, lists))
}

fn question(text: &str) -> Vec<u8> {
    let headers = [("x-api-key", text), (":authority", "app.example.com")];
    let http = HttpRequest {
        method: "GET".to_owned(),
        host: "app.example.com".to_owned(),
        path: "/api/agents".to_owned(),
        headers: headers.map(|(name, value)| (name.to_owned(), value.to_owned())).into(),
        ..HttpRequest::default()
    };
    encoded(http, None)
}

/// The same key with another secret, or with a slip of the pen.
fn spoilt(text: &str, other: &str, with_checksum: bool) -> String {
    if with_checksum {
        // Its id, and all the rest of another one: the checksum is of neither.
        return format!("{}{}", &text[..64], if text.ends_with('0') { '1' } else { '0' });
    }
    let rest = format!("{}{}", &text[..16], &other[16..59]);
    let sum = crc32fast::hash(rest.as_bytes());
    let digits = (0..6_u32).rev().map(|at| DIGITS[(sum / 62_u32.pow(at) % 62) as usize]);
    rest + &digits.map(char::from).collect::<String>()
}

/// Runs all kinds in so many turns, and prints nanoseconds of CPU as JSON: the median
/// of each.
pub(crate) fn keys(turns: usize) {
    // A thousand of each kind: what another kind has asked for would be in the
    // processor's memory still, and cost less for that.
    let own: Vec<(String, ApiKey)> = (0..3 * ASKED as u64).map(made).collect();
    let ten = &own[..10];
    let few = service(ten, 0, 0);
    let many = service(&own, IN_FILE, IN_STORE);
    let good: Vec<Vec<u8>> = own[..ASKED].iter().map(|(text, _)| question(text)).collect();
    let bad = |nth: usize, of: &dyn Fn(&str, &str) -> String| -> Vec<Vec<u8>> {
        let own = &own[nth * ASKED..(nth + 1) * ASKED];
        let others = own.iter().skip(1).chain(own);
        own.iter().zip(others).map(|((one, _), (other, _))| question(&of(one, other))).collect()
    };
    let unknown = bad(0, &|_, _| made(0).0);
    let forged = bad(1, &|one, other| spoilt(one, other, false));
    let slips = bad(2, &|one, other| spoilt(one, other, true));
    let kinds: [(&str, &CheckService, &[Vec<u8>], bool); 6] = [
        ("ten_of_ten", &few, &good[..10], true),
        ("ten_of_many", &many, &good[..10], true),
        ("any_of_many", &many, &good, true),
        ("unknown_id", &many, &unknown, false),
        ("bad_secret", &many, &forged, false),
        ("bad_checksum", &many, &slips, false),
    ];
    let mut took: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for turn in 0..=turns {
        for (name, service, questions, is_allowed) in kinds {
            let mut next = turn * TIMES as usize;
            let each = taken(TIMES, || {
                for _ in 0..TIMES {
                    next += 1;
                    let question = &questions[next % questions.len()];
                    black_box(service.answer(Some(black_box(question))));
                }
            });
            // The first turn warms up.
            if turn > 0 {
                took.entry(name).or_default().push(each);
                continue;
            }
            let answer = CheckResponse::decode(service.answer(Some(&questions[0]))).unwrap();
            let was = matches!(answer.http_response, Some(HttpResponse::OkResponse(_)));
            assert_eq!(was, is_allowed, "{name}: {answer:?}");
        }
    }
    print_medians(took);
}
