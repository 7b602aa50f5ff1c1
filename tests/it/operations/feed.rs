//! What a service tells an engine in another process, and what that makes of it: here the
//! engine is in the process of the tests, and the service is the binary.
//!
//! One room, though a long one: every test plays one side of the same socket by the same
//! few helpers.

use std::{
    io::{Read as _, Write as _},
    os::unix::net::{UnixListener, UnixStream},
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use portcullis::{
    api_key::KeyChange,
    app::Fed,
    authz::{CheckInput, Header, Headers},
    clock::{SystemClock, Timestamp},
    config::Bundle,
    feed::{Asks, Client, Lost, Receiver, VERSION},
    token::Revocation,
};
use serde_json::json;

use crate::{
    issuer::{AUDIENCE, table},
    mcp_differential::Dice,
    oidc::Provider,
    redis::Redis,
    replica::{OPEN, Replica},
    rogue::Rogue,
    stack::token,
    support::{Running, eventually, output, portcullis},
};

const LONG: Duration = Duration::from_secs(3600);

/// A service that tells, and the socket at which it does.
pub(crate) struct Teller {
    pub(crate) replica: Replica,
    pub(crate) socket: PathBuf,
    room: tempfile::TempDir,
}

impl Teller {
    pub(crate) fn start(toml: &str) -> Self {
        let room = tempfile::tempdir().unwrap();
        let socket = room.path().join("feed.sock");
        let replica = told_at(&socket, toml);
        Self { replica, socket, room }
    }

    /// Writes the configuration anew.
    fn write(&self, toml: &str) {
        let text = configuration(&self.socket, toml);
        let new = self.replica.config_file.with_extension("new");
        std::fs::write(&new, format!("login.users_file = \"users.toml\"\n{text}")).unwrap();
        std::fs::rename(new, &self.replica.config_file).unwrap();
    }
}

fn configuration(socket: &Path, toml: &str) -> String {
    let control_plane = "login.control_plane_url = \"https://cp.example.com\"";
    let listen = socket.display();
    format!(
        "feed.listen = \"unix:{listen}\"\n{control_plane}\n{toml}\n[lifecycle]\ndrain = \"0s\"\n"
    )
}

fn told_at(socket: &Path, toml: &str) -> Replica {
    Replica::start_with(&configuration(socket, toml))
}

pub(crate) fn fed(socket: &Path) -> Arc<Fed> {
    Fed::follow(socket.to_owned(), None, Arc::new(SystemClock)).unwrap()
}

/// Why the engine refuses these; empty when it does not, none when it knows nothing.
fn reason(fed: &Fed, path: &str, header: &str, value: &str) -> Option<&'static str> {
    let checker = fed.checker(LONG)?;
    let headers = vec![Header { name: header, value: value.as_bytes() }];
    let input = CheckInput {
        method: "GET",
        host: "app.example.com",
        path,
        headers: Headers::new(headers, Vec::new()),
        ..CheckInput::default()
    };
    let engine = checker.engine();
    let decision = engine.decide(&input, checker.now());
    Some(decision.reason().map_or("", portcullis::authz::Reason::as_str))
}

fn agents(fed: &Fed, token: &str) -> Option<&'static str> {
    reason(fed, "/api/agents", "authorization", &format!("Bearer {token}"))
}

