/** One panel: its content, or why there is none; the time its content is of, and whether that is old. */

import { element, write } from "./dom.js";
import { toClock, writeTime } from "./format.js";

const all = new Set();
let old = false;

/** Mark the content of all panels as old, or as current again. */
export function markOld(isOld) {
  old = isOld;
  for (const panel of all) panel.stamp();
}

export class Panel {
  #busy = 0;

  /** @param node a `<section class="panel">`: a heading, and the content after it. */
  constructor(node) {
    this.node = node;
    this.loaded = null;
    const heading = node.querySelector("h2");
    this.body = element("div", { class: "body", hidden: true });
    this.body.append(...[...node.children].filter((child) => child !== heading));
    this.tag = element("span", { class: "old", hidden: true }, "old");
    this.time = element("time");
    this.asOf = element("p", { class: "as-of", hidden: true }, this.tag, " as of ", this.time);
    this.note = element("div", { class: "note" });
    node.append(element("div", { class: "head" }, heading, this.asOf), this.note, this.body);
    all.add(this);
    this.#say("Loading …");
  }

  /** Ask for the content with `load` and show it with `show`; the last of several calls wins. */
  async fetch(load, show) {
    const turn = ++this.#busy;
    this.node.setAttribute("aria-busy", "true");
    try {
      const answer = await load();
      if (turn === this.#busy) show(answer);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (turn === this.#busy) this.failed(error, () => this.fetch(load, show));
    } finally {
      if (turn === this.#busy) this.node.removeAttribute("aria-busy");
    }
  }

  /** Back to the beginning, as for another vehicle. */
  reset() {
    this.#busy++;
    this.loaded = null;
    this.body.hidden = true;
    this.stamp();
    this.#say("Loading …");
  }

  /** The content is there, and is of now. */
  ready() {
    this.loaded = new Date();
    this.body.hidden = false;
    this.note.replaceChildren();
    this.stamp();
  }

  /** There is nothing to show, and that is an answer too. `keep` leaves the content (its filters) in sight. */
  empty(text, { keep = false } = {}) {
    this.ready();
    this.body.hidden = !keep;
    this.#say(text);
  }

  /** It could not be loaded; what was there before stays in sight. */
  failed(error, again) {
    const button = element("button", { type: "button" }, "Try again");
    button.addEventListener("click", again);
    const what = this.loaded ? "Could not be refreshed" : "Could not be loaded";
    this.#say(`${what}: ${error.message}. `, button);
  }

  /** Write the time of the content, and whether it is old. */
  stamp() {
    this.asOf.hidden = !this.loaded;
    this.tag.hidden = !old;
    this.node.classList.toggle("is-old", old && this.loaded !== null);
    if (this.loaded) writeTime(this.time, this.loaded, toClock);
  }

  #say(text, ...more) {
    const line = element("p");
    write(line, text);
    line.append(...more);
    this.note.replaceChildren(line);
  }
}
