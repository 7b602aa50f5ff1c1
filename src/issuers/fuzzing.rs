//! What the fuzz targets need of this room.

use url::Url;

use super::{
    FetchError,
    discovery::{Metadata, understood},
};

/// Where the keys of an issuer are, by what it says of itself.
///
/// # Errors
///
/// Why it is not taken.
pub fn jwks_uri(document: &[u8], issuer: &str, insecure_http: bool) -> Result<Url, FetchError> {
    let metadata = understood(document, issuer, Metadata::issuer, "issuer")?;
    metadata.checked(insecure_http).map(|metadata| metadata.jwks_uri)
}