/// Waits for this answer.
fn becomes(what: &str, wanted: &str, ask: impl Fn() -> Option<&'static str>) {
    eventually(what, || (ask() == Some(wanted)).then_some(()));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_shut_out_at_the_service_is_so_at_the_engine_within_ten_milliseconds() {
    let teller = Teller::start(OPEN);
    let fed = fed(&teller.socket);
    becomes("an engine", "", || agents(&fed, &token(&json!({}))));
    let mut took = Vec::new();
    for _ in 0..20 {
        let token = teller.replica.token("ann").await;
        assert_eq!(agents(&fed, &token), Some(""));
        assert_eq!(teller.replica.logout(&token).await.0, 200);
        let known = Instant::now();
        while agents(&fed, &token) != Some("revoked") {
            assert!(known.elapsed() < LONG, "never");
        }
        took.push(known.elapsed());
    }
    took.sort();
    println!("a revocation is known after {:?} (median), {:?} at most", took[10], took[19]);
    assert!(took[10] < Duration::from_millis(10), "{took:?}");
    // Another who follows later is told of all of them.
    let second = crate::feed::fed(&teller.socket);
    let token = teller.replica.token("ann").await;
    assert_eq!(teller.replica.logout(&token).await.0, 200);
    becomes("another engine", "revoked", || agents(&second, &token));
}

#[test]
fn a_changed_configuration_is_taken_over_whole_and_a_bad_one_is_not() {
    let teller = Teller::start(OPEN);
    let fed = fed(&teller.socket);
    let (regular, own) = (token(&json!({})), token(&json!({ "iss": "https://own.example.com" })));
    becomes("an engine", "", || agents(&fed, &regular));
    assert_eq!(agents(&fed, &own), Some(""));
    teller.write(&format!("{OPEN}tokens.issuer = \"https://own.example.com\"\n"));
    becomes("another issuer", "bad_issuer", || agents(&fed, &regular));
    assert_eq!(agents(&fed, &own), Some(""));
    teller.write("tokens = 7\n");
    teller.replica.says("the configuration was not reloaded");
    assert_eq!(agents(&fed, &own), Some(""));
    // What the engine cannot do: it says nothing then, until it can.
    teller.write(&format!("{OPEN}mcp.source = \"envoy\"\n"));
    eventually("no engine", || agents(&fed, &own).is_none().then_some(()));
    teller.write(OPEN);
    becomes("an engine again", "", || agents(&fed, &regular));
}

#[test]
fn what_is_known_is_enforced_without_the_service_and_its_age_is_known() {
    let teller = Teller::start(OPEN);
    let fed = fed(&teller.socket);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gone = runtime.block_on(teller.replica.token("ann"));
    let good = token(&json!({}));
    becomes("an engine", "", || agents(&fed, &good));
    runtime.block_on(teller.replica.logout(&gone));
    becomes("a revocation", "revoked", || agents(&fed, &gone));

    // Frozen: what is known ages, and is of use for as long as somebody says.
    teller.replica.running.freeze();
    let second = Duration::from_secs(1);
    eventually("age", || (fed.age() > second * 2).then_some(()));
    assert!(fed.checker(second).is_none() && fed.checker(LONG).is_some());
    assert_eq!((agents(&fed, &good), agents(&fed, &gone)), (Some(""), Some("revoked")));
    teller.replica.running.signal("CONT");
    eventually("news", || fed.checker(second).map(|_| ()));

    // Killed, and another one in its place, of another configuration and without the
    // revocation, which was in its memory.
    let Teller { replica, socket, room } = teller;
    drop(replica);
    eventually("age", || (fed.age() > second).then_some(()));
    assert_eq!((agents(&fed, &good), agents(&fed, &gone)), (Some(""), Some("revoked")));
    let rules = "[[rules]]\nname = \"other\"\npath_prefix = \"/other\"\nroles = [\"REGULAR\"]\n";
    let next = told_at(&socket, &format!("{OPEN}{rules}"));
    becomes("the other rules", "no_rule", || agents(&fed, &good));
    let other = |token: &str| reason(&fed, "/other", "authorization", &format!("Bearer {token}"));
    assert_eq!((other(&good), other(&gone)), (Some(""), Some("revoked")));
    drop((next, room));
}

#[test]
fn keys_of_the_store_are_known_and_the_service_hears_which_were_used() {
    let redis = Redis::single();
    let toml = format!("{OPEN}[api_keys]\n\n{}", redis.toml);
    let teller = Teller::start(&toml);
    let fed = fed(&teller.socket);
    let config = teller.replica.config_file.to_str().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = portcullis();
        let said = output(command.args(arguments).args(["--config", config]), "");
        assert!(said.status.success(), "{}", String::from_utf8_lossy(&said.stderr));
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    let new = ["key", "new", "--user-id", "7", "--name", "ann", "--role", "REGULAR"];
    let ask = |key: &str| reason(&fed, "/api/agents", "x-api-key", key);
    // One before it follows, and one after.
    let first = run(&new);
    becomes("the first key", "", || ask(&first));
    let second = run(&new);
    becomes("the second key", "", || ask(&second));
    let late = crate::feed::fed(&teller.socket);
    becomes("all keys at once", "", || reason(&late, "/api/agents", "x-api-key", &second));
    // The engine in another process has seen it, and the service alone has a store.
    let id_of = |key: &str| key.split('_').nth(1).unwrap().get(..11).unwrap().to_owned();
    let shown = || run(&["key", "show", &id_of(&second)]);
    eventually("its use", || shown().contains("\"last_used\": \"2").then_some(()));
    run(&["key", "revoke", &id_of(&first)]);
    becomes("a revoked key", "key_revoked", || ask(&first));
    assert_eq!(ask(&second), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn keys_of_an_issuer_are_told_and_one_that_is_missed_is_fetched() {
    let provider = Provider::start();
    let rule = "[[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\nroles = [\"REGULAR\", \"ADMIN\"]\n";
    let toml = format!("{OPEN}{}{rule}", table("acme", &provider.issuer, "refresh = \"1h\""));
    let teller = Teller::start(&toml);
    let fed = fed(&teller.socket);
    let first = provider.robot(AUDIENCE).await;
    becomes("the keys of the issuer", "", || agents(&fed, &first));
    provider.does("/rotate").await;
    let next = provider.robot(AUDIENCE).await;
    assert_eq!(agents(&fed, &next), Some("unknown_key"));
    becomes("the newest key", "", || agents(&fed, &next));
    assert_eq!(agents(&fed, &first), Some(""));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_of_an_issuer_of_the_shadow_are_not_those_of_its_namesake() {
    let (own, other) = (Rogue::start().await, Rogue::start().await);
    let rule = "[[rules]]\nname = \"agents\"\npath_prefix = \"/api/agents\"\nroles = [\"REGULAR\", \"ADMIN\"]\n";
    let elsewhere = format!("jwks_uri = \"{}/jwks\"", other.issuer);
    let files = tempfile::tempdir().unwrap();
    let next = files.path().join("next.toml");
    std::fs::write(&next, format!("{}{rule}", table("acme", &own.issuer, &elsewhere))).unwrap();
    let shadow = format!("shadow.file = {:?}\n", next.to_str().unwrap());
    let toml = format!("{OPEN}{shadow}{}{rule}", table("acme", &own.issuer, ""));
    let teller = Teller::start(&toml);
    let fed = fed(&teller.socket);
    let good = crate::issuer::token(&own, 0);
    becomes("the keys of the issuer", "", || agents(&fed, &good));
    eventually("the keys of the shadow", || (other.asked("/jwks") > 0).then_some(()));
    let now = portcullis::clock::Clock::now(&SystemClock).as_secs();
    let forged = other.signed(
        0,
        &json!({ "iss": own.issuer, "aud": AUDIENCE, "sub": "ann", "preferred_username": "ann",
            "email": "ann@example.com", "realm_access": { "roles": ["staff"] },
            "iat": now, "exp": now + 600 }),
    );
    // Until whatever is told has been: a beat is a second.
    let told = Instant::now();
    while told.elapsed() < Duration::from_secs(3) {
        assert_eq!(agents(&fed, &forged), Some("bad_signature"));
        assert_eq!(agents(&fed, &good), Some(""));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[test]
fn a_key_that_the_store_has_no_more_is_none() {
    let redis = Redis::single();
    let taken = |prefix: &str| {
        let store = redis.toml.replace("[store]", &format!("[store]\nprefix = {prefix:?}"));
        format!("{OPEN}[api_keys]\n\n{store}")
    };
    let teller = Teller::start(&taken("one:"));
    let fed = fed(&teller.socket);
    let mut command = portcullis();
    command.args(["key", "new", "--user-id", "7", "--name", "ann", "--role", "REGULAR"]);
    command.args(["--config", teller.replica.config_file.to_str().unwrap()]);
    let key = String::from_utf8(output(&mut command, "").stdout).unwrap().trim().to_owned();
    let ask = || reason(&fed, "/api/agents", "x-api-key", &key);
    becomes("a key", "", ask);
    let Teller { replica, socket, room } = teller;
    drop(replica);
    // Another store, which never had it.
    let next = told_at(&socket, &taken("two:"));
    becomes("no such key", "unknown_key_id", ask);
    drop((next, room));
}

/// Somebody else's socket in the place of the service's.
const AS_SERVICE: &str = "
import os, socket, sys
os.chmod(os.path.dirname(sys.argv[1]), 0o777)
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
s.listen()
print('ready', flush=True)
s.settimeout(20)
for _ in range(2):
    peer = s.accept()[0]
    if peer.recv(18):
        peer.sendall(b'no feed of anybody')
";

#[test]
fn a_service_of_somebody_else_is_none() {
    use std::os::unix::fs::MetadataExt as _;
    if std::fs::metadata("/proc/self").unwrap().uid() != 0 {
        // Without the right to become another user, nobody else can listen.
        return;
    }
    let room = tempfile::tempdir().unwrap();
    let socket = room.path().join("feed.sock");
    let mut command = Command::new("python3");
    let other = Running::start(command.args(["-u", "-c", AS_SERVICE]).arg(&socket));
    other.line("ready");
    let lost = Client::connect(&socket, None).unwrap_err().to_string();
    assert!(lost.contains("it belongs to the user 65534: name that one as \"uid\""), "{lost}");
    let named = Client::connect(&socket, Some(65534)).unwrap_err().to_string();
    assert_eq!(named, "it is no feed of portcullis");
}

/// Runs some Python, perhaps as another user.
fn python(text: &str, socket: &Path) -> String {
    let mut command = Command::new("python3");
    let said = output(command.args(["-c", text]).arg(socket), "");
    String::from_utf8_lossy(&said.stdout).trim().to_owned()
}

const AS_NOBODY: &str = "
import os, socket, sys
os.setgroups([]); os.setgid(65534); os.setuid(65534)
s = socket.socket(socket.AF_UNIX)
s.settimeout(10)
try:
    s.connect(sys.argv[1])
    print(len(s.recv(18)))
except PermissionError:
    print('denied')
";

#[test]
fn nobody_is_told_but_the_services_user_and_those_who_are_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let mode =
        |teller: &Teller| std::fs::metadata(&teller.socket).unwrap().permissions().mode() & 0o777;
    let of = |uids: &str| {
        let teller = Teller::start(&format!("{OPEN}feed.uids = {uids}\n"));
        let room = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(teller.room.path(), room).unwrap();
        teller
    };
    let (own, other, named) = (of("[]"), of("[4711]"), of("[65534]"));
    assert_eq!([&own, &other, &named].map(mode), [0o600, 0o666, 0o666]);
    if std::fs::metadata("/proc/self").map(|file| std::os::unix::fs::MetadataExt::uid(&file)).ok()
        != Some(0)
    {
        // Without the right to become another user, nobody else can ask.
        return;
    }
    assert_eq!(python(AS_NOBODY, &own.socket), "denied");
    assert_eq!(python(AS_NOBODY, &other.socket), "0");
    other.replica.says("a user who may not follow has connected");
    assert_eq!(python(AS_NOBODY, &named.socket), "18");
}

/// The greeting of a version.
fn greeting(version: u16) -> Vec<u8> {
    [b"portcullis-feed\0".as_slice(), &version.to_be_bytes()].concat()
}

/// All that a service says to one who follows, up to its first pause.
fn recorded(socket: &Path) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    stream.write_all(&greeting(VERSION)).unwrap();
    let (mut all, mut chunk) = (Vec::new(), [0; 4096]);
    while let Ok(count @ 1..) = stream.read(&mut chunk) {
        all.extend_from_slice(&chunk[..count]);
    }
    all
}

/// One who hears, and does nothing.
#[derive(Default)]
struct Hears {
    whole: usize,
}

impl Receiver for Hears {
    fn is_wanted(&self) -> bool {
        true
    }
    fn settings(&mut self, bundle: &[u8]) {
        Bundle::decode(bundle).unwrap().load().unwrap();
    }
    fn issuer(&mut self, _: [u8; 32], _: &str, _: Timestamp) {}
    fn revoked(&mut self, _: Vec<Revocation>) {}
    fn keys(&mut self, _: &[KeyChange]) {}
    fn whole(&mut self, _: Duration, _: bool) {
        self.whole += 1;
    }
    fn heard(&mut self) {}
    fn asks(&mut self) -> Asks {
        Asks::default()
    }
    fn unasked(&mut self, _: Asks) {}
}

/// What one who follows makes of these bytes, which come with a pause after each piece.
fn made_of(bytes: &[u8], piece: usize, pause: Duration) -> (Lost, usize) {
    let room = tempfile::tempdir().unwrap();
    let socket = room.path().join("feed.sock");
    let listener = UnixListener::bind(&socket).unwrap();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            // What is left unread would take with it what was written.
            stream.read_exact(&mut [0; 18]).unwrap();
            for piece in bytes.chunks(piece) {
                if stream.write_all(piece).is_err() {
                    return;
                }
                std::thread::sleep(pause);
            }
        });
        let mut hears = Hears::default();
        let lost = Client::connect(&socket, None).and_then(|client| client.follow(&mut hears));
        (lost.unwrap_err(), hears.whole)
    })
}

