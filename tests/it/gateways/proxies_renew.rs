//! The renewed cookie on its way to the browser, through every gateway that is
//! shipped.

use std::{
    io::{Read as _, Write as _},
    net::TcpListener,
};

use portcullis::{
    clock::{Clock as _, SystemClock},
    token::peek,
};
use serde_json::json;

use crate::{
    stack::{Mode, NEWEST, Stack, UPSTREAM, VERSIONS, token},
    support::{eventually, read},
};

const HOUR: i64 = 3600;

/// An upstream that sets a cookie of its own, and lets caches keep what it answers.
fn upstream() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, mut head, mut chunk) = (stream.unwrap(), Vec::new(), [0; 4096]);
            while !head.windows(4).any(|four| four == b"\r\n\r\n") {
                match stream.read(&mut chunk) {
                    Ok(length @ 1..) => head.extend_from_slice(&chunk[..length]),
                    _ => break,
                }
            }
            let answer = "HTTP/1.1 200 OK\r\nset-cookie: theirs=1\r\ncache-control: public, max-age=60\r\n\
                          content-length: 2\r\nconnection: close\r\n\r\nok";
            let _ = stream.write_all(answer.as_bytes());
        }
    });
    port
}

#[test]
fn every_gateway_hands_the_renewed_cookie_on_beside_those_of_the_upstream() {
    let now = SystemClock.now().as_secs();
    let of = |sid: &str, since: i64| {
        token(&json!({
            "sid": sid.repeat(32), "jti": sid, "iat": now - since, "auth_time": now - since,
            "exp": now - since + 8 * HOUR,
        }))
    };
    for (mode, version) in [
        (Mode::Strict, VERSIONS[0]),
        (Mode::Strict, NEWEST),
        (Mode::LaxRaw, NEWEST),
        (Mode::Fed, "1.37.0"),
        (Mode::Fed, NEWEST),
        (Mode::RouteGrpc, NEWEST),
        (Mode::Http, NEWEST),
        (Mode::Nginx, ""),
        (Mode::Location, ""),
        (Mode::Caddy, ""),
    ] {
        let upstream = upstream().to_string();
        let stack = Stack::waiting_at("/api/healthcheck", version, mode, &[(UPSTREAM, &upstream)]);
        let send = |token: &str, site: &str| {
            let cookie = format!("a=1; token={token}");
            let headers = [("cookie", cookie.as_str()), ("sec-fetch-site", site)];
            // On a busy machine an answer may come too late for the gateway.
            let answer = eventually("an answer in time", || {
                let answer = stack.send("GET", "/api/agents", &headers);
                (answer.status != 503).then_some(answer)
            });
            assert_eq!((answer.status, answer.body.as_str()), (200, "ok"), "{mode:?} {answer:?}");
            let mut cookies: Vec<String> =
                answer.headers["set-cookie"].split(" | ").map(str::to_owned).collect();
            cookies.sort_unstable();
            let caches = answer.headers["cache-control"].replace(" | ", ", ").replace(',', ", ");
            let mut caches: Vec<String> =
                caches.split(", ").map(|word| word.trim().to_owned()).collect();
            caches.retain(|word| !word.is_empty());
            caches.sort_unstable();
            (cookies, caches)
        };
        let public = ["max-age=60".to_owned(), "public".to_owned()];
        // What is not due, and what another site caused, leaves the answer as it is.
        for (token, site) in [(of("1", 0), "same-origin"), (of("2", HOUR), "cross-site")] {
            let (cookies, caches) = send(&token, site);
            assert_eq!(cookies, ["theirs=1"], "{mode:?}");
            assert_eq!(caches, public, "{mode:?}");
        }
        let (cookies, caches) = send(&of("3", HOUR), "same-origin");
        let [theirs, ours] = &cookies[..] else { panic!("{mode:?}: {cookies:?}") };
        assert_eq!(theirs, "theirs=1", "{mode:?}");
        let new = ours.strip_prefix("token=").unwrap();
        let (new, form) = new.split_once("; ").unwrap();
        assert_eq!(form, "Path=/; HttpOnly; SameSite=Lax", "{mode:?}");
        assert_eq!(peek(new).unwrap().1["sid"], "3".repeat(32), "{mode:?}");
        assert_eq!(caches, ["max-age=60", "private", "public"], "{mode:?}");
        // The new one is as good.
        assert_eq!(send(new, "same-origin").0, ["theirs=1"], "{mode:?}");
    }
}

#[test]
fn traefik_hands_on_the_cookie_by_either_name() {
    let traefik = read("examples/traefik.yaml");
    assert!(traefik.contains("addAuthCookiesToResponse: [__Host-token, token]\n"));
}
