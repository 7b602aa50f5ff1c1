"""Envoy with a listener for each of the variants that are measured: they share
a process and its one worker, so that nothing but the filter differs."""

import json

from question import b64

EXTENSIONS = "type.googleapis.com/envoy.extensions."

# All that a decision can need beside method, scheme, host and path, which are
# fields of their own; and what the decision log tells.
NEEDED = [
    "authorization", "cookie", "connection", "upgrade", "sec-websocket-version", "origin", "sec-fetch-site",
    "sec-fetch-mode", "content-type", "access-control-request-method", "x-request-id", "traceparent",
]
# What a client could pretend to be somebody by, or to ask for something else:
# these names, also with another separator for `-`, must be seen to be removed.
# The names as they stand are removed whether they are seen or not.
FORGED = ["user-", "http-method", "http-method-override", "method-override", "original-url", "rewrite-url"]


def separators(name):
    return name.replace("-", "[[:punct:]]")


def needed():
    """Patterns for `allowed_headers`. Prefixes in the place of the expression
    cost the same and see less; one expression for everything is longer than
    Envoy takes by default."""
    names = "|".join(separators(name) + (".*" if name.endswith("-") else "") for name in FORGED)
    return [*({"exact": name} for name in NEEDED), {"safe_regex": {"regex": f"x[[:punct:]]({names})"}}]


def typed(name, kind, **fields):
    return {"name": name, "typed_config": {"@type": EXTENSIONS + kind, **fields}}


def ext_authz(cluster, allowed=None, **fields):
    """As in envoy/envoy.yaml."""
    if allowed:
        fields["allowed_headers"] = {"patterns": allowed}
    return [typed(
        "envoy.filters.http.ext_authz", "filters.http.ext_authz.v3.ExtAuthz",
        transport_api_version="V3",
        grpc_service={"envoy_grpc": {"cluster_name": cluster}, "timeout": "0.25s"},
        failure_mode_allow=False,
        status_on_error={"code": "ServiceUnavailable"},
        validate_mutations=True,
        **fields,
    )]


def dynamic_module(name, text):
    return [typed(
        name, "filters.http.dynamic_modules.v3.DynamicModuleFilter",
        dynamic_module_config={"name": name, "do_not_close": True},
        filter_name=name,
        filter_config={"@type": "type.googleapis.com/google.protobuf.StringValue", "value": text},
    )]


def module(file):
    """As in envoy/module.yaml, without the service beside it."""
    return dynamic_module("portcullis_envoy", json.dumps({"config": str(file), "use_remote_address": True}))


def module_floor(parts="harsmc"):
    """What of Envoy the engine takes for an allowed check, or a part: module_floor.c."""
    return dynamic_module("module_floor", parts)


def jwt_and_rbac(key):
    """Envoy's own: the signature, the times and the role by the rule, and the
    user's headers."""
    jwks = {"keys": [{"kty": "oct", "alg": "HS256", "k": b64(key.encode()).decode()}]}
    headers = {"x-user-id": "userId", "x-user-name": "sub", "x-user-email": "email", "x-user-role": "role"}
    role = {"filter": "envoy.filters.http.jwt_authn", "path": [{"key": "claims"}, {"key": "role"}]}
    role["value"] = {"string_match": {"safe_regex": {"regex": "REGULAR|ADMIN"}}}
    return [
        typed(
            "envoy.filters.http.jwt_authn", "filters.http.jwt_authn.v3.JwtAuthentication",
            providers={"own": {
                "local_jwks": {"inline_string": json.dumps(jwks)},
                "forward": True,
                "payload_in_metadata": "claims",
                "claim_to_headers": [{"header_name": name, "claim_name": claim} for name, claim in headers.items()],
            }},
            rules=[{"match": {"prefix": "/"}, "requires": {"provider_name": "own"}}],
        ),
        typed(
            "envoy.filters.http.rbac", "filters.http.rbac.v3.RBAC",
            rules={"action": "ALLOW", "policies": {"agents": {
                "permissions": [{"url_path": {"path": {"prefix": "/api/agents"}}}],
                "principals": [{"metadata": role}],
            }}},
        ),
    ]


# What /seen tells of the request as it would go on: names that a client could
# pretend by, and the user's.
SEEN = ["x-user-id", "x-user-role", "x-user-admin", "x.user.role", "x-user.role", "x.http.method.override", "x-rewrite-url"]


def listener(port, filters):
    seen = [
        {"header": {"key": f"seen-{at}", "value": f"%REQ({name})%"}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}
        for at, name in enumerate(SEEN)
    ]
    answer = {"status": 200, "body": {"inline_string": "ok"}}
    routes = [
        {"match": {"path": "/api/agents/seen"}, "direct_response": answer, "response_headers_to_add": seen},
        {"match": {"prefix": "/"}, "direct_response": answer},
    ]
    manager = typed(
        "envoy.filters.network.http_connection_manager",
        "filters.network.http_connection_manager.v3.HttpConnectionManager",
        stat_prefix="gateway",
        use_remote_address=True,
        normalize_path=True,
        merge_slashes=True,
        path_with_escaped_slashes_action="UNESCAPE_AND_REDIRECT",
        common_http_protocol_options={"headers_with_underscores_action": "REJECT_REQUEST"},
        http_filters=[*filters, typed("envoy.filters.http.router", "filters.http.router.v3.Router")],
        route_config={"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": routes}]},
    )
    address = {"socket_address": {"address": "127.0.0.1", "port_value": port}}
    return {"name": str(port), "address": address, "filter_chains": [{"filters": [manager]}]}


def cluster(name, target, **http2):
    if target.startswith("unix:"):
        address = {"pipe": {"path": target.removeprefix("unix:")}}
    else:
        host, _, port = target.rpartition(":")
        address = {"socket_address": {"address": host, "port_value": int(port)}}
    options = {"explicit_http_config": {"http2_protocol_options": http2}}
    return {
        "name": name,
        "connect_timeout": "0.25s",
        "load_assignment": {
            "cluster_name": name, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": address}}]}],
        },
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": EXTENSIONS + "upstreams.http.v3.HttpProtocolOptions", **options,
            }
        },
        "circuit_breakers": {"thresholds": [{"max_requests": 4096, "max_pending_requests": 4096}]},
    }
