// An authorization server for an MCP server on loopback: oidc-provider, at which
// any client registers itself (RFC 7591), and whose access tokens are JWTs for the
// resource that was asked for (RFC 8707), to the letter.
//
//   RESOURCE=http://127.0.0.1:8000/mcp node authorization.mjs
//
// Whoever types a name is that person, whatever the password, and is asked what a
// client may. Tokens live for TOKEN_LIFETIME seconds.
import { generateKeyPairSync, randomBytes } from "node:crypto";
import { createServer } from "node:http";

const modules = new URL("../../target/npm/node_modules/", import.meta.url);
const { Provider, errors } = await import(new URL("oidc-provider/lib/index.js", modules));

const key = generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" });
const server = createServer();
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const provider = new Provider(issuer, {
    jwks: { keys: [{ use: "sig", alg: "ES256", kid: "one", ...key }] },
    enabledJWA: { idTokenSigningAlgValues: ["ES256"] },
    clientDefaults: { id_token_signed_response_alg: "ES256" },
    scopes: ["openid", "mcp:read", "mcp:write"],
    features: {
      registration: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => {
          if (resource !== process.env.RESOURCE) throw new errors.InvalidTarget();
          return {
            audience: resource,
            scope: "mcp:read mcp:write",
            accessTokenFormat: "jwt",
            accessTokenTTL: Number(process.env.TOKEN_LIFETIME ?? 600),
            jwt: { sign: { alg: "ES256" } },
          };
        },
      },
    },
    // A client registers with the scopes that it was asked for first, and is asked
    // for more later. What it may is for people to say, so nothing is kept of that.
    extraClientMetadata: {
      properties: ["no_scope"],
      validator: (_context, _key, _value, metadata) => delete metadata.scope,
    },
    extraTokenClaims: (_context, token) => ({ preferred_username: token.accountId }),
    findAccount: (_context, id) => ({ accountId: id, claims: () => ({ sub: id }) }),
    cookies: { keys: [randomBytes(32).toString("hex")] },
    pkce: { required: () => true },
    ttl: { Session: 3600, Grant: 3600, Interaction: 3600, IdToken: 600 },
  });
  server.on("request", provider.callback());
  console.log(`listening on ${issuer}`);
});
