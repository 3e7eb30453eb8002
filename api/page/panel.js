/** A panel: its content or a note, the time of the content, and a mark when it is outdated. */

import { element, write } from "./dom.js";
import { toClock, writeTime } from "./format.js";

const panels = new Set();
let outdated = false;

/** Marks the content of all panels as outdated or as current. */
export function markOutdated(isOutdated) {
  outdated = isOutdated;
  for (const panel of panels) panel.showTime();
}

export class Panel {
  #calls = 0;

  /** @param node a `<section class="panel">` with a heading followed by the content. */
  constructor(node) {
    this.node = node;
    this.loaded = null;
    const heading = node.querySelector("h2");
    this.body = element("div", { class: "body", hidden: true });
    this.body.append(...[...node.children].filter((child) => child !== heading));
    this.tag = element("span", { class: "old", hidden: true }, "outdated");
    this.time = element("time");
    this.asOf = element("p", { class: "as-of", hidden: true }, this.tag, " as of ", this.time);
    this.note = element("div", { class: "note" });
    node.append(element("div", { class: "head" }, heading, this.asOf), this.note, this.body);
    panels.add(this);
    this.#showNote("Loading …");
  }

  /** Loads the content with `load` and shows it with `show`. Of concurrent calls only the last one has an effect. */
  async fetch(load, show) {
    const call = ++this.#calls;
    this.node.setAttribute("aria-busy", "true");
    try {
      const content = await load();
      if (call === this.#calls) show(content);
    } catch (error) {
      if (error.name === "AbortError") return;
      if (call === this.#calls) this.failed(error, () => this.fetch(load, show));
    } finally {
      if (call === this.#calls) this.node.removeAttribute("aria-busy");
    }
  }

  /** Removes the content, before that of another vehicle is loaded. */
  reset() {
    this.#calls++;
    this.loaded = null;
    this.body.hidden = true;
    this.showTime();
    this.#showNote("Loading …");
  }

  /** Shows the content, which is current as of now. */
  ready() {
    this.loaded = new Date();
    this.body.hidden = false;
    this.note.replaceChildren();
    this.showTime();
  }

  /** Shows a note that there is no content. `keep` leaves the body, with its filters, visible. */
  empty(text, { keep = false } = {}) {
    this.ready();
    this.body.hidden = !keep;
    this.#showNote(text);
  }

  /** Shows an error with a button to retry; previous content stays visible. */
  failed(error, retry) {
    const button = element("button", { type: "button" }, "Try again");
    button.addEventListener("click", retry);
    const what = this.loaded ? "Could not be refreshed" : "Could not be loaded";
    this.#showNote(`${what}: ${error.message}. `, button);
  }

  /** Shows the time of the content, and whether it is outdated. */
  showTime() {
    this.asOf.hidden = !this.loaded;
    this.tag.hidden = !outdated;
    this.node.classList.toggle("is-old", outdated && this.loaded !== null);
    if (this.loaded) writeTime(this.time, this.loaded, toClock);
  }

  #showNote(text, ...more) {
    const line = element("p");
    write(line, text);
    line.append(...more);
    this.note.replaceChildren(line);
  }
}
