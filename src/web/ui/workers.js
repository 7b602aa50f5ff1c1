// Where people sign in: this instance, or one of the workers that its
// discovery document names.
import { browser, tab } from "./kept.js";
import { ask, Problem } from "./net.js";

/// The address that all of this instance is below.
const BASE = new URL("../..", import.meta.url).href;
/// The one key of `localStorage`, and its like for the tab; no other module
/// uses them.
const CHOSEN = "portcullis.worker";

const at = (base, path) => new URL(path, base.endsWith("/") ? base : `${base}/`).href;

class Worker {
  constructor({ worker_id: id, name, url }, isHere) {
    Object.assign(this, { id, name, url, isHere });
  }

  at(path) {
    return at(this.url, path);
  }

  discover() {
    return ask(this.name, this.at(".well-known/portcullis"));
  }
}

const isWorker = (worker) =>
  typeof worker?.worker_id === "string" &&
  typeof worker.name === "string" &&
  /^https?:\/\//.test(worker.url);

/// The discovery document of this instance, and whom one may sign in at; whether
/// the page goes on to the single sign-on by itself.
export async function discover() {
  const document = await ask("The sign-in service", at(BASE, ".well-known/portcullis"));
  const isControlPlane = document.is_control_plane === true;
  if (!isControlPlane) {
    const here = { worker_id: "", name: "The sign-in service", url: BASE };
    const goesOn = document.auto_redirect_to_sso === true && document.sso_configured === true;
    return { isControlPlane, goesOn, workers: [new Worker(here, true)] };
  }
  const listed = Array.isArray(document.workers) ? document.workers.filter(isWorker) : [];
  if (listed.length === 0) throw new Problem("This control plane has no worker to sign in at.");
  return { isControlPlane, workers: listed.map((worker) => new Worker(worker, false)) };
}

/// The worker of this id, as an address may name it.
export const named = (workers, id) => workers.find((worker) => worker.id === id && id);

/// The worker at which somebody has signed in last, in this tab or else in
/// this browser.
export function last(workers) {
  const find = (id) => workers.find((worker) => worker.id === id);
  return find(tab.read(CHOSEN)) ?? find(browser.read(CHOSEN));
}

/// Remembers at which worker somebody has signed in.
export function remember(worker) {
  tab.keep(CHOSEN, worker.id);
  browser.keep(CHOSEN, worker.id);
}
