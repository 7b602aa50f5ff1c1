//! The address that a client is counted under.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use crate::places::is_private;

/// The other end of the connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub(super) SocketAddr);

/// Whose word on the client's address is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies {
    /// The peers that are believed. Without `hops` every address of these
    /// networks that is told of is taken for a proxy's, too.
    pub networks: Vec<IpNet>,
    /// How many proxies are in front, each of which appends to
    /// `X-Forwarded-For` who is connected to it. Without `networks` every peer
    /// is taken for the last of them.
    pub hops: Option<usize>,
}

impl TrustedProxies {
    fn names(&self, address: &IpAddr) -> bool {
        self.networks.iter().any(|network| network.contains(address))
    }

    fn believes(&self, peer: &IpAddr) -> bool {
        self.names(peer) || (self.hops.is_some() && self.networks.is_empty())
    }

    /// The client's address: the peer's, unless that is believed. Then it is
    /// what so many proxies leave on the right of `X-Forwarded-For`; or where
    /// nobody has counted them, the first address from the right that is no
    /// proxy's. What is missing there, or cannot be read, was written by no
    /// proxy: the peer's address it is.
    ///
    /// `None` when the peer seems to be a proxy that nobody has configured:
    /// then all clients have its address.
    pub(super) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
        let peer = peer.to_canonical();
        let forwarded = headers.get_all("x-forwarded-for");
        if !self.believes(&peer) {
            let looks_like_a_proxy = is_private(peer) && forwarded.iter().next().is_some();
            return (!looks_like_a_proxy).then_some(peer);
        }
        let lines: Vec<&str> = forwarded.iter().map(|line| line.to_str().unwrap_or("?")).collect();
        let (joined, mut client) = (lines.join(","), peer);
        let mut items = joined.rsplit(',').map(str::trim);
        if let Some(hops) = self.hops {
            let item = items.nth(hops.saturating_sub(1)).and_then(address);
            return Some(item.unwrap_or(peer));
        }
        for item in items.filter(|item| !item.is_empty()) {
            match address(item) {
                Some(address) if self.names(&address) => client = address,
                Some(address) => return Some(address),
                None => return Some(peer),
            }
        }
        Some(client)
    }
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
        counted(None, peer, forwarded, trusted)
    }

    fn counted(
        hops: Option<usize>,
        peer: &str,
        forwarded: &[&str],
        trusted: &[&str],
    ) -> Option<String> {
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append("x-forwarded-for", line.parse().unwrap());
        }
        let networks = trusted.iter().map(|network| network.parse().unwrap()).collect();
        let proxies = TrustedProxies { networks, hops };
        proxies.client(peer.parse().unwrap(), &headers).map(|address| address.to_string())
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

    #[test]
    fn proxies_that_are_counted_tell_what_is_in_their_place_whoever_that_is() {
        for (hops, peer, forwarded, expected) in [
            (1, "10.0.0.1", &["192.0.2.1"][..], "192.0.2.1"),
            (1, "10.0.0.1", &["6.6.6.6, 192.0.2.1"], "192.0.2.1"),
            // A client within the network of the proxies, which says more.
            (1, "10.0.0.1", &["6.6.6.6, 10.0.0.77"], "10.0.0.77"),
            (1, "10.0.0.1", &["6.6.6.6", "10.0.0.77"], "10.0.0.77"),
            (2, "10.0.0.1", &["6.6.6.6, 10.0.0.77, 10.0.0.2"], "10.0.0.77"),
            (2, "10.0.0.1", &["6.6.6.6", "192.0.2.1,10.0.0.2"], "192.0.2.1"),
            (1, "::ffff:10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            (1, "10.0.0.1", &["::ffff:192.0.2.1"], "192.0.2.1"),
            // Missing, or junk.
            (1, "10.0.0.1", &[], "10.0.0.1"),
            (1, "10.0.0.1", &[""], "10.0.0.1"),
            (1, "10.0.0.1", &["6.6.6.6,"], "10.0.0.1"),
            (1, "10.0.0.1", &["6.6.6.6, unknown"], "10.0.0.1"),
            (2, "10.0.0.1", &["192.0.2.1"], "10.0.0.1"),
            (2, "10.0.0.1", &["junk, 10.0.0.2"], "10.0.0.1"),
            (3, "10.0.0.1", &["192.0.2.1, 10.0.0.2"], "10.0.0.1"),
            (usize::MAX, "10.0.0.1", &["192.0.2.1"], "10.0.0.1"),
        ] {
            for trusted in [&[][..], &["10.0.0.0/8"]] {
                let found = counted(Some(hops), peer, forwarded, trusted);
                assert_eq!(found.as_deref(), Some(expected), "{hops} {forwarded:?} {trusted:?}");
            }
        }
        // A peer that is not among those who are named is who it is.
        let found = |peer| counted(Some(1), peer, &["6.6.6.6"], &["10.0.0.0/8"]);
        assert_eq!(found("192.0.2.9").as_deref(), Some("192.0.2.9"));
        assert_eq!(found("172.16.0.1"), None, "a proxy that nobody configured");
        assert_eq!(counted(Some(1), "192.0.2.9", &["6.6.6.6"], &[]).as_deref(), Some("6.6.6.6"));
    }
}
