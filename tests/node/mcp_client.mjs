// The SDK's own client at an MCP server behind a gateway, with nobody at it: it finds
// out where to sign in, registers, signs ann in by the forms there, and tells each
// step on a line.
//
//   node mcp_client.mjs http://127.0.0.1:8000/mcp [--by-path]
//
// It lists and adds notes, and deletes one, for which it has to come back with more
// scopes; with --by-path (a gateway that sends no body) that is let through at once.
// Its status says whether all went so.
import { createRequire } from "node:module";

const npm = createRequire(new URL("../../target/npm/package.json", import.meta.url));
const { Client } = npm("@modelcontextprotocol/sdk/client/index.js");
const { UnauthorizedError } = npm("@modelcontextprotocol/sdk/client/auth.js");
const { StreamableHTTPClientTransport } = npm("@modelcontextprotocol/sdk/client/streamableHttp.js");
const { LoggingMessageNotificationSchema } = npm("@modelcontextprotocol/sdk/types.js");

const [address, ...flags] = process.argv.slice(2);
const byPath = flags.includes("--by-path");
const say = (...words) => console.log(words.filter(Boolean).join(" "));

// Every exchange of the SDK, with what a refusal asks for.
const told = async (url, init = {}) => {
  const response = await fetch(url, init);
  const { origin, pathname } = new URL(url);
  const place = origin === new URL(address).origin ? pathname : `${pathname} (authorization server)`;
  let asked;
  try {
    const { method, params } = JSON.parse(init.body);
    asked = [method, params?.name].filter(Boolean).join(" ");
  } catch {
    // It is no message.
  }
  say(init.method ?? "GET", place, asked, "->", String(response.status), response.headers.get("www-authenticate"));
  return response;
};

// A person with a browser: follows redirects, keeps cookies, fills in forms.
class Person {
  cookies = new Map();

  async open(url, init = {}) {
    const cookie = [...this.cookies].map((pair) => pair.join("=")).join("; ");
    const response = await fetch(url, { ...init, redirect: "manual", headers: { cookie } });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (value) this.cookies.set(name, value);
      else this.cookies.delete(name);
    }
    return response;
  }

  // The address with the code, at the client.
  async signIn(url, back) {
    let response = await this.open(url);
    for (let step = 0; step < 20; step += 1) {
      const location = response.headers.get("location");
      if (location) {
        url = new URL(location, url);
        if (url.href.startsWith(back)) return url;
        response = await this.open(url);
        continue;
      }
      const page = await response.text();
      const action = /<form[^>]* action="([^"]+)"/.exec(page)?.[1];
      const prompt = /name="prompt" value="([^"]+)"/.exec(page)?.[1];
      if (!prompt) throw new Error(`${url}: HTTP ${response.status} ${page}`);
      say("ann is asked for:", prompt);
      const body = new URLSearchParams({ prompt, ...(prompt === "login" && { login: "ann", password: "x" }) });
      url = new URL(action.replaceAll("&amp;", "&"), url);
      response = await this.open(url, { method: "POST", body });
    }
    throw new Error("it leads nowhere");
  }
}

// What the SDK keeps of a sign-in.
class SignIn {
  person = new Person();
  redirectUrl = "http://127.0.0.1/callback";
  clientMetadata = {
    client_name: "notes on loopback",
    redirect_uris: [this.redirectUrl],
    grant_types: ["authorization_code"],
    response_types: ["code"],
    token_endpoint_auth_method: "none",
  };
  clientInformation = () => this.client;
  saveClientInformation = (client) => { this.client = client; };
  tokens = () => this.kept;
  saveTokens = (tokens) => { this.kept = tokens; };
  codeVerifier = () => this.verifier;
  saveCodeVerifier = (verifier) => { this.verifier = verifier; };

  async redirectToAuthorization(url) {
    say("asks for", url.searchParams.get("scope"), "at", url.searchParams.get("resource"));
    const back = await this.person.signIn(url, this.redirectUrl);
    this.code = back.searchParams.get("code");
    if (!this.code) throw new Error(`no code: ${back.search}`);
  }
}

const signIn = new SignIn();
let transport;

// Once more, when somebody had to sign in.
const signedIn = async (what) => {
  try {
    return await what();
  } catch (error) {
    if (!(error instanceof UnauthorizedError)) throw error;
    await transport.finishAuth(signIn.code);
    say("has a token for", signIn.kept.scope);
    return what();
  }
};

let client;
let noted;
const notified = new Promise((resolve) => { noted = resolve; });
const connect = async () => {
  client = new Client({ name: "notes", version: "1" });
  client.setNotificationHandler(LoggingMessageNotificationSchema, ({ params }) => {
    say("by the session's stream:", params.data);
    noted();
  });
  transport = new StreamableHTTPClientTransport(new URL(address), { authProvider: signIn, fetch: told });
  await client.connect(transport);
};
const call = async (name, more) => {
  const answer = await signedIn(() => client.callTool({ name, arguments: more }));
  say(`${name}:`, answer.content[0].text);
  return JSON.parse(answer.content[0].text);
};

await signedIn(connect);
const { tools } = await client.listTools();
say("tools:", tools.map((tool) => tool.name).join(", "));
const before = await call("list_notes");
// Until the session's stream is open, nothing comes by it.
let adding = true;
notified.then(() => { adding = false; });
while (adding) {
  await call("add_note", { title: "call bob" });
  await Promise.race([notified, new Promise((resolve) => setTimeout(resolve, 100))]);
}
const scope = signIn.kept.scope;
await call("delete_note", { title: "call bob" });
const after = await call("list_notes");
await transport.terminateSession();
await client.close();

const fine = scope === "mcp:read"
  && signIn.kept.scope === (byPath ? "mcp:read" : "mcp:read mcp:write")
  && JSON.stringify(before) === JSON.stringify(after);
say(fine ? "all went as it should" : "it went otherwise");
process.exitCode = fine ? 0 : 1;
