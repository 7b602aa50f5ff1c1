// The sign-in page.
import { arrived, busy, find, load, problem, showWorkers, tell } from "./page.js";
import { finishSso, hasLeft, signIn, ssoAddress } from "./session.js";
import { discover, last, named } from "./workers.js";

const HOME = "../";
const form = find("form");

// Where the sign-in leads: what the server has judged, kept for a reload.
const judged = document.querySelector('meta[name="return-to"]').content;
const returnTo = judged || history.state?.returnTo;
if (judged) history.replaceState({ returnTo }, "");
const leave = (to) => location.replace(to || HOME);

const { isControlPlane, goesOn, workers } = await load(discover);
const left = hasLeft();
let worker = named(workers, arrived.worker) ?? last(workers) ?? workers[0];

/// Shows whether this worker has single sign-on; whether it can be reached at
/// all is said, and keeps nobody from trying.
async function lookAt(looked) {
  find("sso").hidden = true;
  try {
    const { sso_configured } = await looked.discover();
    if (worker === looked) find("sso").hidden = sso_configured !== true;
  } catch (error) {
    if (worker === looked && !form.hasAttribute("aria-busy")) problem(error);
  }
}

function failed(error) {
  problem(error);
  const password = find("password");
  password.value = "";
  (error.status === 401 ? password : find("submit")).focus();
}

showWorkers(workers, worker, isControlPlane);
form.hidden = false;

find("worker").addEventListener("change", ({ target }) => {
  worker = workers.find(({ id }) => id === target.value) ?? worker;
  problem();
  lookAt(worker);
});

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const { username, password } = form.elements;
  const [name, secret] = [username.value, password.value];
  const work = async () => {
    await signIn(workers, worker, name, secret);
    leave(returnTo);
  };
  busy(form, "Signing in …", work).catch(failed);
});

const toSso = (go) =>
  busy(form, "To the single sign-on …", async () => go(await ssoAddress(worker, returnTo)));

find("sso").querySelector("button").addEventListener("click", () => {
  toSso((address) => location.assign(address)).catch(failed);
});

try {
  const finish = () => finishSso(workers, arrived);
  const finished = arrived.code ? await busy(form, "Signing in …", finish) : null;
  if (finished && !finished.isForeign) {
    leave(finished.returnTo);
  } else if (goesOn && !left) {
    // Who has just signed out would be signed in again.
    await toSso((address) => location.replace(address));
  } else {
    if (finished) tell("That sign-in was not begun in this tab. Sign in here.");
    lookAt(worker);
    find("username").focus();
  }
} catch (error) {
  lookAt(worker);
  failed(error);
}
