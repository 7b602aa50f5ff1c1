//! Paths, hosts, cookies, addresses and `return_to`: texts that servers and browsers
//! read, too.

use std::{
    collections::BTreeSet,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::LazyLock,
};

use http::{HeaderMap, HeaderValue};
use portcullis::{
    authz::{self, MAX_PATH_BYTES, NormalHost, NormalPath, PathAllow},
    sso::{ReturnRules, ReturnTo},
    web::{self, TrustedProxies},
};
use url::Url;

/// A path that is taken is read by no server otherwise than in one of its readings.
///
/// The first byte says which forms are allowed.
pub fn path(data: &[u8]) {
    let Some((&forms, path)) = data.split_first() else { return };
    let Ok(text) = std::str::from_utf8(path) else { return };
    let is_set = |at: u8| forms & 1 << at != 0;
    let allow = PathAllow {
        encoded_slash: is_set(0),
        semicolon: is_set(1),
        encoded_percent: is_set(2),
        encoded_hash: is_set(3),
        encoded_question_mark: is_set(4),
    };
    let Ok(normal) = NormalPath::parse(text, allow) else { return };
    assert!(text.len() <= MAX_PATH_BYTES);
    let own: BTreeSet<Vec<Vec<u8>>> =
        normal.readings().map(|it| it.iter().map(|it| it.as_bytes().to_vec()).collect()).collect();
    assert!(own.len() <= 40, "the work is bounded");
    for reading in &own {
        for (at, segment) in reading.iter().enumerate() {
            assert!(at + 1 == reading.len() || !segment.is_empty(), "an empty segment");
            assert!(segment != b"." && segment != b"..", "a dot segment");
        }
    }
    for reading in servers(path) {
        // No rule is for a name that is encoded yet: a server that serves one serves
        // nothing that is guarded.
        if !is_encoded(&reading) {
            let segments: Vec<Vec<u8>> =
                reading.split(|byte| *byte == b'/').skip(1).map(<[u8]>::to_vec).collect();
            let shown = String::from_utf8_lossy(&reading);
            assert!(own.contains(&segments), "{text:?} is {shown:?} to a server, not {own:?}");
        }
    }
    // What is written anew is read as the same.
    let mut again = String::new();
    for segment in normal.segments() {
        again.push('/');
        segment.bytes().for_each(|byte| again.push_str(&format!("%{byte:02X}")));
    }
    if again.len() <= MAX_PATH_BYTES {
        let read = NormalPath::parse(&again, allow).expect("a normal path is one");
        assert_eq!(read.segments(), normal.segments());
    }
}

fn is_encoded(path: &[u8]) -> bool {
    path.windows(3)
        .any(|it| it[0] == b'%' && it[1].is_ascii_hexdigit() && it[2].is_ascii_hexdigit())
}

/// Percent-decodes, and leaves what is broken as it is.
fn decoded(path: &[u8]) -> Vec<u8> {
    let digit = |at: usize| path.get(at).and_then(|it| char::from(*it).to_digit(16));
    let (mut out, mut at) = (Vec::new(), 0);
    while at < path.len() {
        if let (b'%', Some(high), Some(low)) = (path[at], digit(at + 1), digit(at + 2)) {
            out.push(u8::try_from(high * 16 + low).unwrap_or_default());
            at += 3;
        } else {
            out.push(path[at]);
            at += 1;
        }
    }
    out
}

fn before(path: &[u8], end: u8) -> Vec<u8> {
    path.split(|byte| *byte == end).next().unwrap_or_default().to_vec()
}

type Step = fn(&[u8]) -> Vec<u8>;

