//! What a connection may be upgraded to.
//!
//! An upgrade is a tunnel in which nobody is asked about anything any more, so
//! it is for protocols alone that an operator knows. Proxies differ about which
//! one counts where `Upgrade` is there twice or is a list (RFC 9110, section
//! 7.8), so that is refused, whatever it lists.

use super::input::{Headers, Single};

/// The protocols that a request may upgrade to.
#[derive(Clone, Debug)]
pub struct Upgrades(Vec<String>);

impl Upgrades {
    /// These, in any case.
    #[must_use]
    pub fn new(protocols: Vec<String>) -> Self {
        Self(protocols)
    }

    /// Whether the request asks for no upgrade, or for one of these.
    pub(super) fn admit(&self, headers: &Headers<'_>) -> bool {
        match headers.single("upgrade") {
            Single::Absent => true,
            Single::One(asked) => {
                let asked = asked.trim_ascii();
                self.0.iter().any(|protocol| asked.eq_ignore_ascii_case(protocol.as_bytes()))
            }
            Single::Repeated => false,
        }
    }
}
