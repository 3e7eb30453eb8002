/** The state of the live updates: a label in the header, and a banner when the numbers cannot be relied on. */

import { byId, write } from "./dom.js";
import { toClock, writeTime } from "./format.js";
import { markOutdated } from "./panel.js";

const LABELS = {
  connecting: "Connecting",
  live: "Live",
  stale: "Stale",
  incomplete: "Incomplete",
  silent: "No updates, reconnecting",
  disconnected: "Disconnected, reconnecting",
  unavailable: "Database unavailable",
  paused: "Paused",
  locked: "API key required",
};
const OUTAGES = new Set(["silent", "disconnected", "unavailable"]);

export class ConnectionStatus {
  #summary = null;

  constructor(updates) {
    this.updates = updates;
    this.pulse = byId("pulse");
    this.banner = byId("banner");
    this.banner.querySelector("button").addEventListener("click", () => updates.connect());
    updates.addEventListener("state", () => this.#show());
    updates.addEventListener("fleet", (event) => this.#receive(event.detail));
  }

  #receive(summary) {
    this.#summary = summary;
    const heard = this.pulse.querySelector(".heard");
    heard.hidden = false;
    writeTime(heard.querySelector("time"), this.updates.lastEventAt, toClock);
    this.#show();
  }

  #show() {
    const { state } = this.updates;
    const stale = state === "live" && this.#summary?.stale && this.#summary.vehicles > 0;
    const missing = state === "live" ? (this.#summary?.unavailableCells ?? []) : [];
    const shown = missing.length ? "incomplete" : stale ? "stale" : state;
    this.pulse.dataset.state = shown;
    write(this.pulse.querySelector(".says"), LABELS[shown]);
    markOutdated(OUTAGES.has(state) || state === "locked");
    if (OUTAGES.has(state)) this.#showBanner(this.#outageMessage(state), true);
    else if (missing.length) this.#showBanner(incompleteMessage(missing), false);
    else this.#showBanner(stale ? this.#staleMessage() : "", false);
  }

  #showBanner(text, isOutage) {
    const says = this.banner.querySelector(".says");
    const wasShown = this.banner.classList.contains("on");
    this.banner.classList.toggle("on", Boolean(text));
    this.banner.classList.toggle("broken", isOutage);
    this.banner.querySelector("button").hidden = !text || !isOutage;
    if (text) write(says, text);
    else if (wasShown) write(says, "The numbers are current again."); // for screen readers; the banner is not visible
  }

  #outageMessage(state) {
    const what = {
      silent: "The service has sent nothing for ten seconds.",
      disconnected: "The service does not respond.",
      unavailable: `The service responds, but its database does not: ${this.updates.detail}.`.replace("..", "."),
    }[state];
    const { lastEventAt } = this.updates;
    const age = lastEventAt ? ` The numbers on this page are outdated; the last update was at ${toClock(lastEventAt)}.` : "";
    return `${what}${age} The page reconnects automatically.`;
  }

  #staleMessage() {
    const until = toClock(this.#summary.timeWindowEnd);
    return (
      `The vehicles have not been evaluated since ${until}: efficiency, status and energies cover the 24 hours before that. ` +
      "Check whether python -m sql maintain is running."
    );
  }
}

function incompleteMessage(cells) {
  const several = cells.length > 1;
  const what = several ? `The cells ${cells.join(", ")} do not respond` : `The cell ${cells[0]} does not respond`;
  return `${what}. ${several ? "Their" : "Its"} vehicles and meters are missing in the lists and totals on this page.`;
}
