// Requests that end: each has a time limit, and each failure a text for people.

const LIMIT_MS = 10_000;

/// A failure that is told to people as it is.
export class Problem extends Error {
  constructor(text, status = 0) {
    super(text);
    this.status = status;
  }
}

const wait = (seconds) => {
  if (!Number.isFinite(seconds) || seconds <= 0) return "a while";
  if (seconds < 90) return `${Math.ceil(seconds)} seconds`;
  return `about ${Math.round(seconds / 60)} minutes`;
};

const explain = (name, response, body) => {
  if (body?.error?.param === "origin") {
    return `${name} does not know the address under which this page is open. Open it under its own.`;
  }
  switch (response.status) {
    case 429:
      return `Too many tries. Wait ${wait(Number(response.headers.get("retry-after")))}, then try again.`;
    case 503:
      return `${name} is not available at the moment. Try again soon.`;
    default:
      return `${name} gave an answer that is not understood (${response.status}).`;
  }
};

const parse = (text) => {
  try {
    const value = JSON.parse(text);
    return value !== null && typeof value === "object" ? value : undefined;
  } catch {
    return undefined;
  }
};

/// The object that `url` answers. `name` is who answers, for people; `words`
/// says what a status means to whoever asks.
export async function ask(name, url, { method = "GET", body, token, words = {}, limit = LIMIT_MS } = {}) {
  const headers = {};
  if (body !== undefined) headers["content-type"] = "application/json";
  if (token) headers.authorization = `Bearer ${token}`;
  const signal = AbortSignal.timeout(limit);
  let response, text;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      credentials: "include",
      redirect: "error",
      cache: "no-store",
      signal,
    });
    text = await response.text();
  } catch {
    throw new Problem(
      signal.aborted
        ? `${name} did not answer within ${limit / 1000} seconds.`
        : `${name} cannot be reached. Check your network, then try again.`,
    );
  }
  const answer = parse(text);
  if (!response.ok) {
    const own = answer?.error?.param === "origin" ? undefined : words[response.status];
    throw new Problem(own ?? explain(name, response, answer), response.status);
  }
  if (!answer) throw new Problem(`${name} gave an answer that is not understood.`);
  return answer;
}
