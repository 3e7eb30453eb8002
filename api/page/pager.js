/** Buttons to page through a list with cursors: forward with `next`, backward with the cursors of the previous pages. */

import { element, write } from "./dom.js";
import { count } from "./format.js";

export class Pager {
  #cursors = [null];
  #next = null;

  /** @param load called to load the page that starts at `after`. */
  constructor(nav, pageSize, load) {
    this.nav = nav;
    this.pageSize = pageSize;
    this.range = element("span", { role: "status" });
    this.previous = element("button", { type: "button" }, "‹ Previous");
    this.following = element("button", { type: "button" }, "Next ›");
    nav.append(this.previous, this.range, this.following);
    this.previous.addEventListener("click", () =>
      this.#turn(this.#cursors.length > 1, () => this.#cursors.pop(), load),
    );
    this.following.addEventListener("click", () =>
      this.#turn(this.#next !== null, () => this.#cursors.push(this.#next), load),
    );
  }

  /** The cursor of the current page. */
  get after() {
    return this.#cursors.at(-1);
  }

  /** Selects the first page, without loading it. */
  rewind() {
    this.#cursors = [null];
  }

  /** Shows the range of the loaded page; `total` is a text, and null when it is not known. */
  loaded({ next, shown, total = null }) {
    this.#next = next;
    const first = (this.#cursors.length - 1) * this.pageSize + 1;
    const range = shown ? `${count(first)} to ${count(first + shown - 1)}` : "none";
    write(this.range, total === null ? range : `${range} of ${total}`);
    this.nav.hidden = this.#cursors.length === 1 && next === null;
    // Not `disabled`: a focused button would lose the focus.
    this.previous.setAttribute("aria-disabled", String(this.#cursors.length === 1));
    this.following.setAttribute("aria-disabled", String(next === null));
  }

  #turn(possible, move, load) {
    if (!possible) return;
    move();
    load();
  }
}
