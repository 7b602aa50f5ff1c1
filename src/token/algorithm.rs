//! The algorithms of signatures (RFC 7518, section 3.1; RFC 8037).

use std::fmt;

/// How a token is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "each is the name of the standard")]
pub enum Algorithm {
    Hs256,
    Rs256,
    Rs384,
    Rs512,
    Ps256,
    Ps384,
    Ps512,
    Es256,
    Es384,
    EdDsa,
}

impl Algorithm {
    /// Those with a public key.
    pub const PUBLIC: [Self; 9] = [
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Es256,
        Self::Es384,
        Self::EdDsa,
    ];

    /// The algorithm of this very name: case counts.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Hs256].into_iter().chain(Self::PUBLIC).find(|known| known.name() == name)
    }

    /// The name in a token's header.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Hs256 => "HS256",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::EdDsa => "EdDSA",
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_known_by_the_name_that_it_shows() {
        for algorithm in Algorithm::PUBLIC.into_iter().chain([Algorithm::Hs256]) {
            assert_eq!(Algorithm::parse(&algorithm.to_string()), Some(algorithm));
        }
        assert_eq!(Algorithm::Es256.to_string(), "ES256");
        assert_eq!(Algorithm::parse("es256"), None);
    }
}
