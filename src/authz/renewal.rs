//! When the answer to a check brings the cookie of its session anew.

use secrecy::ExposeSecret as _;

use super::{
    credential::Forward, engine::Engine, identified::Identified, input::CheckInput, origin,
};
use crate::{clock::Timestamp, token::Verifier};

impl Engine {
    /// `Set-Cookie` for an allowed request whose token is due; nothing for nearly
    /// all requests, of which the first questions tell as much.
    pub(super) fn renewal(
        &self,
        input: &CheckInput<'_>,
        identified: &Identified<'_>,
        forward: &Forward,
        now: Timestamp,
    ) -> Option<String> {
        let is_due = self.sessions.renews && Verifier::is_due(identified.claims(), now);
        // Nobody reads the cookie of an upgrade's answer for certain.
        let upgrades = || {
            let is_there = |name| input.headers.contains(name);
            input.method == "CONNECT" || is_there("upgrade") || is_there("sec-websocket-version")
        };
        if !is_due
            || identified.token().is_none()
            || upgrades()
            || !self.credentials.came_in_cookie(input, forward)
            || !origin::is_of_this_site(input, &self.credentials.cookie_origins)
        {
            return None;
        }
        let renewed = self.verifier.renewed(&identified.verified, self.sessions.limits, now)?;
        Some(self.sessions.cookie.set(renewed.token.expose_secret()))
    }
}
