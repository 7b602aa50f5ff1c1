// Signing in and out at a worker. The token is in the worker's HttpOnly cookie
// where the browser keeps that, else in this tab's `sessionStorage`.
import { ask, Problem } from "./net.js";

const TOKEN = "portcullis.token";
const BEGUN = "portcullis.begun";

const read = (key) => {
  try {
    return JSON.parse(sessionStorage.getItem(key)) ?? {};
  } catch {
    return {};
  }
};
const keep = (key, value) => sessionStorage.setItem(key, JSON.stringify(value));
const drop = (key) => sessionStorage.removeItem(key);

const tokenOf = (worker) => {
  const kept = read(TOKEN);
  return kept.worker === worker.id ? kept.token : undefined;
};

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

const newVerifier = () => base64url(crypto.getRandomValues(new Uint8Array(32)));

const challengeOf = async (verifier) =>
  base64url(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier))));

/// Who is signed in at this worker; `null` for nobody.
export async function who(worker) {
  try {
    return await ask(worker.name, worker.at("session"), { token: tokenOf(worker) });
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    drop(TOKEN);
    return null;
  }
}

/// Keeps a new token in the page only where the cookie was not kept.
async function settle(worker, token) {
  drop(TOKEN);
  const me = await ask(worker.name, worker.at("session"), { token });
  const byCookie = await ask(worker.name, worker.at("session")).catch(() => null);
  // A cookie of an earlier sign-in is not this one.
  const isKept = byCookie?.user_id === me.user_id && byCookie?.expires_at === me.expires_at;
  if (!isKept) keep(TOKEN, { worker: worker.id, token });
}

/// Signs in by name and password.
export async function signIn(worker, username, password) {
  if (worker.isHere) {
    const { token } = await ask(worker.name, worker.at("session"), {
      method: "POST",
      body: { username, password },
    });
    return settle(worker, token);
  }
  const verifier = newVerifier();
  const { code } = await ask(worker.name, worker.at("v3/login"), {
    method: "POST",
    body: {
      username,
      password,
      code_challenge: await challengeOf(verifier),
      code_challenge_method: "S256",
    },
  });
  return exchange(worker, code, verifier);
}

async function exchange(worker, code, code_verifier) {
  const { token } = await ask(worker.name, worker.at("v3/login/exchange"), {
    method: "POST",
    body: { code, code_verifier },
  });
  return settle(worker, token);
}

/// The address at which a single sign-on begins. A worker elsewhere sends the
/// browser back to this page with a code; this instance goes on by itself.
export async function ssoAddress(worker, returnTo) {
  const query = new URLSearchParams();
  if (worker.isHere) {
    if (returnTo) query.set("return_to", returnTo);
  } else {
    const verifier = newVerifier();
    keep(BEGUN, { worker: worker.id, verifier, returnTo });
    query.set("return_to", location.origin + location.pathname);
    query.set("code_challenge", await challengeOf(verifier));
    query.set("code_challenge_method", "S256");
  }
  return `${worker.at("sso/login")}?${query}`;
}

/// Finishes a single sign-on that this tab has begun; `null` for a code that
/// nobody here has asked for.
export async function finishSso(workers, { login, code }) {
  const begun = read(BEGUN);
  drop(BEGUN);
  const worker = workers.find((worker) => worker.id === begun.worker && !worker.isHere);
  if (login !== "success" || !code || !worker || !begun.verifier) return null;
  try {
    await exchange(worker, code, begun.verifier);
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    throw new Problem("The single sign-on took too long, or was finished before. Try again.");
  }
  return { worker, returnTo: begun.returnTo };
}

/// Signs out; where the provider of the single sign-on has a session, too, the
/// address at which it ends.
export async function signOut(worker) {
  let answer = {};
  try {
    answer = await ask(worker.name, worker.at("session/logout"), {
      method: "POST",
      body: {},
      token: tokenOf(worker),
    });
  } catch (problem) {
    // Whoever is signed out already is so.
    if (problem.status !== 401) throw problem;
  }
  drop(TOKEN);
  const url = answer.end_session_url;
  return typeof url === "string" && /^https?:\/\//.test(url) ? url : null;
}
