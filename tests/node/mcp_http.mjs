// Serves an MCP server of the SDK on loopback, in sessions, each with a stream to its
// client.
import { randomUUID } from "node:crypto";
import { createServer } from "node:http";
import { createRequire } from "node:module";

export const npm = createRequire(new URL("../../target/npm/package.json", import.meta.url));
const { StreamableHTTPServerTransport } = npm("@modelcontextprotocol/sdk/server/streamableHttp.js");

// `open` makes the server of a session.
export const serve = (open) => {
  const sessions = new Map();
  const answer = async (request, response) => {
    // A page elsewhere whose name leads here.
    const { hostname } = new URL(`http://${request.headers.host}`);
    if (!["127.0.0.1", "localhost"].includes(hostname)) return response.writeHead(403).end();
    const id = request.headers["mcp-session-id"];
    // A session is whose it was at its beginning, as the gateway says.
    const user = request.headers["x-user-id"];
    const session = sessions.get(id);
    if (id && (!session || session.user !== user)) return response.writeHead(404).end();
    let transport = session?.transport;
    if (!transport) {
      transport = new StreamableHTTPServerTransport({
        sessionIdGenerator: randomUUID,
        onsessioninitialized: (id) => sessions.set(id, { transport, user }),
        onsessionclosed: (id) => sessions.delete(id),
      });
      await open().connect(transport);
    }
    await transport.handleRequest(request, response);
  };
  const server = createServer((request, response) => {
    answer(request, response).catch((error) => {
      console.error(error);
      response.destroy();
    });
  });
  server.listen(Number(process.env.PORT ?? 0), "127.0.0.1", () => {
    console.log(`listening on http://127.0.0.1:${server.address().port}`);
  });
};