#[test]
fn a_feed_that_is_broken_in_any_way_is_none() {
    let teller = Teller::start(OPEN);
    let good = token(&json!({}));
    let fed = fed(&teller.socket);
    becomes("an engine", "", || agents(&fed, &good));
    let all = recorded(&teller.socket);
    let (lost, whole) = made_of(&all, all.len(), Duration::ZERO);
    assert!(matches!(lost, Lost::Gone(_)) && whole == 1, "as it is: {lost} {whole}");
    let mut dice = Dice(0x9e37_79b9_7f4a_7c15);
    for _ in 0..300 {
        let mut broken = all.clone();
        let at = dice.roll(broken.len());
        broken[at] ^= 1 << dice.roll(8);
        let (lost, whole) = made_of(&broken, broken.len(), Duration::ZERO);
        // What follows all that there is may be the broken one.
        assert!(whole == 0 || at > broken.len() - 64, "{at} {lost}");
    }
    for length in (0..all.len()).step_by(97) {
        let (lost, whole) = made_of(&all[..length], 4096, Duration::ZERO);
        assert!(matches!(lost, Lost::Gone(_)) && whole == 0, "{length} {lost}");
    }
    let mut long = greeting(VERSION);
    long.extend((1_u32 << 30).to_be_bytes());
    long.extend([0; 64]);
    let (lost, _) = made_of(&long, 4096, Duration::ZERO);
    assert!(lost.to_string().contains("too long"), "{lost}");
}

