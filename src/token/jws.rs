//! The compact form of a signed token (RFC 7515, section 3.1), and its header,
//! before anybody has vouched for them.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::Value;

use super::{algorithm::Algorithm, json::Members, refusal::Refusal};

/// A header is read before anybody has vouched for it: few members will do.
const MAX_HEADER_MEMBERS: usize = 16;
/// The most claims.
pub(super) const MAX_CLAIMS: usize = 256;

/// Header parameters by which a token would bring its own key, would not be
/// what is signed, or would be a token within another one: none is understood
/// here, and to pass one over would be to read the token otherwise than its
/// issuer (RFC 7515, section 4.1; RFC 7797; RFC 7516).
const NOT_UNDERSTOOD: [&str; 9] = ["crit", "jwk", "jku", "x5c", "x5u", "b64", "zip", "enc", "cty"];

/// The segments of a token in compact form.
pub(super) struct Parts<'a> {
    pub(super) header: &'a str,
    pub(super) payload: &'a str,
    pub(super) signature: &'a str,
    pub(super) signing_input: &'a str,
}

impl<'a> Parts<'a> {
    pub(super) fn split(token: &'a str) -> Result<Self, Refusal> {
        let (signing_input, signature) = token.rsplit_once('.').ok_or(Refusal::Malformed)?;
        let (header, payload) = signing_input.split_once('.').ok_or(Refusal::Malformed)?;
        if payload.contains('.') {
            return Err(Refusal::Malformed);
        }
        Ok(Self { header, payload, signature, signing_input })
    }
}

/// Canonical base64url: no padding, no stray bits in the last character.
pub(super) fn decode(segment: &str) -> Result<Vec<u8>, Refusal> {
    URL_SAFE_NO_PAD.decode(segment).map_err(|_| Refusal::Malformed)
}

/// What a header says, when it can be understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) algorithm: Algorithm,
    pub(super) kid: Option<String>,
    pub(super) typ: Option<String>,
}

impl Header {
    pub(super) fn read(header: &[u8]) -> Result<Self, Refusal> {
        let header = Members::parse(header, MAX_HEADER_MEMBERS).map_err(|_| Refusal::Malformed)?;
        let algorithm = header.get("alg").and_then(Value::as_str).and_then(Algorithm::parse);
        let algorithm = algorithm.ok_or(Refusal::BadAlgorithm)?;
        if NOT_UNDERSTOOD.iter().any(|name| header.get(name).is_some()) {
            return Err(Refusal::Malformed);
        }
        let text = |name| match header.get(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(_) => Err(Refusal::Malformed),
        };
        Ok(Self { algorithm, kid: text("kid")?, typ: text("typ")? })
    }

    /// Whether the token says that it is of one of these types, which are in
    /// lower case and without `application/` (RFC 7515, section 4.1.9). One that
    /// does not say is a JWT.
    pub(super) fn is_of_type(&self, types: &[String]) -> bool {
        let own = self.typ.as_deref().unwrap_or("jwt").to_ascii_lowercase();
        let own = own.strip_prefix("application/").unwrap_or(&own);
        types.iter().any(|typ| typ == own)
    }
}

/// Header and claims of a token of which nothing has been verified, for
/// showing to the person who holds it.
///
/// # Errors
///
/// [`Refusal::Malformed`] when it is no JWT at all.
pub fn peek(token: &str) -> Result<(Value, Value), Refusal> {
    let object = |segment| {
        let bytes = decode(segment)?;
        Members::parse(&bytes, MAX_CLAIMS).map(Members::into_value).map_err(|_| Refusal::Malformed)
    };
    let parts = Parts::split(token)?;
    Ok((object(parts.header)?, object(parts.payload)?))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::*;

    /// A member of a header as an attacker might write it.
    fn member() -> impl Strategy<Value = String> {
        let names = ["alg", "kid", "typ", "al\\u0067", "crit", "jwk", "x5c", "b64", "cty", "x"];
        let values = [
            "\"RS256\"",
            "\"ES256\"",
            "\"none\"",
            "\"rs256\"",
            "\"JWT\"",
            "\"application/\"",
            "null",
            "true",
            "1e400",
            "[\"RS256\"]",
            "{\"alg\":\"RS256\"}",
            "\"\\ud800\"",
            "\"\"",
        ];
        let value = prop_oneof![4 => select(values.to_vec()).prop_map(str::to_owned), 1 => "\"\\PC{0,20}\""];
        (select(names.to_vec()), value).prop_map(|(name, value)| format!("\"{name}\":{value}"))
    }

    proptest! {
        /// What is read says exactly what it says, and nothing that is not understood.
        #[test]
        fn any_header_is_read_as_it_stands_or_not_at_all(members in vec(member(), 0..5)) {
            let text = format!("{{{}}}", members.join(","));
            if let Ok(header) = Header::read(text.as_bytes()) {
                let value: Value = serde_json::from_str(&text).unwrap();
                prop_assert_eq!(&value["alg"], header.algorithm.name());
                prop_assert_eq!(value["kid"].as_str(), header.kid.as_deref());
                prop_assert_eq!(value["typ"].as_str(), header.typ.as_deref());
                prop_assert_eq!(value.as_object().unwrap().len(), members.len());
                prop_assert!(NOT_UNDERSTOOD.iter().all(|name| value.get(name).is_none()));
                header.is_of_type(&["jwt".into()]);
            }
        }

        #[test]
        fn any_bytes_are_a_header_or_none(bytes in vec(any::<u8>(), 0..80)) {
            let _ = Header::read(&bytes);
        }
    }
}
