//! A request as it is told over gRPC: a header that is there several times is joined by
//! commas, and what is no UTF-8 is `!`. So the engine decides the same, whoever asks.

use std::borrow::Cow;

use portcullis::{
    authz::{CheckInput, Header, Headers},
    operation::Body,
};

use crate::{
    abi::{Attribute, Stream},
    route::Route,
};

/// A request of Envoy's, or a copy of one.
#[derive(Clone, Debug)]
pub(crate) struct Request<'s> {
    headers: Vec<(Cow<'s, str>, Cow<'s, [u8]>)>,
    id: Cow<'s, str>,
    protocol: Cow<'s, str>,
    source: Cow<'s, str>,
    source_principal: Cow<'s, str>,
    destination_principal: Cow<'s, str>,
    context: Cow<'s, [(String, String)]>,
}

impl<'s> Request<'s> {
    /// Reads it; none where Envoy does not tell it. The client's address is known where
    /// Envoy takes it from the connection.
    pub(crate) fn read(stream: &'s Stream<'_>, knows_address: bool) -> Option<Self> {
        let found = stream.headers()?;
        let mut headers: Vec<(Cow<'_, str>, Cow<'_, [u8]>)> = Vec::with_capacity(found.len());
        for (name, value) in found {
            let name = std::str::from_utf8(name).ok()?;
            let value = as_text(value);
            match headers.iter_mut().find(|(known, _)| *known == name) {
                Some((_, known)) => {
                    known.to_mut().push(b',');
                    known.to_mut().extend_from_slice(&value);
                }
                None => headers.push((name.into(), value)),
            }
        }
        let first = |of: [Attribute; 3]| {
            let mut names = of.into_iter().map(|which| stream.attribute(which));
            names.find(|name| !name.is_empty()).unwrap_or_default().into()
        };
        let source = if knows_address { stream.attribute(Attribute::SourceAddress) } else { "" };
        Some(Self {
            headers,
            id: stream.attribute(Attribute::RequestId).into(),
            protocol: stream.attribute(Attribute::Protocol).into(),
            source: address(source).into(),
            source_principal: first([
                Attribute::UriOfPeer,
                Attribute::DnsNameOfPeer,
                Attribute::SubjectOfPeer,
            ]),
            destination_principal: first([
                Attribute::UriOfOwnCertificate,
                Attribute::DnsNameOfOwnCertificate,
                Attribute::SubjectOfOwnCertificate,
            ]),
            context: stream.route().map_or(&[][..], Route::context).into(),
        })
    }

    /// A copy, which outlives what Envoy changes of the request.
    pub(crate) fn into_owned(self) -> Request<'static> {
        let owned = |text: Cow<'_, str>| Cow::Owned(text.into_owned());
        let headers = self.headers.into_iter();
        Request {
            headers: headers
                .map(|(name, value)| (owned(name), Cow::Owned(value.into_owned())))
                .collect(),
            id: owned(self.id),
            protocol: owned(self.protocol),
            source: owned(self.source),
            source_principal: owned(self.source_principal),
            destination_principal: owned(self.destination_principal),
            context: Cow::Owned(self.context.into_owned()),
        }
    }

    /// The request as the engine asks for it.
    pub(crate) fn input<'i>(&'i self, body: Body<'i>) -> CheckInput<'i> {
        let text = |wanted: &str| {
            let found = self.headers.iter().find(|(name, _)| name == wanted);
            found.and_then(|(_, value)| std::str::from_utf8(value).ok()).unwrap_or_default()
        };
        let all = self.headers.iter().map(|(name, value)| Header { name, value });
        let context = self.context.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        CheckInput {
            method: text(":method"),
            scheme: text(":scheme"),
            host: text(":authority"),
            path: text(":path"),
            headers: Headers::new(all.collect(), Vec::new()),
            body,
            protocol: &self.protocol,
            id: &self.id,
            source_address: &self.source,
            source_principal: &self.source_principal,
            destination_principal: &self.destination_principal,
            context: context.collect(),
            ..CheckInput::default()
        }
    }
}

/// The value as Envoy would tell it in a text of protobuf.
fn as_text(value: &[u8]) -> Cow<'_, [u8]> {
    if std::str::from_utf8(value).is_ok() {
        return value.into();
    }
    let mut text = Vec::with_capacity(value.len());
    for chunk in value.utf8_chunks() {
        text.extend_from_slice(chunk.valid().as_bytes());
        text.extend(std::iter::repeat_n(b'!', chunk.invalid().len()));
    }
    text.into()
}

/// An address without its port.
fn address(text: &str) -> &str {
    let Some((address, port)) = text.rsplit_once(':') else { return text };
    if !port.bytes().all(|byte| byte.is_ascii_digit()) {
        return text;
    }
    address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address)
}