#[test]
fn a_service_that_says_a_byte_at_a_time_is_lost() {
    let teller = Teller::start(OPEN);
    let all = recorded(&teller.socket);
    let (lost, whole) = made_of(&all, 1, Duration::from_millis(15));
    assert!(matches!(lost, Lost::Silent) && whole == 0, "{lost} {whole}");
}

#[test]
fn another_version_is_refused_with_both_named() {
    let (lost, _) = made_of(&greeting(VERSION + 6), 18, Duration::ZERO);
    let expected =
        format!("it speaks version {} of the feed, and this side version {VERSION}", VERSION + 6);
    assert_eq!(lost.to_string(), expected);
    let (lost, _) = made_of(b"HTTP/1.1 400 Bad Request\r\n\r\n", 100, Duration::ZERO);
    assert_eq!(lost.to_string(), "it is no feed of portcullis");
    let teller = Teller::start(OPEN);
    let mut stream = UnixStream::connect(&teller.socket).unwrap();
    stream.write_all(&greeting(VERSION + 6)).unwrap();
    teller.replica.says(&expected);
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest);
    assert_eq!(rest, greeting(VERSION), "nothing but the greeting");
}

#[test]
fn no_secret_of_the_service_is_told_but_the_keys_that_tokens_are_verified_by() {
    let redis = Redis::with_password("a-password-of-redis");
    let sso = "issuer = \"https://idp.example.com\", client_id = \"portcullis\", \
               client_secret = \"a-secret-of-the-provider\"";
    let of_file = format!("sso = {{ {sso} }}\n");
    for (toml, variable) in [(of_file, None), (String::new(), Some(format!("{{ {sso} }}")))] {
        let room = tempfile::tempdir().unwrap();
        let socket = room.path().join("feed.sock");
        let mut command = portcullis();
        command.envs(variable.iter().map(|value| ("PORTCULLIS__SSO", value)));
        let text = configuration(&socket, &format!("{OPEN}{toml}{}", redis.toml));
        let _replica = Replica::of(command, &text);
        let all = eventually("a feed", || socket.exists().then(|| recorded(&socket)));
        let says = |text: &str| all.windows(text.len()).any(|part| part == text.as_bytes());
        assert!(says(crate::jwt::SECRET) && says("portcullis.toml"));
        assert!(says("https://idp.example.com"));
        for secret in ["a-password-of-redis", "a-secret-of-the-provider", "argon2id", "users.toml"]
        {
            assert!(!says(secret), "{secret}");
        }
    }
}
