/** Says how the stream is: a word in the header, and a banner when the numbers cannot be relied on. */

import { byId, write } from "./dom.js";
import { toClock, writeTime } from "./format.js";
import { markOld } from "./panel.js";

const WORDS = {
  connecting: "Connecting",
  live: "Live",
  stale: "Stale",
  silent: "Silent, reconnecting",
  cut: "Cut off, reconnecting",
  unavailable: "No database",
  paused: "Paused",
  locked: "Key needed",
};
const BROKEN = new Set(["silent", "cut", "unavailable"]);

export class Connection {
  #summary = null;

  constructor(live) {
    this.live = live;
    this.pulse = byId("pulse");
    this.banner = byId("banner");
    this.banner.querySelector("button").addEventListener("click", () => live.now());
    live.addEventListener("state", () => this.#show());
    live.addEventListener("fleet", (event) => this.#heard(event.detail));
  }

  #heard(summary) {
    this.#summary = summary;
    const heard = this.pulse.querySelector(".heard");
    heard.hidden = false;
    writeTime(heard.querySelector("time"), this.live.heard, toClock);
    this.#show();
  }

  #show() {
    const { state } = this.live;
    const stale = state === "live" && this.#summary?.stale && this.#summary.vehicles > 0;
    const shown = stale ? "stale" : state;
    this.pulse.dataset.state = shown;
    write(this.pulse.querySelector(".says"), WORDS[shown]);
    markOld(BROKEN.has(state) || state === "locked");
    this.#announce(BROKEN.has(state) ? this.#broken(state) : stale ? this.#stale() : "", BROKEN.has(state));
  }

  #announce(text, canTry) {
    const says = this.banner.querySelector(".says");
    const was = this.banner.classList.contains("on");
    this.banner.classList.toggle("on", Boolean(text));
    this.banner.classList.toggle("broken", canTry);
    this.banner.querySelector("button").hidden = !text || !canTry;
    if (text) write(says, text);
    else if (was) write(says, "The numbers are current again."); // only heard, not seen
  }

  #broken(state) {
    const what = {
      silent: "The service has been silent for ten seconds.",
      cut: "The service does not answer.",
      unavailable: `The service answers, its database does not: ${this.live.detail}.`.replace("..", "."),
    }[state];
    const numbers = this.live.heard ? ` The numbers here are old, the last are of ${toClock(this.live.heard)}.` : "";
    return `${what}${numbers} Trying again by itself.`;
  }

  #stale() {
    const until = toClock(this.#summary.timeWindowEnd);
    return (
      `The vehicles have not been evaluated since ${until}: efficiency, status and energies are of the 24 hours up to then. ` +
      "Look whether python -m sql maintain runs."
    );
  }
}
