//! The ways in which a check is asked for.

/// Who asks, and how; named so in logs, metrics and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A gateway, by gRPC.
    Grpc,
    /// nginx, by `auth_request`.
    Nginx,
    /// ingress-nginx, by `auth-url`.
    IngressNginx,
    /// Traefik or Caddy.
    Forward,
    /// Envoy, over HTTP.
    EnvoyHttp,
    /// An upstream that checks once more.
    Guard,
    /// Envoy, of which the engine is a module.
    EnvoyModule,
}

impl Transport {
    /// How many there are.
    pub const COUNT: usize = 7;

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Grpc => "grpc",
            Self::Nginx => "nginx",
            Self::IngressNginx => "ingress-nginx",
            Self::Forward => "forward",
            Self::EnvoyHttp => "envoy-http",
            Self::Guard => "guard",
            Self::EnvoyModule => "envoy-module",
        }
    }
}

/// What is told of a request, beside the request itself.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The gateway's id of the request.
    pub request_id: &'a str,
    /// The client's address as the gateway saw it.
    pub client: &'a str,
    /// Who asked, and how.
    pub transport: Transport,
    /// The `traceparent` of the question, where it has one beside that of the
    /// request.
    pub trace: Option<&'a str>,
}
