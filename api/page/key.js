/** The API key of this tab: asked for when the service wants one, forgotten with the tab, sent in a header and nowhere else. */

import { byId, write } from "./dom.js";

const KEPT = "energy-api-key";

/** What to send along with every question. */
export function keyHeaders(key = sessionStorage.getItem(KEPT)) {
  return key ? { authorization: `Bearer ${key}` } : {};
}

/** Dispatches `refused` when a key is needed, or another one, and `admitted` when it is there. */
class Door extends EventTarget {
  constructor() {
    super();
    this.form = byId("key-view");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#try();
    });
  }

  /** Resolves once the service lets us ask; when it does not answer at all that is for others to say. */
  async enter() {
    const said = await look();
    if (said === null) return;
    byId("open-access").hidden = said.open !== true;
    if (said.refused === undefined) return;
    const admitted = new Promise((resolve) => this.addEventListener("admitted", resolve, { once: true }));
    this.refused(sessionStorage.getItem(KEPT) ? said.refused : "");
    await admitted;
  }

  /** The service has refused a question, and said why. */
  refused(why) {
    if (!this.form.hidden) return;
    sessionStorage.removeItem(KEPT);
    this.form.hidden = false;
    this.#say(why);
    this.form.querySelector("input").focus();
    this.dispatchEvent(new Event("refused"));
  }

  async #try() {
    const input = this.form.querySelector("input");
    const key = input.value.trim();
    if (!/^[\x21-\x7e]+$/.test(key)) return this.#say("that is no API key");
    const said = await look(key);
    if (said === null) return this.#say("the service does not answer; try again");
    if (said.refused !== undefined) return this.#say(said.refused);
    sessionStorage.setItem(KEPT, key);
    input.value = "";
    this.form.hidden = true;
    this.dispatchEvent(new Event("admitted"));
  }

  #say(why) {
    write(this.form.querySelector("[role=alert]"), why && `Not accepted: ${why}.`);
  }
}

export const door = new Door();

/** What the service says to a key: what it may do, `{refused}`, or null when it does not answer. */
async function look(key) {
  try {
    const answer = await fetch("v1/access", { headers: keyHeaders(key), signal: AbortSignal.timeout(5000) });
    if (answer.ok) return await answer.json();
    return isRefusal(answer) ? { refused: (await answer.json()).detail } : null;
  } catch {
    return null;
  }
}

/** Whether an answer is about the key. */
export const isRefusal = (answer) => answer.status === 401 || answer.status === 403;
