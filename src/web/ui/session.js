// Signing in and out at a worker. The token is in the worker's HttpOnly cookie
// where the browser keeps that, else in this tab's `sessionStorage`.
import { tab } from "./kept.js";
import { ask, Problem } from "./net.js";
import { last, remember } from "./workers.js";

const TOKEN = "portcullis.token";
const BEGUN = "portcullis.begun";
const LEFT = "portcullis.left";
/// How long an earlier session may take to end.
const FAREWELL_MS = 3_000;

const tokenOf = (worker) => {
  const kept = tab.read(TOKEN);
  return kept?.worker === worker.id ? kept.token : undefined;
};

/// Forgets the token of this worker; another's is not for us to lose.
const dropTokenOf = (worker) => {
  if (tokenOf(worker)) tab.drop(TOKEN);
};

const base64url = (bytes) =>
  btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");

/// A verifier and its S256 challenge (RFC 7636).
async function newProof() {
  if (!globalThis.crypto?.subtle) throw new Problem("This page must be opened over https.");
  const verifier = base64url(crypto.getRandomValues(new Uint8Array(32)));
  const hash = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(verifier));
  return { verifier, challenge: base64url(new Uint8Array(hash)) };
}

const session = async (worker, token) => {
  const me = await ask(worker.name, worker.at("session"), { token });
  if (typeof me.name !== "string" || !Number.isFinite(me.expires_at)) {
    throw new Problem(`${worker.name} gave an answer that is not understood.`);
  }
  return me;
};

/// Who is signed in at this worker; `null` for nobody.
export async function who(worker) {
  try {
    return await session(worker, tokenOf(worker));
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    dropTokenOf(worker);
    return null;
  }
}

/// The sessions of whoever is signed in at this worker, this one first, then the
/// newest. None at a worker that keeps no list.
export async function sessionsAt(worker) {
  try {
    const { sessions } = await ask(worker.name, worker.at("session/all"), { token: tokenOf(worker) });
    const is = (session) => typeof session?.sid === "string" && Number.isFinite(session.begun);
    const all = Array.isArray(sessions) ? sessions.filter(is) : [];
    return all.sort((a, b) => Number(b.current) - Number(a.current));
  } catch (problem) {
    if (problem.status !== 404) throw problem;
    return [];
  }
}

/// Ends one of them; one that has ended is so.
export async function endSession(worker, sid) {
  try {
    const path = `session/${encodeURIComponent(sid)}`;
    await ask(worker.name, worker.at(path), { method: "DELETE", token: tokenOf(worker) });
  } catch (problem) {
    if (problem.status !== 404) throw problem;
  }
}

/// Takes a new token: the tab keeps it until it is known that the cookie was
/// kept, so that nothing that fails now can lose it.
async function settle(worker, token) {
  const isKept = tab.keep(TOKEN, { worker: worker.id, token });
  remember(worker);
  const byHeader = await session(worker, token).catch(() => null);
  const byCookie = byHeader && (await session(worker).catch(() => null));
  // A cookie of an earlier sign-in is not this one.
  const isSame = (name) => byCookie?.[name] !== undefined && byCookie[name] === byHeader[name];
  if (isSame("user_id") && isSame("expires_at")) {
    tab.drop(TOKEN);
  } else if (!isKept) {
    await end(worker, token).catch(() => {});
    throw new Problem("This browser keeps no session. Allow cookies for this site, then try again.");
  }
}

/// Ends an earlier session elsewhere: one who signs in at another worker is
/// signed out of the one before.
async function leaveEarlier(workers, worker) {
  const earlier = last(workers);
  if (!earlier || earlier === worker) return;
  await end(earlier, tokenOf(earlier), FAREWELL_MS).catch(() => {});
  dropTokenOf(earlier);
}

/// Signs in by name and password.
export async function signIn(workers, worker, username, password) {
  const words = {
    401: "The name or the password is wrong.",
    403: "This account may not sign in here.",
    404: `${worker.name} does not sign people in from this page.`,
  };
  const post = (path, body) => ask(worker.name, worker.at(path), { method: "POST", body, words });
  if (worker.isHere) {
    const { token } = await post("session", { username, password });
    return settle(worker, token);
  }
  const { verifier, challenge } = await newProof();
  const { code } = await post("v3/login", {
    username,
    password,
    code_challenge: challenge,
    code_challenge_method: "S256",
  });
  return exchange(workers, worker, code, verifier);
}

async function exchange(workers, worker, code, verifier) {
  await leaveEarlier(workers, worker);
  const late = "The sign-in took too long, or was finished before. Try again.";
  const { token } = await ask(worker.name, worker.at("v3/login/exchange"), {
    method: "POST",
    body: { code, code_verifier: verifier },
    words: { 401: late, 403: late },
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
    const { verifier, challenge } = await newProof();
    if (!tab.keep(BEGUN, { worker: worker.id, verifier, returnTo })) {
      throw new Problem("This browser keeps no session. Allow cookies for this site, then try again.");
    }
    query.set("return_to", location.origin + location.pathname);
    query.set("code_challenge", challenge);
    query.set("code_challenge_method", "S256");
  }
  return `${worker.at("sso/login")}?${query}`;
}

/// Finishes a single sign-on that this tab has begun: where it leads, and
/// `null` where none was to be finished.
export async function finishSso(workers, { login, code }) {
  if (login !== "success" || !code) return null;
  const begun = tab.read(BEGUN);
  tab.drop(BEGUN);
  const worker = workers.find(({ id, isHere }) => id === begun?.worker && !isHere);
  if (!worker || !begun.verifier) {
    const isHere = workers.some((worker) => worker.isHere);
    return isHere ? null : { isForeign: true };
  }
  await exchange(workers, worker, code, begun.verifier);
  return { returnTo: begun.returnTo };
}

const end = (worker, token, limit) =>
  ask(worker.name, worker.at("session/logout"), { method: "POST", body: {}, token, limit });

/// Whether this tab has just signed out; told once.
export function hasLeft() {
  const left = tab.read(LEFT) === true;
  tab.drop(LEFT);
  return left;
}

/// Signs out; where the provider of the single sign-on has a session, too, the
/// address at which it ends.
export async function signOut(worker) {
  let answer = {};
  try {
    answer = await end(worker, tokenOf(worker));
  } catch (problem) {
    // Whoever is signed out already is so.
    if (problem.status !== 401) throw problem;
  }
  dropTokenOf(worker);
  tab.keep(LEFT, true);
  const url = answer.end_session_url;
  return typeof url === "string" && /^https?:\/\//.test(url) ? url : null;
}
