//! Who connects, as far as it matters for a place.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// The network of a peer: an address of IPv4, or a /64 of IPv6, of which who
/// has one has all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Network(IpAddr);

impl Network {
    /// The network of this address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        Self(match address.to_canonical() {
            IpAddr::V4(address) => address.into(),
            IpAddr::V6(address) => {
                let network = u128::from(address) & !u128::from(u64::MAX);
                Ipv6Addr::from(network).into()
            }
        })
    }
}

/// What a peer may take of the places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may not ask: it has no place.
    Stranger,
    /// It is one of many clients: its network has a sixteenth.
    Client,
    /// It may stand for many, such as a proxy, a node or whatever translates
    /// addresses: its network has a half. All clients of a deployment may come
    /// from there; but it is not all that may come.
    Crowd,
}

impl Standing {
    /// How a peer stands where anybody may ask: as a crowd when it is known for
    /// a proxy, or when its address is of use behind one alone. From the
    /// internet nobody comes from such an address unless through something that
    /// stands for many.
    #[must_use]
    pub fn of(address: IpAddr, proxies: &[IpNet]) -> Self {
        let address = address.to_canonical();
        let is_proxy = proxies.iter().any(|network| network.contains(&address));
        if is_proxy || is_private(address) { Self::Crowd } else { Self::Client }
    }

    /// Its network's share of so many places.
    pub(super) fn share(self, places: usize) -> usize {
        let share = match self {
            Self::Stranger | Self::Crowd => places / 2,
            Self::Client => places / 16,
        };
        share.max(1)
    }
}

/// Whether an address is one of a network of somebody's own.
#[must_use]
pub(crate) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_loopback() || v6.is_unicast_link_local(),
    }
}
