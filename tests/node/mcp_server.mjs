// An MCP server behind a gateway, by the SDK: notes of whoever the gateway says it
// is, in sessions with a stream to the client.
//
//   PORT=8081 node mcp_server.mjs
//
// It looks at no token: who asks and whether they may has been said before.
import { npm, serve } from "./mcp_http.mjs";

const { McpServer } = npm("@modelcontextprotocol/sdk/server/mcp.js");
const { z } = npm("zod");

const notes = new Map();

const text = (value) => ({ content: [{ type: "text", text: JSON.stringify(value) }] });

serve(() => {
  const server = new McpServer({ name: "notes", version: "1" }, { capabilities: { logging: {} } });
  const mine = ({ requestInfo }) => {
    const user = requestInfo.headers["x-user-id"] ?? "nobody";
    if (!notes.has(user)) notes.set(user, ["buy milk"]);
    return [user, notes.get(user)];
  };
  server.registerTool("list_notes", { description: "Your notes" }, async (extra) => {
    const [user, list] = mine(extra);
    return text({ user, notes: list });
  });
  const title = { title: z.string() };
  server.registerTool("add_note", { inputSchema: title }, async ({ title }, extra) => {
    mine(extra)[1].push(title);
    // By the session's stream, since it names no request.
    await server.server.notification({
      method: "notifications/message",
      params: { level: "info", data: `added: ${title}` },
    });
    return text({ added: title });
  });
  server.registerTool("delete_note", { inputSchema: title }, async ({ title }, extra) => {
    const [user, list] = mine(extra);
    notes.set(user, list.filter((note) => note !== title));
    return text({ deleted: title });
  });
  return server;
});