/// What a server does with a path, one step of it.
const STEPS: [Step; 7] = [
    decoded,
    // Parameters end with their segment.
    |path| {
        path.split(|byte| *byte == b'/').map(|it| before(it, b';')).collect::<Vec<_>>().join(&b'/')
    },
    |path| before(path, b'?'),
    |path| before(path, b'#'),
    |path| before(path, 0),
    |path| path.iter().map(|byte| if *byte == b'\\' { b'/' } else { *byte }).collect(),
    // Without empty and dot segments, as file systems read it.
    |path| {
        let mut out: Vec<&[u8]> = vec![b""];
        for segment in path.split(|byte| *byte == b'/') {
            match segment {
                b".." if out.len() > 1 => drop(out.pop()),
                b"" | b"." | b".." => {}
                other => out.push(other),
            }
        }
        if path.ends_with(b"/") {
            out.push(b"");
        }
        out.join(&b'/')
    },
];

/// The paths that servers make of this one: by every order of those steps.
fn servers(path: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut all = BTreeSet::from([path.to_vec()]);
    let mut new = all.clone();
    while !new.is_empty() && all.len() < 256 {
        let next: BTreeSet<_> =
            new.iter().flat_map(|path| STEPS.iter().map(|step| step(path))).collect();
        new = next.difference(&all).cloned().collect();
        all.extend(new.iter().cloned());
    }
    all
}

/// A host that is taken is the same to browsers and to the `http` crate.
pub fn host(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Some(host) = NormalHost::parse(text) else { return };
    let own = host.as_str();
    assert!(!own.bytes().any(|byte| byte.is_ascii_uppercase() || byte.is_ascii_control()));
    assert_eq!(NormalHost::parse(own).as_ref(), Some(&host), "its own text is another");
    for parent in host.parents() {
        assert!(own.ends_with(&format!(".{parent}")));
    }
    let without_dot = |host: &str| host.strip_suffix('.').unwrap_or(host).to_owned();
    if let Ok(url) = Url::parse(&format!("http://{text}/x")) {
        assert_eq!(url.host_str().map(without_dot).as_deref(), Some(own), "a browser's is another");
        assert_eq!((url.username(), url.password(), url.path()), ("", None, "/x"));
    }
    if let Ok(authority) = text.parse::<http::uri::Authority>() {
        let theirs = without_dot(&authority.host().to_ascii_lowercase());
        let address = |it: &str| it.trim_matches(['[', ']']).parse::<Ipv6Addr>().ok();
        let is_same_address = address(own).is_some() && address(own) == address(&theirs);
        assert!(theirs == own || is_same_address, "a server's is {theirs}, not {own}");
    }
}

/// The cookies of this name that a server finds which separates them by these.
fn tokens(line: &[u8], separators: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    for pair in line.split(|byte| separators.contains(byte)) {
        let mut halves = pair.splitn(2, |byte| *byte == b'=');
        let name = halves.next().unwrap_or_default().trim_ascii();
        if let (b"token", Some(value)) = (name, halves.next()) {
            found.push(value.trim_ascii().to_vec());
        }
    }
    found
}

/// A cookie that is found is the only one of its name to every server, and taking it
/// out leaves none of them.
///
/// Each line is a line of `Cookie`.
pub fn cookies(data: &[u8]) {
    let lines: Vec<&[u8]> = data.split(|byte| *byte == b'\n').collect();
    let found = authz::fuzzing::cookie(&lines, "token");
    let line_by_line =
        |by: &[u8]| lines.iter().flat_map(|line| tokens(line, by)).collect::<Vec<_>>();
    let joined = |with: &[u8], by: &[u8]| tokens(&lines.join(with), by);
    let readings = [
        line_by_line(b";"),
        line_by_line(b";,"),
        joined(b"; ", b";"),
        joined(b"; ", b";,"),
        joined(b", ", b";,"),
        joined(b",", b";,"),
    ];
    match found {
        Ok(Some(value)) => {
            assert!(readings.iter().all(|it| *it == [value]), "{readings:?}");
        }
        Ok(None) => assert!(readings.iter().all(Vec::is_empty), "{readings:?}"),
        Err(_) => assert!(!readings.iter().all(Vec::is_empty), "nothing is refused"),
    }
    let Some(rest) = authz::fuzzing::without_cookie(&lines, "token") else {
        assert_eq!(found, Ok(None));
        return;
    };
    assert_ne!(found, Ok(None));
    assert_eq!(authz::fuzzing::cookie(&[&rest], "token"), Ok(None), "it is still there");
    for separators in [&b";"[..], b";,"] {
        assert!(tokens(&rest, separators).is_empty(), "a server finds it yet");
    }
    // All others stay, in their order.
    let others = |line: &[u8]| -> Vec<Vec<u8>> {
        let all = line.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let is_other = |pair: &&[u8]| !pair.is_empty() && tokens(pair, b",").is_empty();
        all.filter(is_other).map(<[u8]>::to_vec).collect()
    };
    let before: Vec<Vec<u8>> = lines.iter().flat_map(|line| others(line)).collect();
    assert_eq!(others(&rest), before, "another cookie is lost");
}

