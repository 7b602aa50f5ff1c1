//! `check.tls` and `http.tls`.

use super::reader::Section;
use crate::tls::{Tls, TlsError};

/// Whether clients can be asked for a certificate: gateways are, browsers not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Clients {
    /// By `client_ca_file`.
    MayBeAsked,
    /// There is no such key.
    AreNotAsked,
}

/// The table of this listener, which speaks `protocol`; `None` without one,
/// and when there was a problem.
pub(super) fn read(parent: &mut Section<'_>, protocol: &[u8], clients: Clients) -> Option<Tls> {
    if !parent.has("tls") {
        return None;
    }
    let mut section = parent.table("tls");
    let chain = section.file("cert_file");
    let key = section.file("key_file");
    let ca = (clients == Clients::MayBeAsked).then(|| section.file("client_ca_file")).flatten();
    let asks = clients == Clients::MayBeAsked && section.has("client_ca_file");
    for (file, what) in [("cert_file", "a certificate"), ("key_file", "a key")] {
        if !section.has(file) {
            section.problem(file, format!("TLS needs {what}"), "name a PEM file");
        }
    }
    let tls = match (chain, key, ca) {
        // An authority that cannot be read must not open the door to everybody.
        (Some(_), Some(_), None) if asks => None,
        (Some(chain), Some(key), ca) => Tls::new(&chain, &key, ca.as_deref(), protocol)
            .map_err(|error| {
                let file = match error {
                    TlsError::Certificate => "cert_file",
                    TlsError::ClientCa => "client_ca_file",
                    TlsError::Key | TlsError::Mismatch(_) => "key_file",
                };
                section.problem(file, error.to_string(), "write it as PEM, with the whole chain");
            })
            .ok(),
        _ => None,
    };
    section.finish();
    tls
}
