// What a browser calls itself, in words. It can say what it likes: this is for
// people who look for their own.
const BROWSERS = [
  [/\bEdg(e|A|iOS)?\//, "Edge"],
  [/\b(OPR|Opera)\//, "Opera"],
  [/\bSamsungBrowser\//, "Samsung Internet"],
  [/\b(Firefox|FxiOS)\//, "Firefox"],
  [/\b(Headless)?(Chrome|CriOS|Chromium)\//, "Chrome"],
  [/\bVersion\/.*\bSafari\//, "Safari"],
  [/^curl\//, "curl"],
];
const SYSTEMS = [
  [/\bAndroid\b/, "Android"],
  [/\b(iPhone|iPad|iPod)\b/, "iOS"],
  [/\bCrOS\b/, "ChromeOS"],
  [/\bWindows\b/, "Windows"],
  [/\bMac OS X\b/, "macOS"],
  [/\bLinux\b/, "Linux"],
];
/// The longest name of something else that is shown.
const LONGEST = 40;

const named = (agent, list) => list.find(([pattern]) => pattern.test(agent))?.[1];

/// Such as "Firefox on Linux".
export function inWords(agent) {
  if (typeof agent !== "string" || agent === "") return "An unknown browser";
  const browser = named(agent, BROWSERS) ?? agent.split(/[ /]/, 1)[0].slice(0, LONGEST);
  const system = named(agent, SYSTEMS);
  return system ? `${browser} on ${system}` : browser;
}
