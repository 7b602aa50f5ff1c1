//! What the endpoints of the `http` listener share.

use std::{net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, header};
use secrecy::SecretString;
use url::Url;

use super::{
    address::{Peer, TrustedProxies},
    error::ApiError,
};
use crate::{
    authz::{CookieForm, Engine, Origin},
    clock::{Clock, Timestamp},
    hints::OnceAMinute,
    login::{Account, Codes, Login, SignedIn},
    metrics::Metrics,
    sessions::{Beginning, Register},
    sso::{ReturnRules, Sso},
    store::{Standing, Store},
    token::{Minter, NewToken, RevocationList, SessionClaims, UserId},
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
    pub trusted_proxies: TrustedProxies,
    /// How long a token lives.
    pub token_lifetime: Duration,
    /// The workers, where this is a control plane.
    pub workers: Vec<Worker>,
    /// Whether the sign-in page goes to the provider by itself.
    pub auto_redirect_to_sso: bool,
    /// Whether there are pages.
    pub has_pages: bool,
}

/// The ways to sign in.
#[derive(Debug)]
pub struct SigningIn {
    /// By password.
    pub login: Login,
    /// By a code.
    pub codes: Codes,
    /// At a provider.
    pub sso: Option<Sso>,
    /// Where that may lead.
    pub returns: ReturnRules,
}

/// What outlives a configuration of the site.
#[derive(Clone, Debug)]
pub struct SiteShared {
    /// What replicas share.
    pub store: Arc<Store>,
    /// Who is shut out.
    pub list: Arc<RevocationList>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
}

/// The site of one configuration: its settings, and what it works with.
#[derive(Debug)]
pub struct Site {
    pub(super) settings: SiteSettings,
    pub(super) own: Option<Origin>,
    pub(super) control_plane: Option<Origin>,
    pub(super) engine: Arc<Engine>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) metrics: Arc<Metrics>,
    pub(super) store: Arc<Store>,
    pub(super) register: Register,
    pub(super) login: Login,
    pub(super) codes: Codes,
    pub(super) sso: Option<Sso>,
    pub(super) returns: ReturnRules,
    pub(super) no_control_plane: OnceAMinute,
    pub(super) foreign_origin: OnceAMinute,
}

/// Who asks, as far as a session tells of it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// The address that it is counted under, if it can be known.
    pub(super) address: Option<IpAddr>,
    /// The browser, as it names itself.
    pub(super) agent: Option<String>,
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
        engine: Arc<Engine>,
        shared: &SiteShared,
        signing_in: SigningIn,
    ) -> Self {
        let SiteShared { store, list, clock, metrics } = shared.clone();
        let register = Register::new(Arc::clone(&store), list, engine.sessions.limits);
        let SigningIn { login, codes, sso, returns } = signing_in;
        let origin = |url: &Url| Origin::parse(url.as_str());
        let own = origin(&settings.public_url);
        let control_plane = settings.control_plane.as_ref().and_then(origin);
        Self {
            settings,
            own,
            control_plane,
            engine,
            clock,
            metrics,
            store,
            register,
            login,
            codes,
            sso,
            returns,
            no_control_plane: OnceAMinute::default(),
            foreign_origin: OnceAMinute::default(),
        }
    }

    /// The public URL without a slash at its end.
    pub(super) fn base(&self) -> &str {
        self.settings.public_url.as_str().trim_end_matches('/')
    }

    /// Whether browsers reach it over TLS.
    pub(super) fn is_https(&self) -> bool {
        self.settings.public_url.scheme() == "https"
    }

    /// The address that a client is counted under, if it can be known.
    pub(super) fn client_address(&self, Peer(peer): Peer, headers: &HeaderMap) -> Option<IpAddr> {
        let address = self.settings.trusted_proxies.client(peer.ip(), headers);
        if address.is_none() {
            tracing::warn!(
                peer = %peer.ip(),
                fix = "set http.trusted_hops to the number of proxies in front, or name it in http.trusted_proxies",
                "sign-ins come through a proxy that is not configured, so addresses are not counted"
            );
        }
        address
    }

    /// Who asks.
    pub(super) fn client(&self, peer: Peer, headers: &HeaderMap) -> Client {
        let agent = headers.get(header::USER_AGENT).and_then(|agent| agent.to_str().ok());
        Client { address: self.client_address(peer, headers), agent: agent.map(str::to_owned) }
    }

    /// Who has signed in to an account that is still what it was then.
    pub(super) async fn stand(
        &self,
        account: &Account,
        method: &str,
    ) -> Result<(SignedIn, Standing), ApiError> {
        let standing = self.store.standing(account.id.as_str()).await?;
        // After the cut-off was read: one that is in it was preceded by a change.
        if !self.login.is_current(account, standing.account.as_ref()) {
            return Err(ApiError::unavailable());
        }
        let mut user = SignedIn::to_account(account, method);
        user.cut_off = standing.cut_off.map(Timestamp::as_secs);
        Ok((user, standing))
    }

    /// Somebody without an account, who has signed in.
    pub(super) async fn stand_as(
        &self,
        mut guest: SignedIn,
    ) -> Result<(SignedIn, Standing), ApiError> {
        let standing = self.store.standing(&guest.user_id).await?;
        guest.cut_off = standing.cut_off.map(Timestamp::as_secs);
        Ok((guest, standing))
    }

    /// Begins a session of somebody who has signed in, and who stands like this: its
    /// first token.
    pub(super) async fn issue(
        &self,
        user: &SignedIn,
        standing: &Standing,
        client: &Client,
    ) -> Result<IssuedToken, ApiError> {
        let engine = &self.engine;
        let role = engine.verifier.roles().get(&user.role).ok_or_else(ApiError::internal)?;
        let user_id = UserId::new(user.user_id.as_str()).ok_or_else(ApiError::internal)?;
        let issue_at = standing.issue_at();
        let who = Beginning {
            user_id: user_id.as_str(),
            name: &user.name,
            method: &user.method,
            at_issuer: user.at_issuer.as_ref(),
            agent: client.agent.as_deref(),
            address: client.address,
        };
        let session = self.register.begin(who, issue_at, standing.now).await?;
        let token = NewToken {
            name: &user.name,
            user_id: &user_id,
            role,
            email: user.email.as_deref(),
            lifetime: self.settings.token_lifetime,
            login_method: Some(&user.method),
            session: Some(SessionClaims { id: &session.sid, began: issue_at }),
        };
        let token = Minter::new(&engine.verifier)
            .mint(&token, issue_at)
            .map_err(|_| ApiError::internal())?;
        Ok(IssuedToken { token, expires_in: self.settings.token_lifetime.as_secs() })
    }

    /// How the token's cookie is written.
    pub(super) fn cookie(&self) -> &CookieForm {
        &self.engine.sessions.cookie
    }
}
