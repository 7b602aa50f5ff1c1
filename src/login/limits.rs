//! How often one may guess.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::Arc,
    time::Duration,
};

use super::SignInError;
use crate::store::{Hits, Key, Limit, Store};

/// How long an address is known to an account after its last sign-in.
const KNOWN_FOR: Duration = Duration::from_secs(90 * 24 * 3600);

/// As many addresses are taken to be behind a proxy that nobody configured.
const UNKNOWN_ADDRESSES: u64 = 20;

/// When guessing ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitSettings {
    /// For one name from one address.
    pub name: Limit,
    /// For one address, whatever the name.
    pub address: Limit,
    /// For one name, from all addresses together.
    pub name_anywhere: Limit,
}

/// Counts tries in the store, so that all replicas see them.
#[derive(Debug)]
pub struct Limits {
    store: Arc<Store>,
    settings: LimitSettings,
}

/// A try that was counted. Names are counted and known alike, whether there
/// are such accounts or not.
#[derive(Debug)]
pub(super) struct Try {
    name: Key,
    address: Option<Key>,
    anywhere: Key,
    known: Known,
}

/// The addresses that have signed in by a name, and this one among them.
#[derive(Debug)]
struct Known {
    all: Key,
    own: Option<Key>,
}

impl Limits {
    /// Counts in this store.
    #[must_use]
    pub fn new(store: Arc<Store>, settings: LimitSettings) -> Self {
        Self { store, settings }
    }

    /// Counts a try of a canonical name from an address; without one, nobody
    /// knows who it is, and the name alone is counted.
    ///
    /// What one limit refuses does not count for those behind it: no address
    /// by itself can use up what a name has for all of them. And where a name
    /// has used that up, an address that is known to it may go on: its password
    /// is to be looked at as ever.
    pub(super) async fn enter(
        &self,
        name: &str,
        address: Option<IpAddr>,
    ) -> Result<Try, SignInError> {
        let network = address.map(network);
        let about = network.map_or_else(String::new, |network| network.to_string());
        let both = format!("{name}\n{about}");
        let tried = Try {
            name: Key::new("tries", &both),
            address: network.map(|_| Key::new("tries-from", &about)),
            anywhere: Key::new("tries-of", name),
            known: Known {
                all: Key::new("known", name),
                own: network.map(|_| Key::new("known-at", &both)),
            },
        };
        let LimitSettings { name, address, name_anywhere } = self.settings;
        if let Some(key) = &tried.address {
            allow(self.store.hit(key, address).await?, address)?;
        }
        allow(self.store.hit(&tried.name, name).await?, name)?;
        let anywhere = allow(self.store.hit(&tried.anywhere, name_anywhere).await?, name_anywhere);
        if anywhere.is_err() && !self.knows(&tried.known).await? {
            anywhere?;
        }
        Ok(tried)
    }

    async fn knows(&self, known: &Known) -> Result<bool, SignInError> {
        match &known.own {
            Some(own) => Ok(self.store.remembers(&known.all, own).await?),
            None => Ok(false),
        }
    }

    /// The password was right: the name's tries from there are forgotten, and
    /// neither the address nor the name has failed. What others have tried of
    /// the name stays counted.
    pub(super) async fn give_back(&self, tried: &Try) -> Result<(), SignInError> {
        self.store.forget(&tried.name).await?;
        if let Some(key) = &tried.address {
            self.store.give_back(key).await?;
        }
        self.store.give_back(&tried.anywhere).await?;
        Ok(())
    }

    /// The address has signed in. Whether this can be noted decides nothing.
    pub(super) async fn remember(&self, tried: &Try) {
        if let Some(own) = &tried.known.own {
            let _ = self.store.remember(&tried.known.all, own, KNOWN_FOR).await;
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_tried_too_often_waits_until_it_is_over() {
        let limit = Limit { tries: 3, window: Duration::ZERO, lockout: Duration::ZERO };
        let tried =
            |count, millis| allow(Hits { count, resets_in: Duration::from_millis(millis) }, limit);
        assert_eq!(tried(3, 2999), Ok(()));
        assert_eq!(tried(4, 2999), Err(SignInError::LockedOut(3)));
        assert_eq!(tried(4, 0), Err(SignInError::LockedOut(1)));
    }
}
