// The page of who is signed in.
import { busy, find, load, problem, showWorkers } from "./page.js";
import { signOut, who } from "./session.js";
import { showSessions } from "./sessions.js";
import { discover, last, remember } from "./workers.js";

const LOGIN = "login/";
/// How often it is looked, at most, whether the session has ended.
const LOOK_AGAIN_MS = 60_000;
/// The longest that a timer can wait.
const LONGEST_MS = 2 ** 31 - 1;
const area = find("session");

const leave = (to = LOGIN) => location.replace(to);

const { isControlPlane, workers, worker, me } = await load(async () => {
  const found = await discover();
  const worker = last(found.workers) ?? found.workers[0];
  const me = await who(worker);
  return { ...found, worker, me };
});

/// Ends the session at this worker, then leads on: to the sign-in of the next
/// one, or to where the session at the provider ends.
async function end(next) {
  try {
    const provider = await busy(area, "Signing out …", () => signOut(worker));
    if (next) remember(next);
    leave(next ? LOGIN : (provider ?? LOGIN));
  } catch (error) {
    error.message = `You are still signed in. ${error.message}`;
    problem(error);
    find(next ? "switch" : "sign-out").focus();
  }
}

/// Leaves when the session has ended, by the worker's clock.
function watch(until) {
  const left = Math.min(Math.max(until - Date.now(), LOOK_AGAIN_MS), LONGEST_MS);
  setTimeout(async () => {
    if ((await who(worker).catch(() => me)) === null) leave();
    else watch(until);
  }, left);
}

function show() {
  document.title = "Signed in";
  find("name").textContent = me.name;
  find("email").textContent = me.email ?? "–";
  find("role").textContent = me.role ?? "–";
  const until = new Date(me.expires_at * 1000);
  find("until").textContent = until.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  showWorkers(workers, worker, isControlPlane);
  find("at").textContent = worker.name;
  for (const part of document.querySelectorAll(".at")) part.hidden = !isControlPlane;
  find("switch").addEventListener("click", () => {
    const next = workers.find(({ id }) => id === find("worker").value);
    if (next && next !== worker) end(next);
  });
  find("sign-out").addEventListener("click", () => end(null));
  area.hidden = false;
  find("heading").focus();
  watch(until);
  showSessions(worker, isControlPlane ? worker.name : "", leave);
}

if (me) show();
else leave();
