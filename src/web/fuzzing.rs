//! What the fuzz targets need of this room.

use std::net::IpAddr;

use axum::response::Response;
use http::{HeaderMap, Request};

use super::{
    TrustedProxies,
    decide::{Mode, decide},
    hints::Hints,
};
use crate::checker::Checker;

/// The client's address.
#[must_use]
pub fn client(proxies: &TrustedProxies, peer: IpAddr, headers: &HeaderMap) -> Option<IpAddr> {
    proxies.client(peer, headers)
}

/// The answer to a question of a proxy; none where nothing is decided.
pub fn answer(checker: &Checker, request: &Request<()>) -> Option<Response> {
    let mode = Mode::asked_at(request.uri().path())?;
    Some(decide(checker, &Hints::default(), mode, request))
}
