// The page of who is signed in.
import { busy, find, problem, retry, showWorkers, tell } from "./page.js";
import { signOut, who } from "./session.js";
import { choose, chosen, discover } from "./workers.js";

const LOGIN = "login/";
/// The longest that a timer can wait.
const LONGEST_MS = 2 ** 31 - 1;
const area = find("session");

async function load() {
  for (;;) {
    try {
      tell("One moment …");
      const found = await discover();
      const worker = chosen(found.workers);
      return { ...found, worker, me: await who(worker) };
    } catch (error) {
      problem(error.message);
      tell();
      await retry();
    } finally {
      tell();
    }
  }
}

const { isControlPlane, workers, worker, me } = await load();

function leave(to = LOGIN) {
  location.replace(to);
}

/// Ends the session at this worker, then leads on.
async function end(next) {
  problem();
  try {
    const provider = await busy(area, () => signOut(worker));
    if (next) choose(next);
    leave(provider ?? LOGIN);
  } catch (error) {
    find("worker").value = worker.id;
    problem(`You are still signed in. ${error.message}`);
    find("sign-out").focus();
  }
}

function show() {
  find("name").textContent = me.name;
  find("email").textContent = me.email ?? "–";
  find("role").textContent = me.role;
  const until = new Date(me.expires_at * 1000);
  const time = find("until");
  time.dateTime = until.toISOString();
  time.textContent = until.toLocaleString([], { dateStyle: "medium", timeStyle: "short" });
  setTimeout(leave, Math.min(Math.max(until - Date.now(), 0), LONGEST_MS), LOGIN);
  showWorkers(workers, worker, isControlPlane);
  find("worker").addEventListener("change", ({ target }) => {
    const next = workers.find(({ id }) => id === target.value);
    if (next && next !== worker) end(next);
  });
  find("sign-out").addEventListener("click", () => end(null));
  area.hidden = false;
}

if (me) show();
else leave();