/// The client's address is the peer's, or one that a proxy has written: what a client
/// writes on the left of it changes nothing.
///
/// The first byte says who is trusted and who asks; each line is one of the header.
pub fn forwarded_for(data: &[u8]) {
    let Some((&choice, rest)) = data.split_first() else { return };
    let networks = |all: &[&str]| all.iter().filter_map(|it| it.parse().ok()).collect();
    let hops = [None, Some(1), Some(2), Some(3)][usize::from(choice & 3)];
    let networks = match choice >> 2 & 3 {
        0 => networks(&[]),
        1 => networks(&["10.0.0.0/8"]),
        2 => networks(&["10.0.0.0/8", "fd00::/8", "::ffff:192.0.2.0/120"]),
        _ => networks(&["0.0.0.0/0", "::/0"]),
    };
    let peers = ["10.0.0.1", "192.0.2.9", "::ffff:10.0.0.1", "fd00::1", "2001:db8::9"];
    let peer: IpAddr = peers[usize::from(choice >> 4) % peers.len()].parse().expect("an address");
    let proxies = TrustedProxies { networks, hops };
    let mut headers = HeaderMap::new();
    for line in rest.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append("x-forwarded-for", value);
        }
    }
    let of = |headers: &HeaderMap| web::fuzzing::client(&proxies, peer, headers);
    let client = of(&headers);
    assert_eq!(client, expected_client(&proxies, peer, &headers));
    assert!(client.is_none_or(|client| client == client.to_canonical()), "two names of one");

    // What a client writes stands on the left of what the proxies append.
    let appended = "203.0.113.7";
    let with = |forged: &[&HeaderValue]| {
        let mut all = HeaderMap::new();
        for line in forged {
            all.append("x-forwarded-for", (*line).clone());
        }
        for _ in 0..hops.unwrap_or(1) {
            all.append("x-forwarded-for", HeaderValue::from_static(appended));
        }
        of(&all)
    };
    let forged: Vec<&HeaderValue> = headers.get_all("x-forwarded-for").iter().collect();
    let trusts_all = choice >> 2 & 3 == 3 && hops.is_none();
    if !trusts_all {
        assert_eq!(with(&forged), with(&[]), "a client has chosen its address");
    }
}

