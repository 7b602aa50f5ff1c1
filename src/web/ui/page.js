// What both pages have: the place for problems, the list of workers, and a
// state in which nothing can be pressed twice.
import { Problem } from "./net.js";

export const find = (id) => document.getElementById(id);

// The page's parts have come.
find("late")?.remove();
// The same as address.js does, should that not have come.
if (location.search || location.hash) history.replaceState(null, "", location.pathname);
export const arrived = window.arrived ?? {};

const say = (id, kind, text) => {
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  find(id).replaceChildren(...(text ? [line] : []));
};

/// Tells of a failure, aloud for who cannot see it; nothing clears it.
export function problem(error) {
  const broken = "Something went wrong in this page. Reload it, then try again.";
  const text = error instanceof Problem ? error.message : broken;
  say("problem", "wrong", error ? text : "");
}

/// Tells of something that is no problem.
export const tell = (text = "") => say("told", "told", text);

/// Shows the workers, where there is a choice.
export function showWorkers(workers, current, isControlPlane) {
  const options = workers.map((worker) => {
    const option = document.createElement("option");
    option.value = worker.id;
    option.textContent = worker.name;
    option.selected = worker === current;
    return option;
  });
  find("worker").replaceChildren(...options);
  find("choice").hidden = !isControlPlane;
}

/// Runs something with `area` out of use meanwhile, whatever comes of it.
export async function busy(area, text, work) {
  const parts = [...area.querySelectorAll("button, input, select")];
  area.setAttribute("aria-busy", "true");
  for (const part of parts) part.disabled = true;
  problem();
  tell(text);
  try {
    return await work();
  } finally {
    tell();
    area.removeAttribute("aria-busy");
    for (const part of parts) part.disabled = false;
  }
}

/// Loads something, as often as it is asked to, until it has come.
export async function load(work) {
  for (;;) {
    try {
      tell("One moment …");
      const loaded = await work();
      tell();
      return loaded;
    } catch (error) {
      tell();
      problem(error);
      await retry();
    }
  }
}

/// Shows the button to try again, and waits until it is pressed.
function retry() {
  const area = find("retry");
  area.hidden = false;
  const button = area.querySelector("button");
  button.focus();
  return new Promise((pressed) => {
    const press = () => {
      area.hidden = true;
      problem();
      pressed();
    };
    button.addEventListener("click", press, { once: true });
  });
}
