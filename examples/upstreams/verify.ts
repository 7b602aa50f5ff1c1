import { createRemoteJWKSet, jwtVerify } from "jose";

const gateway = "https://gw.example.com";
const keys = createRemoteJWKSet(new URL(`${gateway}/.well-known/jwks.json`));

/** Who is it? Throws for what the gateway has not signed for this service. */
export async function user(authorization: string) {
  const { payload } = await jwtVerify(authorization.replace(/^Bearer /, ""), keys, {
    issuer: gateway,
    audience: "https://tools.internal",
    typ: "at+jwt", // no token of its clients
    algorithms: ["ES256", "EdDSA"],
    requiredClaims: ["exp", "sub", "role"],
  });
  return { id: payload.sub, role: payload.role };
}
