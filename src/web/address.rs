//! The address that a client is counted under.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use crate::places::is_private;

/// The other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub(super) SocketAddr);

/// The client's address: the peer's, or behind proxies that are trusted the
/// first one of `X-Forwarded-For`, from the right, that is not.
///
/// `None` when the peer seems to be a proxy that nobody has configured: then
/// all clients have its address.
pub(super) fn client(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> Option<IpAddr> {
    let peer = peer.to_canonical();
    let is_trusted = |address: &IpAddr| trusted.iter().any(|network| network.contains(address));
    let forwarded = headers.get_all("x-forwarded-for");
    if !is_trusted(&peer) {
        let looks_like_a_proxy = is_private(peer) && forwarded.iter().next().is_some();
        return (!looks_like_a_proxy).then_some(peer);
    }
    let mut client = peer;
    let lines: Vec<&str> = forwarded.iter().map(|line| line.to_str().unwrap_or("?")).collect();
    for item in lines.join(",").rsplit(',').filter(|item| !item.trim().is_empty()) {
        match address(item.trim()) {
            Some(address) if is_trusted(&address) => client = address,
            Some(address) => return Some(address),
            // What nobody can read was not written by a trusted proxy.
            None => return Some(peer),
        }
    }
    Some(client)
}

/// An address, perhaps with a port, perhaps in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    bare.parse().ok().or_else(with_port).map(|address: IpAddr| address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(peer: &str, forwarded: &[&str], trusted: &[&str]) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().unwrap()).collect();
        client(peer.parse().unwrap(), &headers, &trusted).map(|address| address.to_string())
    }

    #[test]
    fn the_first_untrusted_address_from_the_right_is_the_client() {
        let proxies = ["10.0.0.0/8", "fd00::/8"];
        for (peer, forwarded, expected) in [
            ("10.0.0.1", &["192.0.2.1"][..], "192.0.2.1"),
            ("10.0.0.1", &["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1, 10.1.1.1, 10.2.2.2"], "192.0.2.1"),
            ("10.0.0.1", &["6.6.6.6", "192.0.2.1", "10.1.1.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1:4711"], "192.0.2.1"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            ("10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            ("::ffff:10.0.0.1", &["192.0.2.1"], "192.0.2.1"),
            ("10.0.0.1", &["192.0.2.1, junk"], "10.0.0.1"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("192.0.2.9", &["6.6.6.6"], "192.0.2.9"),
        ] {
            assert_eq!(of(peer, forwarded, &proxies).as_deref(), Some(expected), "{forwarded:?}");
        }
    }

    #[test]
    fn a_proxy_that_nobody_configured_is_not_counted() {
        for peer in ["10.0.0.1", "127.0.0.1", "::1", "192.168.1.1", "fd00::1"] {
            assert_eq!(of(peer, &["6.6.6.6"], &[]), None);
            assert_eq!(of(peer, &[], &[]).as_deref(), Some(peer));
        }
    }
}
