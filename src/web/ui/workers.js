// Where people sign in: this instance, or one of the workers that its
// discovery document names.
import { ask, Problem } from "./net.js";

/// The address that all of this instance is below.
export const BASE = new URL("../..", import.meta.url);
/// The one key of `localStorage`; no other module uses it.
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

/// The discovery document of this instance, and whom one may sign in at.
export async function discover() {
  const document = await ask("The sign-in service", at(BASE.href, ".well-known/portcullis"));
  const listed = Array.isArray(document.workers) ? document.workers : [];
  const isWorker = ({ worker_id, name, url } = {}) =>
    typeof worker_id === "string" && typeof name === "string" && /^https?:\/\//.test(url);
  const workers = listed.filter(isWorker).map((worker) => new Worker(worker, false));
  const isControlPlane = document.is_control_plane === true;
  if (isControlPlane && workers.length === 0) {
    throw new Problem("This control plane has no worker to sign in at.", { again: true });
  }
  const here = new Worker({ worker_id: "", name: "The sign-in service", url: BASE.href }, true);
  return { isControlPlane, workers: isControlPlane ? workers : [here] };
}

/// The worker that was chosen last, or the first one.
export function chosen(workers) {
  let id = null;
  try {
    id = localStorage.getItem(CHOSEN);
  } catch {
    // A browser that keeps nothing forgets the choice.
  }
  return workers.find((worker) => worker.id === id) ?? workers[0];
}

export function choose(worker) {
  try {
    localStorage.setItem(CHOSEN, worker.id);
  } catch {
    // The same.
  }
}
