// The list of where somebody is signed in at a worker.
import { inWords } from "./agent.js";
import { busy, find, problem, tell } from "./page.js";
import { endSession, sessionsAt } from "./session.js";

const area = find("sessions");

const time = (seconds) =>
  new Date(seconds * 1000).toLocaleString([], { dateStyle: "medium", timeStyle: "short" });

const part = (tag, text, kind = "") => {
  const element = document.createElement(tag);
  element.textContent = text;
  element.className = kind;
  return element;
};

const METHODS = { password: "by password", sso: "by single sign-on" };

/// One session, and the button that ends it, unless it is this one.
function line(session, region, end) {
  const item = document.createElement("li");
  const name = inWords(session.agent);
  const title = part("div", name, "strong");
  title.append(part("span", session.current ? " (this one)" : "", "quiet"));
  const seen = session.current ? "now" : time(session.seen);
  const where = [region, session.address, METHODS[session.method]].filter(Boolean).join(", ");
  item.append(title, part("div", where, "quiet"));
  item.append(part("div", `Since ${time(session.begun)}, last seen ${seen}`, "quiet"));
  if (!session.current) {
    const button = part("button", "End");
    button.type = "button";
    button.setAttribute("aria-label", `End ${name}, since ${time(session.begun)}`);
    button.addEventListener("click", () => end([session]));
    item.append(button);
  }
  return item;
}

/// Shows them. `leave` is what happens when the own one has ended meanwhile.
export async function showSessions(worker, region, leave) {
  const gone = (error) => {
    if (error.status === 401) leave();
    else problem(error);
  };

  async function end(sessions) {
    try {
      await busy(area, "Ending …", async () => {
        for (const { sid } of sessions) await endSession(worker, sid);
      });
    } catch (error) {
      gone(error);
      return;
    }
    await show();
    tell(sessions.length === 1 ? "That session has ended." : "All other sessions have ended.");
    find("sessions-heading").focus();
  }

  async function show() {
    let sessions;
    try {
      sessions = await sessionsAt(worker);
    } catch (error) {
      gone(error);
      return;
    }
    const others = sessions.filter(({ current }) => !current);
    find("list").replaceChildren(...sessions.map((session) => line(session, region, end)));
    find("end-others").hidden = others.length === 0;
    find("end-others").onclick = () => end(others);
    area.hidden = sessions.length === 0;
  }

  await show();
}
