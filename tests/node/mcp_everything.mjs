// The MCP server that the conformance suite asks for everything: each tool, resource
// and prompt is named and answers as its scenarios say.
//
//   PORT=8081 node mcp_everything.mjs
import { npm, serve } from "./mcp_http.mjs";

const { Server } = npm("@modelcontextprotocol/sdk/server/index.js");
const types = npm("@modelcontextprotocol/sdk/types.js");

const PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR4nGP4z8DwHwAFAAH/iZk9HQAAAABJRU5ErkJggg==";
const WAV = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA=";

const text = (text) => ({ type: "text", text });
const image = { type: "image", data: PNG, mimeType: "image/png" };
const resource = (uri, mimeType, text) => ({ type: "resource", resource: { uri, mimeType, text } });
const pause = () => new Promise((resolve) => setTimeout(resolve, 50));
const elicit = async (extra, message, properties, required) =>
  extra.sendRequest(
    { method: "elicitation/create", params: { message, requestedSchema: { type: "object", properties, required } } },
    types.ElicitResultSchema,
  );
const completed = ({ action, content }) =>
  [text(`Elicitation completed: action=${action}, content=${JSON.stringify(content)}`)];
const titled = (...names) => names.map((name, nth) => ({ const: `value${nth + 1}`, title: `${name}` }));

const TOOLS = {
  test_simple_text: () => [text("This is a simple text response for testing.")],
  test_image_content: () => [image],
  test_audio_content: () => [{ type: "audio", data: WAV, mimeType: "audio/wav" }],
  test_embedded_resource: () =>
    [resource("test://embedded-resource", "text/plain", "This is an embedded resource content.")],
  test_multiple_content_types: () => [
    text("Multiple content types test:"),
    image,
    resource("test://mixed-content-resource", "application/json", '{"test":"data","value":123}'),
  ],
  test_tool_with_logging: async (_arguments, extra) => {
    for (const data of ["Tool execution started", "Tool processing data", "Tool execution completed"]) {
      await extra.sendNotification({ method: "notifications/message", params: { level: "info", data } });
      await pause();
    }
    return [text("logged")];
  },
  test_error_handling: () => {
    throw new Error("This tool intentionally returns an error for testing");
  },
  test_tool_with_progress: async (_arguments, extra) => {
    const progressToken = extra._meta?.progressToken;
    for (const progress of [0, 50, 100]) {
      const params = { progressToken, progress, total: 100 };
      if (progressToken !== undefined) await extra.sendNotification({ method: "notifications/progress", params });
      await pause();
    }
    return [text("done")];
  },
  test_sampling: async ({ prompt }, extra) => {
    const params = { messages: [{ role: "user", content: text(prompt) }], maxTokens: 100 };
    const answer = await extra.sendRequest({ method: "sampling/createMessage", params }, types.CreateMessageResultSchema);
    return [text(`LLM response: ${answer.content.text}`)];
  },
  test_elicitation: async ({ message }, extra) => {
    const field = { type: "string" };
    const { action, content } = await elicit(extra, message, { username: field, email: field }, ["username", "email"]);
    return [text(`User response: action=${action}, content=${JSON.stringify(content)}`)];
  },
  test_elicitation_sep1034_defaults: async (_arguments, extra) =>
    completed(await elicit(extra, "Defaults", {
      name: { type: "string", default: "John Doe" },
      age: { type: "integer", default: 30 },
      score: { type: "number", default: 95.5 },
      status: { type: "string", enum: ["active", "inactive", "pending"], default: "active" },
      verified: { type: "boolean", default: true },
    })),
  test_elicitation_sep1330_enums: async (_arguments, extra) => {
    const plain = { type: "string", enum: ["option1", "option2", "option3"] };
    return completed(await elicit(extra, "Enums", {
      untitledSingle: plain,
      titledSingle: { type: "string", oneOf: titled("First Option", "Second Option", "Third Option") },
      legacyEnum: { type: "string", enum: ["opt1", "opt2", "opt3"], enumNames: ["Option One", "Option Two", "Option Three"] },
      untitledMulti: { type: "array", items: plain },
      titledMulti: { type: "array", items: { anyOf: titled("First Choice", "Second Choice", "Third Choice") } },
    }));
  },
  test_reconnection: () => [text("by the same stream")],
  json_schema_2020_12_tool: () => [text("fine")],
};

const SCHEMA = {
  $schema: "https://json-schema.org/draft/2020-12/schema",
  type: "object",
  $defs: { address: { type: "object", properties: { street: { type: "string" }, city: { type: "string" } } } },
  properties: { name: { type: "string" }, address: { $ref: "#/$defs/address" } },
  additionalProperties: false,
};

const PROMPTS = {
  test_simple_prompt: [[], () => [text("This is a simple prompt for testing.")]],
  test_prompt_with_arguments: [
    ["arg1", "arg2"],
    ({ arg1, arg2 }) => [text(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)],
  ],
  test_prompt_with_embedded_resource: [
    ["resourceUri"],
    ({ resourceUri }) => [
      resource(resourceUri, "text/plain", "Embedded resource content for testing."),
      text("Please process the embedded resource above."),
    ],
  ],
  test_prompt_with_image: [[], () => [image, text("Please analyze the image above.")]],
};

const RESOURCES = {
  "test://static-text": { mimeType: "text/plain", text: "This is the content of the static text resource." },
  "test://static-binary": { mimeType: "image/png", blob: PNG },
  "test://watched-resource": { mimeType: "text/plain", text: "watched" },
};

const read = (uri) => {
  const id = /^test:\/\/template\/([^/]+)\/data$/.exec(uri)?.[1];
  const data = { id, templateTest: true, data: `Data for ID: ${id}` };
  return id ? { mimeType: "application/json", text: JSON.stringify(data) } : RESOURCES[uri];
};

serve(() => {
  const server = new Server({ name: "everything", version: "1" }, {
    capabilities: { tools: {}, prompts: {}, resources: { subscribe: true }, logging: {}, completions: {} },
  });
  const on = (schema, answer) => server.setRequestHandler(types[`${schema}RequestSchema`], answer);
  on("ListTools", () => ({
    tools: Object.keys(TOOLS).map((name) => ({
      name,
      description: name,
      inputSchema: name.startsWith("json_schema") ? SCHEMA : { type: "object" },
    })),
  }));
  on("CallTool", async ({ params }, extra) => {
    try {
      return { content: await TOOLS[params.name](params.arguments ?? {}, extra) };
    } catch (error) {
      return { isError: true, content: [text(error.message)] };
    }
  });
  on("ListPrompts", () => ({
    prompts: Object.entries(PROMPTS).map(([name, [names]]) => ({
      name,
      description: name,
      arguments: names.map((name) => ({ name, description: name, required: true })),
    })),
  }));
  on("GetPrompt", ({ params }) => ({
    messages: PROMPTS[params.name][1](params.arguments ?? {}).map((content) => ({ role: "user", content })),
  }));
  on("ListResources", () => ({
    resources: Object.entries(RESOURCES).map(([uri, { mimeType }]) => ({ uri, name: uri, description: uri, mimeType })),
  }));
  on("ListResourceTemplates", () => ({ resourceTemplates: [{ uriTemplate: "test://template/{id}/data", name: "data" }] }));
  on("ReadResource", ({ params: { uri } }) => ({ contents: [{ uri, ...read(uri) }] }));
  on("Subscribe", () => ({}));
  on("Unsubscribe", () => ({}));
  on("SetLevel", () => ({}));
  on("Complete", () => ({ completion: { values: [], total: 0, hasMore: false } }));
  return server;
});
