// The sign-in page.
import { busy, find, problem, retry, showWorkers, tell } from "./page.js";
import { finishSso, signIn, ssoAddress } from "./session.js";
import { choose, chosen, discover } from "./workers.js";

const HOME = "../";
const form = find("form");

/// Where the sign-in leads: what the server has checked, or the home page.
const returnTo = document.querySelector('meta[name="return-to"]').content;
const leave = (to) => location.replace(to || HOME);

async function load() {
  for (;;) {
    try {
      tell("One moment …");
      return await discover();
    } catch (error) {
      problem(error.message);
      tell();
      await retry();
    } finally {
      tell();
    }
  }
}

const { isControlPlane, workers } = await load();
let worker = chosen(workers);

/// Shows whether this worker has single sign-on; whether it can be reached at
/// all is said, and keeps nobody from trying.
async function lookAt(looked) {
  find("sso").hidden = true;
  try {
    const { sso_configured } = await looked.discover();
    if (worker === looked) find("sso").hidden = sso_configured !== true;
  } catch (error) {
    if (worker === looked) problem(error.message);
  }
}

function failed(error) {
  problem(error.message);
  const password = find("password");
  password.value = "";
  (error.status === 401 ? password : find("submit")).focus();
}

showWorkers(workers, worker, isControlPlane);
form.hidden = false;
// Of an instance that nobody signs in at, the form waits for a worker.
find("worker").addEventListener("change", ({ target }) => {
  worker = workers.find(({ id }) => id === target.value) ?? worker;
  choose(worker);
  problem();
  lookAt(worker);
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { username, password } = form.elements;
  problem();
  const work = async () => {
    choose(worker);
    await signIn(worker, username.value, password.value);
    leave(returnTo);
  };
  busy(form, work).catch(failed);
});

find("sso").querySelector("button").addEventListener("click", () => {
  problem();
  const work = async () => {
    choose(worker);
    location.assign(await ssoAddress(worker, returnTo));
  };
  busy(form, work).catch(failed);
});

try {
  const finished = await busy(form, () => finishSso(workers, window.arrived));
  if (finished) {
    choose(finished.worker);
    leave(finished.returnTo);
  } else {
    lookAt(worker);
    find("username").focus();
  }
} catch (error) {
  lookAt(worker);
  failed(error);
}
