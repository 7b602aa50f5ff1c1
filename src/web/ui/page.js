// What both pages have: the place for problems, the list of workers, and a
// state in which nothing can be pressed twice.

export const find = (id) => document.getElementById(id);

const say = (id, kind, text) => {
  const line = document.createElement("p");
  line.className = kind;
  line.textContent = text;
  find(id).replaceChildren(...(text ? [line] : []));
};

/// Tells of a problem, aloud for who cannot see it; nothing clears it.
export const problem = (text = "") => say("problem", "wrong", text);
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
export async function busy(area, work) {
  const parts = [...area.querySelectorAll("button, input, select")];
  const before = parts.map((part) => part.disabled);
  area.setAttribute("aria-busy", "true");
  for (const part of parts) part.disabled = true;
  try {
    return await work();
  } finally {
    area.removeAttribute("aria-busy");
    parts.forEach((part, at) => (part.disabled = before[at]));
  }
}

/// Shows the button to try again, and waits until it is pressed.
export function retry() {
  const area = find("retry");
  area.hidden = false;
  const button = area.querySelector("button");
  button.focus();
  return new Promise((pressed) => {
    button.addEventListener("click", () => {
      area.hidden = true;
      problem();
      pressed();
    }, { once: true });
  });
}
