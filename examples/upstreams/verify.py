import jwt  # PyJWT[crypto]

GATEWAY = "https://gw.example.com"
KEYS = jwt.PyJWKClient(f"{GATEWAY}/.well-known/jwks.json")


def user(authorization):
    """Who is it? Raises for what the gateway has not signed for this service."""
    token = authorization.removeprefix("Bearer ")
    if jwt.get_unverified_header(token).get("typ") != "at+jwt":
        raise jwt.InvalidTokenError("a token of one of its clients")
    claims = jwt.decode(
        token,
        KEYS.get_signing_key_from_jwt(token).key,
        algorithms=["ES256", "EdDSA"],
        issuer=GATEWAY,
        audience="https://tools.internal",
        options={"require": ["exp", "sub", "role"]},
    )
    return {"id": claims["sub"], "role": claims["role"]}
