//! `[sso]`: the provider of single sign-on.

use secrecy::{ExposeSecret as _, SecretString};
use url::Url;

use super::{
    http::{URL, is_loopback, web_url},
    identity::{no_role, role_map},
    login::LoginConfig,
    reader::Section,
};
use crate::{
    sso::{ClientAuth, SsoSettings},
    token::{Role, Roles},
};

const AUTH: &str = "\"basic\" or \"post\"";

/// Reads `[sso]`; `None` when it is not there, or there was a problem.
pub(super) fn read(
    mut section: Section<'_>,
    public_url: Option<&Url>,
    login: Option<&LoginConfig>,
    roles: Option<&Roles>,
    leeway: std::time::Duration,
) -> Option<SsoSettings> {
    let is_there = section.is_any_set();
    let issuer = section.parsed("issuer", URL, |text| web_url(text).map(|url| (text.into(), url)));
    let client_id = section.parsed("client_id", "the client's id at the provider", |text| {
        (!text.trim().is_empty()).then(|| text.to_owned())
    });
    if is_there {
        for key in ["issuer", "client_id"].into_iter().filter(|key| !section.has(key)) {
            section.problem(
                key,
                "single sign-on needs it",
                "give sso.issuer and sso.client_id, or leave [sso] out",
            );
        }
    }
    if let Some((_, url)) = &issuer
        && url.scheme() == "http"
        && !is_loopback(url)
    {
        section.warn(
            "issuer",
            "anybody who can change the traffic to it can sign in as any user",
            "use https",
        );
    }
    let client_secret = secret(&mut section);
    let client_auth = section.parsed("client_auth", AUTH, |text| match text {
        "basic" => Some(ClientAuth::Basic),
        "post" => Some(ClientAuth::Post),
        _ => None,
    });
    let scopes: Vec<String> = section.get("scopes", "a list of scopes").unwrap_or_default();
    if is_there && !scopes.iter().any(|scope| scope == "openid") {
        section.problem("scopes", "without \"openid\" there is no ID token", "add \"openid\"");
    }
    let state_ttl = section.duration("state_ttl");
    if is_there && state_ttl.as_secs() == 0 {
        section.problem("state_ttl", "nobody could sign in", "write a duration such as \"600s\"");
    }
    let link_by_email = section.get("link_by_email", "true or false");
    let default_role = default_role(&mut section, roles);
    let role_claim = section.text("role_claim", "the name of a claim");
    let role_map = role_map(&mut section, roles);
    if role_claim.is_some() == role_map.is_empty() {
        section.warn(
            "role_map",
            "role_claim and role_map have no effect without each other",
            "give both, or neither",
        );
    }
    section.finish();
    if !is_there {
        return None;
    }
    let public_url = public_url?;
    let pages = login.and_then(|login| login.control_plane.as_ref()).unwrap_or(public_url);
    Some(SsoSettings {
        issuer: issuer?.0,
        client_id: client_id?,
        client_secret,
        client_auth: client_auth?,
        scopes,
        state_ttl,
        link_by_email: link_by_email?,
        default_role,
        role_claim,
        role_map,
        redirect_uri: below(public_url, "/sso/callback")?,
        after_logout: below(pages, "/ui/login/")?,
        leeway,
    })
}

/// An address below another one.
fn below(url: &Url, path: &str) -> Option<Url> {
    Url::parse(&format!("{}{path}", url.as_str().trim_end_matches('/'))).ok()
}

fn secret(section: &mut Section<'_>) -> Option<SecretString> {
    let bytes = section.secret("client_secret", "client_secret_file")?;
    let text = String::from_utf8(bytes.expose_secret().to_vec()).ok();
    let text = text.filter(|text| !text.is_empty());
    if text.is_none() {
        section.problem(
            "client_secret",
            "it is empty, or not UTF-8",
            "copy it from the provider, or leave it out for a public client",
        );
    }
    text.map(SecretString::from)
}

fn default_role(section: &mut Section<'_>, roles: Option<&Roles>) -> Option<Role> {
    let name = section.text("default_role", "a role")?;
    let role = roles?.get(&name);
    // The default names a role that another list of roles need not have.
    if role.is_none() && section.is_set("default_role") {
        no_role(section, "default_role", &name, roles?);
    }
    role
}
