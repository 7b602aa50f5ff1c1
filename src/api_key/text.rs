//! How a key is written: `pck_`, an id, `_`, a secret and a checksum, so that
//! scanners of code tell one from any other text.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use secrecy::{ExposeSecret as _, SecretString};
use subtle::{Choice, ConstantTimeEq as _};

use crate::hex;

/// What every key begins with. Nothing that begins so is ever tried as a JWT.
pub const PREFIX: &str = "pck_";

/// The digits of base62, by rising value.
const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// 64 bits in base62.
const ID_CHARACTERS: usize = 11;
/// 256 bits in base62.
const SECRET_CHARACTERS: usize = 43;
/// 32 bits in base62.
const CHECKSUM_CHARACTERS: usize = 6;
/// A whole key.
const CHARACTERS: usize =
    PREFIX.len() + ID_CHARACTERS + 1 + SECRET_CHARACTERS + CHECKSUM_CHARACTERS;

/// What names a key, and is no secret.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(u64);

impl KeyId {
    /// The id that is written so.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text.len() != ID_CHARACTERS {
            return None;
        }
        number(text).map(Self)
    }

    /// The id of these bits.
    #[must_use]
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// Its bits.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&base62::<ID_CHARACTERS>(self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyId({self})")
    }
}

/// The SHA-256 of a key's secret: all that is kept of it.
#[derive(Clone, Copy)]
pub struct KeyHash([u8; 32]);

/// Not a byte of it: who reads a log has no use for it.
impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeyHash")
    }
}

/// In constant time.
impl PartialEq for KeyHash {
    fn eq(&self, other: &Self) -> bool {
        self.is(other).into()
    }
}

impl Eq for KeyHash {}

impl KeyHash {
    /// The hash of a secret, or of a whole key of somebody else's making.
    #[must_use]
    pub fn of(secret: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest(&SHA256, secret.as_bytes()).as_ref());
        Self(hash)
    }

    /// The hash of these bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A hash as 64 hexadecimal digits.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        hex::decode(text).map(Self)
    }

    /// As hexadecimal digits.
    #[must_use]
    pub fn to_hex(&self) -> String {
        hex::encode(&self.0)
    }

    /// Whether it is this one, found out in constant time.
    pub(super) fn is(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }

    /// The id by which a key of somebody else's making is known here.
    #[must_use]
    pub fn as_id(&self) -> KeyId {
        let first = self.0.first_chunk().copied().unwrap_or_default();
        KeyId(u64::from_be_bytes(first))
    }
}

/// What has the form of a key.
#[derive(Clone, Copy)]
pub struct KeyText<'a> {
    /// What names it.
    pub id: KeyId,
    /// What proves it.
    pub(super) secret: &'a str,
    /// Whether its checksum is right: a slip of the pen is told before anybody is
    /// asked.
    pub is_sound: bool,
}

/// Without the secret.
impl fmt::Debug for KeyText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyText").field("id", &self.id).finish_non_exhaustive()
    }
}

impl<'a> KeyText<'a> {
    /// Reads a key; `None` for what has not the form of one.
    #[must_use]
    pub fn parse(text: &'a str) -> Option<Self> {
        if text.len() != CHARACTERS || !text.is_ascii() {
            return None;
        }
        let (rest, checksum) = text.split_at_checked(CHARACTERS - CHECKSUM_CHARACTERS)?;
        let (id, secret) = rest.strip_prefix(PREFIX)?.split_at_checked(ID_CHARACTERS)?;
        let secret = secret.strip_prefix('_')?;
        let is_base62 = secret.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let id = KeyId::parse(id).filter(|_| is_base62)?;
        let is_sound = number(checksum) == Some(u64::from(crc32fast::hash(rest.as_bytes())));
        Some(Self { id, secret, is_sound })
    }

    /// The hash of its secret.
    #[must_use]
    pub fn hash(&self) -> KeyHash {
        KeyHash::of(self.secret)
    }
}

/// A key that was just made.
#[derive(Debug)]
pub struct NewKey {
    /// What names it.
    pub id: KeyId,
    /// What is kept of it.
    pub hash: KeyHash,
    /// All of it, to be shown once.
    pub text: SecretString,
}