/// The same, in the words of the documentation.
fn expected_client(proxies: &TrustedProxies, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    let canonical = |it: IpAddr| match it {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(it, IpAddr::V4),
        IpAddr::V4(_) => it,
    };
    let peer = canonical(peer);
    let trusts = |it: IpAddr| proxies.networks.iter().any(|network| network.contains(&it));
    let read = |text: &str| {
        let text = text.trim();
        let inner = text.strip_prefix('[').and_then(|it| it.strip_suffix(']')).unwrap_or(text);
        let with_port = || text.parse::<SocketAddr>().map(|it| it.ip()).ok();
        inner.parse::<IpAddr>().ok().or_else(with_port).map(canonical)
    };
    let mut items: Vec<Option<String>> = Vec::new();
    for line in headers.get_all("x-forwarded-for") {
        match line.to_str() {
            Ok(line) => items.extend(line.split(',').map(|it| Some(it.to_owned()))),
            Err(_) => items.push(None),
        }
    }
    let is_believed = trusts(peer) || (proxies.hops.is_some() && proxies.networks.is_empty());
    if !is_believed {
        let is_local = ["10.0.0.0/8", "fd00::/8"].iter().any(|network| {
            network.parse::<ipnet::IpNet>().is_ok_and(|network| network.contains(&peer))
        });
        return (!is_local || items.is_empty()).then_some(peer);
    }
    items.reverse();
    if let Some(hops) = proxies.hops {
        let item = items.get(hops - 1).cloned().flatten();
        return Some(item.and_then(|item| read(&item)).unwrap_or(peer));
    }
    let mut last = peer;
    for item in items {
        let Some(item) = item else { return Some(peer) };
        if item.trim().is_empty() {
            continue;
        }
        match read(&item) {
            None => return Some(peer),
            Some(address) if !trusts(address) => return Some(address),
            Some(address) => last = address,
        }
    }
    Some(last)
}

static RETURN_RULES: LazyLock<ReturnRules> = LazyLock::new(|| {
    let url = |text: &str| Url::parse(text).expect("an address");
    ReturnRules {
        public_url: url("https://eu.example.com/auth"),
        control_plane: Some(url("https://cp.example.com/plane")),
        paths: vec!["/ui/login".into(), "/ui/login/".into()],
        origins: vec![url("https://app.example.com:8443").origin()],
    }
});

/// An address that may be returned to is one of ours to a browser, and to a reader
/// that knows RFC 3986 alone.
pub fn return_to(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let rules = &*RETURN_RULES;
    let Some(to) = rules.read(text) else { return };
    let browser = Url::options().base_url(Some(&rules.public_url)).parse(text);
    assert_eq!(browser.as_ref(), Ok(to.url()), "a browser goes elsewhere");
    let url = to.url();
    let written = url.as_str();
    assert!(written.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\'), "{written}");
    assert_eq!(Url::parse(written).as_ref(), Ok(url), "what is written is read otherwise");
    assert!((url.username(), url.password()) == ("", None) && url.scheme() == "https");
    let host = url.host_str().unwrap_or_default();
    match &to {
        ReturnTo::ControlPlane(url) => {
            assert_eq!((host, url.port()), ("cp.example.com", None));
            let pages = ["/ui/login", "/ui/login/", "/plane/ui/login", "/plane/ui/login/"];
            assert!(pages.contains(&url.path()), "{url} is no page");
            let is_ours = |name: &str| name == "code" || name == "login";
            assert!(!url.query_pairs().any(|(name, _)| is_ours(&name)), "{url} has a code");
        }
        ReturnTo::WithCookie(_) => {
            let is_own = (host, url.port()) == ("eu.example.com", None);
            assert!(is_own || (host, url.port()) == ("app.example.com", Some(8443)), "{url}");
            assert!(!url.path().starts_with("//"), "{url} is another host's, as a path");
        }
    }
    // RFC 3986, appendix B, of what goes into `Location`, and of what came.
    for text in [written, text] {
        let (scheme, rest) = text.split_once("://").unwrap_or(("https", text));
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        if text.starts_with('/') {
            assert!(!text.starts_with("//"), "{text} is another host's");
        } else {
            let bare = authority.to_ascii_lowercase();
            let bare = bare.strip_suffix(":443").unwrap_or(&bare);
            let known = ["eu.example.com", "cp.example.com", "app.example.com:8443"];
            assert!(known.contains(&bare) && scheme.eq_ignore_ascii_case("https"), "{text}");
        }
    }
}
