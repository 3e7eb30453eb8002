/** Turns the pages of a list that is asked for by cursor: forth by `next`, back by the cursors that led here. */

import { element, write } from "./dom.js";
import { count } from "./format.js";

export class Pager {
  #cursors = [null];
  #next = null;

  /** @param turned called after a turn; the list then asks for `after`. */
  constructor(nav, pageSize, turned) {
    this.nav = nav;
    this.pageSize = pageSize;
    this.where = element("span", { role: "status" });
    this.previous = element("button", { type: "button" }, "‹ Previous");
    this.following = element("button", { type: "button" }, "Next ›");
    nav.append(this.previous, this.where, this.following);
    this.previous.addEventListener("click", () =>
      this.#turn(this.#cursors.length > 1, () => this.#cursors.pop(), turned),
    );
    this.following.addEventListener("click", () =>
      this.#turn(this.#next !== null, () => this.#cursors.push(this.#next), turned),
    );
  }

  /** The cursor of the page to ask for. */
  get after() {
    return this.#cursors.at(-1);
  }

  /** Back to the first page, without asking for it. */
  rewind() {
    this.#cursors = [null];
  }

  /** Tell of the page that was loaded; `total` is null where nobody counts. */
  loaded({ next, shown, total = null }) {
    this.#next = next;
    const first = (this.#cursors.length - 1) * this.pageSize + 1;
    const range = shown ? `${count(first)} to ${count(first + shown - 1)}` : "none";
    write(this.where, total === null ? range : `${range} of ${count(total)}`);
    this.nav.hidden = this.#cursors.length === 1 && next === null;
    // Not `disabled`: a button that is turned off under the finger would drop the focus.
    this.previous.setAttribute("aria-disabled", String(this.#cursors.length === 1));
    this.following.setAttribute("aria-disabled", String(next === null));
  }

  #turn(possible, move, turned) {
    if (!possible) return;
    move();
    turned();
  }
}
