//! What the endpoints of the `http` listener share.

use std::{sync::Arc, time::Duration};

use ipnet::IpNet;
use secrecy::SecretString;
use url::Url;

use super::error::ApiError;
use crate::{
    authz::Origin,
    checker::Checker,
    login::{Codes, Login, SignedIn},
    store::{Standing, Store},
    token::{Minter, NewToken, UserId},
    workers::Worker,
};

/// What the configuration says of the site.
#[derive(Clone, Debug)]
pub struct SiteSettings {
    /// How browsers reach it.
    pub public_url: Url,
    /// The control plane, whose page signs people in here.
    pub control_plane: Option<Url>,
    /// Whose `X-Forwarded-For` is believed.
    pub trusted_proxies: Vec<IpNet>,
    /// How long a token lives.
    pub token_lifetime: Duration,
    /// The cookie's domain.
    pub cookie_domain: Option<String>,
    /// The workers, where this is a control plane.
    pub workers: Vec<Worker>,
}

/// The site: its settings, and what it works with.
#[derive(Debug)]
pub struct Site {
    pub(super) settings: SiteSettings,
    pub(super) own: Option<Origin>,
    pub(super) control_plane: Option<Origin>,
    pub(super) checker: Arc<Checker>,
    pub(super) store: Arc<Store>,
    pub(super) login: Login,
    pub(super) codes: Codes,
}

/// A token that was just issued.
pub(super) struct IssuedToken {
    pub(super) token: SecretString,
    pub(super) expires_in: u64,
}

impl Site {
    /// A site of these parts.
    #[must_use]
    pub fn new(
        settings: SiteSettings,
        checker: Arc<Checker>,
        store: Arc<Store>,
        login: Login,
        codes: Codes,
    ) -> Self {
        let origin = |url: &Url| Origin::parse(url.as_str());
        let own = origin(&settings.public_url);
        let control_plane = settings.control_plane.as_ref().and_then(origin);
        Self { settings, own, control_plane, checker, store, login, codes }
    }

    /// The public URL without a slash at its end.
    pub(super) fn base(&self) -> &str {
        self.settings.public_url.as_str().trim_end_matches('/')
    }

    /// A token for somebody who has signed in, and who stands like this.
    pub(super) fn issue(
        &self,
        user: &SignedIn,
        standing: &Standing,
    ) -> Result<IssuedToken, ApiError> {
        let engine = self.checker.engine();
        let role = engine.verifier.roles().get(&user.role).ok_or_else(ApiError::internal)?;
        let user_id = UserId::new(user.user_id.as_str()).ok_or_else(ApiError::internal)?;
        let token = NewToken {
            name: &user.name,
            user_id: &user_id,
            role,
            email: user.email.as_deref(),
            lifetime: self.settings.token_lifetime,
            login_method: Some(&user.method),
        };
        let token = Minter::new(&engine.verifier)
            .mint(&token, standing.issue_at())
            .map_err(|_| ApiError::internal())?;
        Ok(IssuedToken { token, expires_in: self.settings.token_lifetime.as_secs() })
    }

    /// `Set-Cookie` for the token, or for its end.
    pub(super) fn cookie(&self, value: &str, ends: bool) -> String {
        let engine = self.checker.engine();
        let name = &engine.credentials.cookie;
        let mut cookie = format!("{name}={value}; Path=/; HttpOnly; SameSite=Lax");
        if self.settings.public_url.scheme() == "https" {
            cookie.push_str("; Secure");
        }
        if let Some(domain) = &self.settings.cookie_domain {
            cookie.push_str("; Domain=");
            cookie.push_str(domain);
        }
        if ends {
            cookie.push_str("; Max-Age=0");
        }
        cookie
    }
}