impl NewKey {
    /// Makes one; `None` when the system has no random numbers.
    #[must_use]
    pub fn make() -> Option<Self> {
        let mut bits = [0; 8];
        aws_lc_rs::rand::fill(&mut bits).ok()?;
        let id = KeyId(u64::from_be_bytes(bits));
        let secret = SecretString::from(random_digits()?);
        let text = format!("{PREFIX}{id}_{}", secret.expose_secret());
        let checksum = base62::<CHECKSUM_CHARACTERS>(u64::from(crc32fast::hash(text.as_bytes())));
        let hash = KeyHash::of(secret.expose_secret());
        Some(Self { id, hash, text: format!("{text}{checksum}").into() })
    }
}

/// As many random digits as hold 256 bits, each as likely as any other.
fn random_digits() -> Option<String> {
    let mut secret = String::with_capacity(SECRET_CHARACTERS);
    while secret.len() < SECRET_CHARACTERS {
        let mut bytes = [0_u8; 64];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        // 248 is four times 62: what is above would make some digits likelier.
        let fair = bytes.iter().filter(|byte| **byte < 248);
        let digits = fair.filter_map(|byte| DIGITS.get(usize::from(byte % 62)));
        secret
            .extend(digits.take(SECRET_CHARACTERS - secret.len()).map(|digit| char::from(*digit)));
    }
    Some(secret)
}

/// A number in so many digits, the highest first.
fn base62<const N: usize>(mut number: u64) -> String {
    let mut digits = [b'0'; N];
    for digit in digits.iter_mut().rev() {
        let value = usize::try_from(number % 62).unwrap_or_default();
        *digit = DIGITS.get(value).copied().unwrap_or(b'0');
        number /= 62;
    }
    digits.iter().map(|digit| char::from(*digit)).collect()
}

/// The number of these digits; `None` where it is more than 64 bits.
fn number(text: &str) -> Option<u64> {
    text.bytes().try_fold(0_u64, |number, byte| {
        let value = match byte {
            b'0'..=b'9' => byte - b'0',
            b'A'..=b'Z' => byte - b'A' + 10,
            b'a'..=b'z' => byte - b'a' + 36,
            _ => return None,
        };
        number.checked_mul(62)?.checked_add(u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_has_one_form() {
        let key = NewKey::make().unwrap();
        let text = key.text.expose_secret();
        assert_eq!(text.len(), 65);
        let read = KeyText::parse(text).unwrap();
        assert!(read.is_sound);
        assert_eq!(read.id, key.id);
        assert_eq!(read.hash(), key.hash);
        assert_eq!(read.hash().to_hex(), KeyHash::of(read.secret).to_hex());
        for shown in [format!("{key:?}"), format!("{read:?}"), format!("{:?}", read.hash())] {
            assert!(!shown.contains(read.secret) && !shown.contains(&key.hash.to_hex()), "{shown}");
        }
        for bad in [
            String::new(),
            text.replace("pck_", "pck-"),
            text.replace("pck_", "PCK_"),
            text.to_lowercase() + "x",
            format!("{text}="),
            format!(" {text}"),
            text.get(..64).unwrap().to_owned(),
            text.replacen('_', "é", 1),
            // More than 64 bits.
            format!("pck_zzzzzzzzzzz{}", text.get(15..).unwrap()),
            format!("{}-{}", text.get(..20).unwrap(), text.get(21..).unwrap()),
        ] {
            assert!(KeyText::parse(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_slip_of_the_pen_is_told_by_the_checksum() {
        let key = NewKey::make().unwrap();
        let text = key.text.expose_secret();
        for at in (4..65).filter(|at| *at != 15) {
            let mut bytes = text.as_bytes().to_vec();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            let other = String::from_utf8(bytes).unwrap();
            assert!(KeyText::parse(&other).is_none_or(|read| !read.is_sound), "{at}");
        }
    }

    #[test]
    fn the_checksum_is_that_of_zlib() {
        // By Python's `zlib.crc32`: 0xcbf43926.
        assert_eq!(crc32fast::hash(b"123456789"), 0xcbf4_3926);
        assert_eq!(base62::<6>(0xcbf4_3926), "3jZRME");
    }

    proptest! {
        #[test]
        fn ids_can_be_read_again(bits: u64) {
            let id = KeyId::from_bits(bits);
            prop_assert_eq!(id.to_string().len(), 11);
            prop_assert_eq!(KeyId::parse(&id.to_string()), Some(id));
        }
    }
}
