//! How often one may guess.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
};

use super::SignInError;
use crate::store::{Hits, Key, Limit, Store};

/// As many addresses are taken to be behind a proxy that nobody configured.
const UNKNOWN_ADDRESSES: u64 = 20;

/// When guessing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// For one name from one address.
    pub name: Limit,
    /// For one address, whatever the name.
    pub address: Limit,
}

/// Counts tries in the store, so that all replicas see them.
#[derive(Debug)]
pub struct Limits {
    store: Arc<Store>,
    settings: LimitSettings,
}

/// A try that was counted.
#[derive(Debug)]
pub(super) struct Try {
    name: Key,
    address: Option<Key>,
}

impl Limits {
    /// Counts in this store.
    #[must_use]
    pub fn new(store: Arc<Store>, settings: LimitSettings) -> Self {
        Self { store, settings }
    }

    /// Counts a try of a canonical name from an address; without one, nobody
    /// knows who it is, and the name alone is counted.
    pub(super) async fn enter(
        &self,
        name: &str,
        address: Option<IpAddr>,
    ) -> Result<Try, SignInError> {
        let network = address.map(network);
        let about = network.map_or_else(String::new, |network| network.to_string());
        let tried = Try {
            name: Key::new("tries", &format!("{name}\n{about}")),
            address: network.map(|network| Key::new("tries-from", &network.to_string())),
        };
        if let Some(key) = &tried.address {
            allow(self.store.hit(key, self.settings.address).await?, self.settings.address)?;
        }
        allow(self.store.hit(&tried.name, self.settings.name).await?, self.settings.name)?;
        Ok(tried)
    }

    /// The password was right: the name's tries are forgotten, and the
    /// address has not failed.
    pub(super) async fn give_back(&self, tried: Try) -> Result<(), SignInError> {
        self.store.forget(&tried.name).await?;
        if let Some(key) = &tried.address {
            self.store.give_back(key).await?;
        }
        Ok(())
    }

    /// Counts a single sign-on that begins at an address, beside its
    /// passwords. All whose address nobody knows share a count: whatever is
    /// begun is kept for a while, by anybody's request.
    pub(super) async fn enter_from(&self, address: Option<IpAddr>) -> Result<(), SignInError> {
        let mut limit = self.settings.address;
        if address.is_none() {
            limit.tries = limit.tries.saturating_mul(UNKNOWN_ADDRESSES);
        }
        allow(self.store.hit(&starts(address), limit).await?, limit)
    }

    /// One of them was no flood. Whether this can be noted decides nothing.
    pub(super) async fn leave_from(&self, address: Option<IpAddr>) {
        let _ = self.store.give_back(&starts(address)).await;
    }
}

fn starts(address: Option<IpAddr>) -> Key {
    let about = address.map(|address| network(address).to_string());
    Key::new("starts-from", &about.unwrap_or_default())
}

fn allow(hits: Hits, limit: Limit) -> Result<(), SignInError> {
    if hits.count > limit.tries {
        return Err(SignInError::LockedOut(hits.resets_in.as_secs() + 1));
    }
    Ok(())
}

/// Whom an address stands for: an IPv6 host has a /64 to itself.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}
