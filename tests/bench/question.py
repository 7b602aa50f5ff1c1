"""A CheckRequest as Envoy 1.40 sends it for a browser's request, of about 1,000
bytes beside its token's; tokens; and what a browser sends to Envoy."""

import base64
import hashlib
import hmac
import json
import struct

PATH = "/api/agents/42/runs?page=2"
HOST = "app.example.com"

# What a browser sends over HTTP/1.1 or HTTP/2.
BROWSER = {
    "accept": "application/json, text/plain, */*",
    "accept-encoding": "gzip, deflate, br, zstd",
    "accept-language": "en-GB,en;q=0.9",
    "cookie": "theme=dark; consent=1",
    "referer": "https://app.example.com/agents",
    "sec-fetch-dest": "empty",
    "sec-fetch-mode": "cors",
    "sec-fetch-site": "same-origin",
    "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36",
}
# What Envoy adds.
ENVOY = {
    ":authority": HOST,
    ":method": "GET",
    ":path": PATH,
    ":scheme": "https",
    "x-envoy-internal": "true",
    "x-forwarded-for": "10.0.0.5",
    "x-forwarded-proto": "https",
    "x-request-id": "4d3a75a5-41cf-400f-8471-f0a1b6fdcbfe",
}


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=")


def token(key, now, lifetime=3600):
    """One such as portcullis mints, at a time that stands still."""
    claims = {
        "sub": "ann", "userId": "7", "role": "REGULAR", "email": "ann@example.com",
        "iat": now, "exp": now + lifetime, "jti": "0123456789abcdefghijkl",
    }
    parts = [b64(json.dumps(part, separators=(",", ":")).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = b".".join(parts)
    return b".".join([signed, b64(hmac.digest(key.encode(), signed, hashlib.sha256))]).decode()


def with_bad_signature(good):
    """Another signature of the right length; its last character carries bits
    that do not count, so it is not that one which changes."""
    head, _, signature = good.rpartition(".")
    return f"{head}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"


def varint(number):
    out = bytearray()
    number &= (1 << 64) - 1
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, value):
    """A field of a message: a number, or what has a length."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    value = value.encode() if isinstance(value, str) else value
    return varint(number << 3 | 2) + varint(len(value)) + value


def peer(address, port):
    socket_address = field(2, address) + field(3, port)
    return field(1, field(1, socket_address))


# What a client of an MCP server sends, and what Envoy's MCP filter tells of it.
CALL = {
    ":method": "POST",
    ":path": "/mcp",
    "accept": "application/json, text/event-stream",
    "content-type": "application/json",
    "mcp-method": "tools/call",
    "mcp-name": "send_mail",
    "mcp-protocol-version": "2026-07-28",
}
TOLD = {
    "id": 1.0, "is_mcp_request": True, "jsonrpc": "2.0", "method": "tools/call",
    "params": {"name": "send_mail"}, "status": "mcp_ok",
}  # fmt: skip


def value(it):
    """A google.protobuf.Value."""
    match it:
        case bool():
            return field(4, int(it))
        case float():
            return varint(2 << 3 | 1) + struct.pack("<d", it)
        case str():
            return field(3, it)
    return field(5, members(it))


def members(them):
    """A google.protobuf.Struct."""
    return b"".join(field(1, field(1, name) + field(2, value(it))) for name, it in them.items())


def question(bearer, call=None, told=None):
    """The bytes of a CheckRequest, with this token or with none; for a call, with
    these headers in the place of others, and what a filter tells of it."""
    headers = {**ENVOY, **BROWSER, **(call or {})}
    if bearer:
        headers["authorization"] = f"Bearer {bearer}"
    path = headers[":path"]
    http = field(1, "1234567890123456789") + field(2, headers[":method"])
    http += b"".join(field(3, field(1, name) + field(2, value)) for name, value in sorted(headers.items()))
    # Without a body Envoy says -1 for its size.
    http += field(4, path) + field(5, HOST) + field(6, "https") + field(9, -1) + field(10, "HTTP/2")
    time = field(1, 1_800_000_000) + field(2, 123_456_789)
    request = field(1, time) + field(2, http)
    attributes = field(1, peer("10.0.0.5", 51234)) + field(2, peer("10.0.0.9", 8443)) + field(4, request)
    # The metadata of request and route.
    metadata = field(1, field(1, "envoy.filters.http.mcp") + field(2, members(told))) if told else b""
    attributes += field(11, metadata) + field(13, b"")
    return field(1, attributes)


def framed(message):
    """As gRPC sends it."""
    return struct.pack(">BI", 0, len(message)) + message
