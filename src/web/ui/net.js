// Requests that end: each has a time limit, and each failure a text for people.

const LIMIT_MS = 10_000;

export class Problem extends Error {
  constructor(text, { status = 0, again = false } = {}) {
    super(text);
    this.status = status;
    // Whether the same request may succeed a little later.
    this.again = again;
  }
}

const wait = (seconds) => {
  if (!Number.isFinite(seconds) || seconds <= 0) return "a while";
  if (seconds < 90) return `${Math.ceil(seconds)} seconds`;
  return `about ${Math.round(seconds / 60)} minutes`;
};

const explain = (status, headers, name) => {
  switch (status) {
    case 401: return ["The name or the password is wrong.", false];
    case 403: return ["This account may not sign in here.", false];
    case 404: return [`${name} does not sign people in from this page.`, false];
    case 429:
      return [`Too many tries. Wait ${wait(Number(headers.get("retry-after")))}, then try again.`, true];
    case 503: return [`${name} cannot sign anybody in at the moment. Try again soon.`, true];
    default: return [`${name} gave an answer that is not understood (${status}).`, true];
  }
};

/// The JSON that `url` answers; `name` is who answers, for people.
export async function ask(name, url, { method = "GET", body, token, limit = LIMIT_MS } = {}) {
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
      { again: true },
    );
  }
  if (!response.ok) {
    const [words, again] = explain(response.status, response.headers, name);
    throw new Problem(words, { status: response.status, again });
  }
  try {
    return JSON.parse(text);
  } catch {
    throw new Problem(`${name} gave an answer that is not understood.`, { again: true });
  }
}
