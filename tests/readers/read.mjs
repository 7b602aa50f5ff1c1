// What JavaScript reads in bodies: a line each, of hexadecimal, or a hyphen for none.
//
//     node read.mjs FILE
//
// The file has a body behind each length of four bytes, the lowest first.
import { readFileSync } from "node:fs";

const file = readFileSync(process.argv[2]);
const decoder = new TextDecoder();

const text = (of, name) => {
  const value = of?.[name];
  return typeof value === "string" ? Buffer.from(value, "utf8").toString("hex") : "?";
};

const told = (body) => {
  let value;
  try {
    value = JSON.parse(decoder.decode(body));
  } catch {
    return "-";
  }
  return [text(value, "method"), text(value?.params, "name"), text(value, "model")].join(":");
};

let lines = [];
for (let at = 0; at < file.length; ) {
  const length = file.readUInt32LE(at);
  lines.push(told(file.subarray(at + 4, at + 4 + length)));
  at += 4 + length;
  if (lines.length === 10_000) {
    process.stdout.write(lines.join("\n") + "\n");
    lines = [];
  }
}
process.stdout.write(lines.map((line) => line + "\n").join(""));
