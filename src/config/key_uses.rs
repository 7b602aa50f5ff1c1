//! Whether the keys serve for all that they are needed for.

use url::Url;

use super::{
    forward, issuers::IssuerConfig, keys::MAKE_A_KEY, reader::Section, tokens::TokensConfig,
};
use crate::{
    authz::{Forward, Policy},
    token::KeyRing,
};

/// What is looked at together.
pub(super) struct Uses<'a> {
    pub(super) keys: &'a KeyRing,
    /// Whether people sign in here.
    pub(super) signs_in: bool,
    pub(super) tokens: &'a TokensConfig,
    pub(super) policy: Option<&'a Policy>,
    pub(super) issuers: &'a [IssuerConfig],
    pub(super) public_url: &'a Url,
    pub(super) is_for_upstream: bool,
}

impl Uses<'_> {
    /// Reports what the keys are needed for and do not serve.
    pub(super) fn check(&self, root: &mut Section<'_>) {
        let &Self { keys, signs_in, tokens, policy, issuers, public_url, is_for_upstream } = self;
        let is_public_url_set = root.table("http").is_set("public_url");
        if !is_for_upstream {
            check_others(root, issuers, public_url, keys);
        }
        if signs_in && keys.is_empty() {
            let cause = "people can sign in here, but there is no key to sign their tokens with";
            root.problem("tokens", cause, MAKE_A_KEY);
        }
        let of_rules =
            policy.into_iter().flat_map(Policy::rules).filter_map(|rule| rule.forward.as_ref());
        let audiences: Vec<&str> = of_rules
            .chain([&tokens.forward])
            .filter_map(|forward| match forward {
                Forward::Minted(audience) => Some(&**audience),
                _ => None,
            })
            .collect();
        if !audiences.is_empty() && !is_public_url_set {
            root.warn(
                "http",
                format!(
                    "tokens for upstreams name the issuer {public_url}, which is only the default"
                ),
                "set http.public_url to the address at which upstreams reach the public keys",
            );
        }
        let own_issuer = tokens.settings.issuer.as_deref();
        let own_audience = tokens.settings.audience.as_deref();
        if own_issuer == Some(forward::issuer(public_url))
            && own_audience.is_some_and(|own| audiences.contains(&own))
        {
            root.problem(
            "tokens",
            "this service's own tokens and those for upstreams have the same issuer and audience, \
             so an upstream could not tell them apart",
            "change tokens.audience, or the audience for upstreams",
        );
        }
        if !audiences.is_empty() && !keys.has_pair() {
            root.problem(
            "tokens",
            "tokens are minted for upstreams, but there is no key that upstreams could verify with",
            "make one with `portcullis key-pair > es256.pem`, and name it in tokens.keys: { kid = \
             \"2026-11\", private_key_file = \"es256.pem\" }",
        );
        }
        // Theirs is what a token without `iss` is taken for.
        let nameless = issuers.iter().find(|issuer| issuer.settings.issuer.is_none());
        if let Some(nameless) =
            nameless.filter(|_| !keys.is_empty() && tokens.settings.issuer.is_none())
        {
            let name = &nameless.settings.name;
            let cause = format!(
                "tokens without iss count as those of {name:?}, and this service's own have no iss"
            );
            let fix = "set tokens.issuer: it becomes the iss of this service's own tokens";
            if signs_in {
                root.problem("tokens", cause, fix);
            } else {
                root.warn("tokens", cause, fix);
            }
        }
    }
}

/// Reports an issuer that is this service itself, as upstreams know it: whoever
/// gets a token for an upstream could use it as its client.
fn check_others(root: &Section<'_>, issuers: &[IssuerConfig], public_url: &Url, keys: &KeyRing) {
    let own = Some(forward::issuer(public_url));
    let is_own = |issuer: &&IssuerConfig| issuer.settings.issuer.as_deref() == own;
    if let Some(issuer) = issuers.iter().find(is_own).filter(|_| keys.has_pair()) {
        let name = &issuer.settings.name;
        let cause = format!("{name:?} is this service itself: its iss is http.public_url");
        root.problem(
            "issuers",
            cause,
            "remove it; only upstreams that verify tokens themselves need it",
        );
    }
}
