// What the libraries of OpenAI and of Anthropic ask for with a key of portcullis:
//
//   node models.mjs http://127.0.0.1:8000 pck_…
import { createRequire } from "node:module";

const npm = createRequire(new URL("../../target/npm/package.json", import.meta.url));
const [gateway, key] = process.argv.slice(2);

// `Authorization: Bearer`.
const { OpenAI } = npm("openai");
const openai = new OpenAI({ baseURL: `${gateway}/openai/v1`, apiKey: key, maxRetries: 0 });
// `x-api-key`.
const { Anthropic } = npm("@anthropic-ai/sdk");
const anthropic = new Anthropic({ baseURL: `${gateway}/anthropic`, apiKey: key, maxRetries: 0 });

const said = async (question) => {
  try {
    return await question();
  } catch (error) {
    return error.status ?? String(error);
  }
};
const messages = [{ role: "user", content: "hello" }];
const answers = {
  openai: await said(async () => {
    const answer = await openai.chat.completions.create({ model: "m", messages });
    return answer.choices[0].message.content;
  }),
  anthropic: await said(async () => {
    const answer = await anthropic.messages.create({ model: "m", max_tokens: 9, messages });
    return answer.content[0].text;
  }),
};
console.log(JSON.stringify(answers));
