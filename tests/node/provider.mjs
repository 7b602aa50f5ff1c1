// An OpenID provider on loopback: the certified oidc-provider, PKCE required.
//
//   REDIRECT_URIS=http://localhost:8080/sso/callback node provider.mjs
//
// Whoever types a name is that person, whatever the password: ann is
// ann@example.com, verified, of the group "staff"; with a "+" in the name
// ("ann+unverified", "ann+admins") the email is unverified, or the groups are
// others. Its clients are portcullis (client_secret_basic), portcullis-post,
// and portcullis-public; and robot, who needs nobody (client_credentials).
// Access tokens for https://api.example.com and what is below it are JWTs for
// that audience, and those for another origin for that; below /for/N, they live
// for N seconds. Whoever signs out at /session/end is signed out at
// BACKCHANNEL_LOGOUT_URI. /rotate has tokens signed by a new key from then on; /retire
// takes the old ones out of the set.
import { generateKeyPairSync } from "node:crypto";
import { createServer } from "node:http";

const modules = new URL("../../target/npm/node_modules/", import.meta.url);
const { Provider } = await import(new URL("oidc-provider/lib/index.js", modules));

const list = (name) => (process.env[name] ?? "").split(",").filter(Boolean);
const secret = process.env.CLIENT_SECRET ?? "a-secret-of-the-provider-on-loopback";

const client = (id, more) => ({
  client_id: id,
  redirect_uris: list("REDIRECT_URIS"),
  post_logout_redirect_uris: list("POST_LOGOUT_REDIRECT_URIS"),
  ...(process.env.BACKCHANNEL_LOGOUT_URI && {
    backchannel_logout_uri: process.env.BACKCHANNEL_LOGOUT_URI,
    backchannel_logout_session_required: true,
  }),
  grant_types: ["authorization_code"],
  response_types: ["code"],
  ...more,
});

const rsa = () => ({
  use: "sig",
  ...generateKeyPairSync("rsa", { modulusLength: 2048 }).privateKey.export({ format: "jwk" }),
});

let keys = [
  rsa(),
  { use: "sig", ...generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ format: "jwk" }) },
  { use: "sig", ...generateKeyPairSync("ed25519").privateKey.export({ format: "jwk" }) },
];

const server = createServer();
server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
  const issuer = `http://127.0.0.1:${server.address().port}`;
  const make = () => new Provider(issuer, {
    clients: [
      client("robot", {
        client_secret: secret,
        grant_types: ["client_credentials"],
        redirect_uris: [],
        response_types: [],
      }),
      client("portcullis", { client_secret: secret }),
      client("portcullis-post", {
        client_secret: secret,
        token_endpoint_auth_method: "client_secret_post",
        id_token_signed_response_alg: "ES256",
      }),
      client("portcullis-public", {
        token_endpoint_auth_method: "none",
        id_token_signed_response_alg: "EdDSA",
      }),
    ],
    jwks: { keys },
    enabledJWA: { idTokenSigningAlgValues: ["RS256", "ES256", "EdDSA"] },
    features: {
      clientCredentials: { enabled: true },
      backchannelLogout: { enabled: true },
      resourceIndicators: {
        enabled: true,
        getResourceServerInfo: (_context, resource) => ({
          audience: new URL(resource).origin,
          scope: "agents:read",
          accessTokenFormat: "jwt",
          accessTokenTTL: Number(resource.split("/for/")[1] ?? 600),
          jwt: { sign: { alg: "RS256" } },
        }),
      },
    },
    extraTokenClaims: (_context, token) => {
      const [name, ...groups] = (token.accountId ?? "robot+admins").split("+");
      return {
        preferred_username: name,
        email: `${name}@example.com`,
        realm_access: { roles: groups.length ? groups : ["staff"] },
      };
    },
    // On loopback, where everything here is, it asks nobody by itself.
    fetch: (url, { dispatcher: _, ...options }) => fetch(url, options),
    cookies: { keys: [secret] },
    pkce: { required: () => true },
    scopes: ["openid", "email", "profile"],
    claims: { openid: ["sub"], email: ["email", "email_verified"], profile: ["name", "groups"] },
    findAccount: (_context, id) => {
      const [name, ...marks] = id.split("+");
      const groups = marks.filter((mark) => mark !== "unverified");
      return {
        accountId: id,
        claims: () => ({
          sub: id,
          name,
          email: `${name}@example.com`,
          email_verified: !marks.includes("unverified"),
          groups: groups.length ? groups : ["staff"],
        }),
      };
    },
    // Nobody is asked whether portcullis may know their name.
    loadExistingGrant: async (context) => {
      const given = context.oidc.session.grantIdFor(context.oidc.client.clientId);
      if (given) return context.oidc.provider.Grant.find(given);
      const grant = new context.oidc.provider.Grant({
        clientId: context.oidc.client.clientId,
        accountId: context.oidc.session.accountId,
      });
      grant.addOIDCScope("openid email profile");
      grant.addResourceScope("https://api.example.com", "agents:read");
      await grant.save();
      return grant;
    },
    ttl: { Session: 3600, Grant: 3600, Interaction: 3600, AccessToken: 600, IdToken: 600 },
  });
  let answer = make().callback();
  server.on("request", (request, response) => {
    if (request.url === "/rotate") keys = [rsa(), ...keys];
    else if (request.url === "/retire") keys = keys.filter((key, nth) => nth === 0 || key.kty !== "RSA");
    else return answer(request, response);
    answer = make().callback();
    response.end();
  });
  console.log(`listening on ${issuer}`);
});
