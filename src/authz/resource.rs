//! A protected resource (RFC 9728): what a client that has no token yet is told of
//! where to get one, and for what.

use std::{borrow::Cow, sync::Arc};

use serde::Serialize;
use thiserror::Error;
use url::Url;

use super::{
    host::NormalHost,
    path::{NormalPath, PathAllow},
};

/// Where the metadata of a resource stands: before its own path (RFC 9728, section 3.1).
const WELL_KNOWN: [&str; 2] = [".well-known", "oauth-protected-resource"];
/// How clients ask for a token that can be renewed, which is no resource's to offer.
const OFFLINE: &str = "offline_access";
/// What its document is told with: it is the same for everybody.
const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("cache-control", "public, max-age=300"),
    ("access-control-allow-origin", "*"),
];
/// What a page elsewhere may ask with, which some clients are.
const PREFLIGHT: [(&str, &str); 4] = [
    ("access-control-allow-origin", "*"),
    ("access-control-allow-methods", "GET, HEAD"),
    ("access-control-allow-headers", "*"),
    ("access-control-max-age", "300"),
];

/// What is wrong with a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BadResource {
    /// It has no URL that a client could compare.
    #[error(
        "the url must be an https URL without a query, a fragment, a default port, or a slash at \
         its end"
    )]
    Url,
    /// Nobody issues tokens for it.
    #[error("there is no authorization server")]
    NoServer,
}

/// One.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resource {
    url: String,
    host: String,
    /// The path of its metadata, in segments.
    place: Vec<String>,
    metadata_url: String,
    document: String,
}

impl Resource {
    /// Makes one of its URL, of the issuers of its tokens, and of what its clients may
    /// ask for.
    ///
    /// # Errors
    ///
    /// [`BadResource`].
    pub fn new(
        url: &str,
        servers: &[String],
        scopes: &[String],
        name: Option<&str>,
    ) -> Result<Self, BadResource> {
        let parsed = Url::parse(url).map_err(|_| BadResource::Url)?;
        let is_local = matches!(parsed.host_str(), Some("localhost" | "127.0.0.1" | "[::1]"));
        let is_secure = parsed.scheme() == "https" || (parsed.scheme() == "http" && is_local);
        // As it is written, so that it is compared with what clients write.
        let as_written = parsed.as_str() == url || parsed.as_str().strip_suffix('/') == Some(url);
        let is_bare = parsed.query().is_none()
            && parsed.fragment().is_none()
            && parsed.username().is_empty()
            && parsed.password().is_none();
        let host = parsed.host_str().and_then(NormalHost::parse);
        let path = parsed.path().trim_end_matches('/');
        let (true, Some(host)) = (is_secure && as_written && is_bare, host) else {
            return Err(BadResource::Url);
        };
        if url.ends_with('/') || NormalPath::parse(parsed.path(), PathAllow::default()).is_err() {
            return Err(BadResource::Url);
        }
        if servers.is_empty() {
            return Err(BadResource::NoServer);
        }
        let segments = path.split('/').filter(|segment| !segment.is_empty());
        let place = WELL_KNOWN.into_iter().chain(segments).map(str::to_owned).collect();
        let origin = parsed.origin().ascii_serialization();
        let document = Document {
            resource: url,
            authorization_servers: servers,
            bearer_methods_supported: ["header"],
            scopes_supported: scopes.iter().filter(|scope| *scope != OFFLINE).collect(),
            resource_name: name,
        };
        Ok(Self {
            url: url.to_owned(),
            host: host.as_str().to_owned(),
            place,
            metadata_url: format!("{origin}/{}{path}", WELL_KNOWN.join("/")),
            // Texts alone: there is nothing in it that can fail.
            document: serde_json::to_string(&document).unwrap_or_default(),
        })
    }

    /// Its URL, which a token's `aud` has to hold.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Where its metadata is.
    #[must_use]
    pub fn metadata_url(&self) -> &str {
        &self.metadata_url
    }
}

/// Its metadata (RFC 9728, section 2).
#[derive(Serialize)]
struct Document<'a> {
    resource: &'a str,
    authorization_servers: &'a [String],
    bearer_methods_supported: [&'static str; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    scopes_supported: Vec<&'a String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource_name: Option<&'a str>,
}

/// An answer of this service itself, in the place of the upstream's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Its status.
    pub status: u16,
    /// Its headers.
    pub headers: &'static [(&'static str, &'static str)],
    /// Its body.
    pub body: &'a str,
}

/// All resources of a policy.
#[derive(Debug, Default)]
pub(super) struct Resources(Vec<Arc<Resource>>);

impl Resources {
    /// Adds one. Whether no other one has its metadata at the same place.
    pub(super) fn add(&mut self, resource: &Arc<Resource>) -> bool {
        let is_there = |other: &Arc<Resource>| {
            (&other.host, &other.place) == (&resource.host, &resource.place)
        };
        if let Some(other) = self.0.iter().find(|other| is_there(other)) {
            return other == resource;
        }
        self.0.push(Arc::clone(resource));
        true
    }

    /// What is answered where the metadata of one is.
    pub(super) fn answer(
        &self,
        host: &str,
        path: &[Cow<'_, str>],
        method: &str,
    ) -> Option<Answer<'_>> {
        if self.0.is_empty() || !path.iter().map(AsRef::as_ref).take(2).eq(WELL_KNOWN) {
            return None;
        }
        let is_there = |resource: &&Arc<Resource>| {
            resource.host == host && resource.place.iter().eq(path.iter())
        };
        let resource = self.0.iter().find(is_there)?;
        Some(match method {
            "GET" => Answer { status: 200, headers: &HEADERS, body: &resource.document },
            "HEAD" => Answer { status: 200, headers: &HEADERS, body: "" },
            "OPTIONS" => Answer { status: 204, headers: &PREFLIGHT, body: "" },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn resource(url: &str) -> Result<Resource, BadResource> {
        let servers = ["https://idp.example.com/realms/acme", "https://id.example.com/"];
        let servers = servers.map(str::to_owned);
        let scopes = ["mcp:read", "offline_access"].map(str::to_owned);
        Resource::new(url, &servers, &scopes, Some("Acme tools"))
    }

    #[test]
    fn the_document_is_where_rfc_9728_looks_for_it() {
        for (url, place) in [
            (
                "https://gw.example.com/mcp",
                "https://gw.example.com/.well-known/oauth-protected-resource/mcp",
            ),
            (
                "https://gw.example.com",
                "https://gw.example.com/.well-known/oauth-protected-resource",
            ),
            (
                "http://127.0.0.1:8/a/b",
                "http://127.0.0.1:8/.well-known/oauth-protected-resource/a/b",
            ),
        ] {
            assert_eq!(resource(url).unwrap().metadata_url(), place);
        }
        let mut all = Resources::default();
        all.add(&Arc::new(resource("https://gw.example.com/mcp").unwrap()));
        all.add(&Arc::new(resource("https://gw.example.com").unwrap()));
        let path = |text: &'static str| -> Vec<Cow<'static, str>> {
            text.split('/').map(Cow::Borrowed).collect()
        };
        let mcp = path(".well-known/oauth-protected-resource/mcp");
        let answer = all.answer("gw.example.com", &mcp, "GET").unwrap();
        let document: serde_json::Value = serde_json::from_str(answer.body).unwrap();
        assert_eq!(
            document,
            json!({
                "resource": "https://gw.example.com/mcp",
                "authorization_servers":
                    ["https://idp.example.com/realms/acme", "https://id.example.com/"],
                "bearer_methods_supported": ["header"],
                "scopes_supported": ["mcp:read"],
                "resource_name": "Acme tools",
            })
        );
        assert_eq!(all.answer("gw.example.com", &mcp, "HEAD").unwrap().body, "");
        assert_eq!(all.answer("gw.example.com", &mcp, "OPTIONS").unwrap().status, 204);
        for (host, place, method) in [
            ("gw.example.com", ".well-known/oauth-protected-resource/mcp", "POST"),
            ("gw.example.com", ".well-known/oauth-protected-resource/mcp/", "GET"),
            ("gw.example.com", ".well-known/oauth-protected-resource/mc", "GET"),
            ("gw.example.com", ".well-known/oauth-protected-resource/mcp/x", "GET"),
            ("gw.example.com", ".well-known/oauth-authorization-server/mcp", "GET"),
            ("gw.example.com", "mcp", "GET"),
            ("other.example.com", ".well-known/oauth-protected-resource/mcp", "GET"),
        ] {
            assert_eq!(all.answer(host, &path(place), method), None, "{host} {place} {method}");
        }
        let root = path(".well-known/oauth-protected-resource");
        assert!(
            all.answer("gw.example.com", &root, "GET").unwrap().body.contains("gw.example.com\"")
        );
    }

    #[test]
    fn a_url_that_clients_could_write_in_two_ways_is_none() {
        for bad in [
            "",
            "mcp",
            "http://gw.example.com/mcp",
            "https://gw.example.com/mcp/",
            "https://gw.example.com/",
            "https://GW.example.com/mcp",
            "https://gw.example.com:443/mcp",
            "https://gw.example.com/mcp?x=1",
            "https://gw.example.com/mcp#x",
            "https://user@gw.example.com/mcp",
            "https://gw.example.com/a/../mcp",
            "https://gw.example.com//mcp",
            "https://gw.example.com/a%2Fmcp",
        ] {
            assert_eq!(resource(bad), Err(BadResource::Url), "{bad}");
        }
        assert_eq!(
            Resource::new("https://gw.example.com/mcp", &[], &[], None),
            Err(BadResource::NoServer)
        );
    }
}
