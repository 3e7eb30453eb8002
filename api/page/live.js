/** The stream of events: opened, watched, and opened again whenever it breaks. */

import { detailOf } from "./ask.js";
import { EventStream } from "./events.js";
import { door, isRefusal, keyHeaders } from "./key.js";

const SILENT_AFTER_MS = 10_000;
const FIRST_WAIT_MS = 1000;
const LONGEST_WAIT_MS = 10_000;
const EVENTS = ["fleet", "vehicle"];

/**
 * Dispatches `fleet` and `vehicle` (detail: the JSON) and `state`, whose detail is one of
 *   connecting   nothing was heard yet
 *   live         events come
 *   silent       no event for ten seconds
 *   cut          the connection broke, or cannot be made
 *   unavailable  the service is there, its database is not (it says so once, and then nothing until that is over)
 *   paused       the page is in the background
 *   locked       the service asks for an API key
 */
export class Live extends EventTarget {
  state = "connecting";
  detail = "";
  heard = null;
  #source = null;
  #vehicleId = null;
  #wait = FIRST_WAIT_MS;
  #again = 0;
  #since = 0;

  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.now()));
    window.addEventListener("online", () => this.now());
    window.addEventListener("pagehide", () => this.#close());
    setInterval(() => this.#watch(), 1000);
    this.now();
  }

  /** Also tell of one vehicle's readings; null: of none. */
  follow(vehicleId) {
    if (vehicleId === this.#vehicleId) return;
    this.#vehicleId = vehicleId;
    if (this.#source) this.now();
  }

  /** No more until `now`: a key is needed. */
  lock() {
    this.#close();
    this.#become("locked");
  }

  /** Connect at once. */
  now() {
    this.#close();
    this.#since = Date.now();
    const query = this.#vehicleId ? `?${new URLSearchParams({ vehicleId: this.#vehicleId })}` : "";
    const source = new EventStream(`v1/stream${query}`, keyHeaders());
    this.#source = source;
    for (const name of EVENTS) source.addEventListener(name, (event) => this.#receive(name, event.data));
    source.addEventListener("unavailable", (event) => this.#unavailable(event.data));
    source.addEventListener("end", (event) => this.#ended(source, event.answer));
  }

  #receive(name, data) {
    this.#since = Date.now();
    this.#wait = FIRST_WAIT_MS;
    this.heard = new Date();
    this.dispatchEvent(new CustomEvent(name, { detail: JSON.parse(data) }));
    // A vehicle's event alone does not end an outage that the fleet's events told of.
    if (name === "fleet" || this.state !== "unavailable") this.#become("live");
  }

  #unavailable(data) {
    this.#since = Date.now();
    this.#become("unavailable", JSON.parse(data).detail ?? "");
  }

  async #ended(source, answer) {
    if (source !== this.#source) return;
    if (!answer || !isRefusal(answer)) return this.#broken();
    const detail = await detailOf(answer); // before the source is closed, and its answer with it
    if (source !== this.#source) return;
    this.lock();
    door.refused(detail);
  }

  #broken() {
    this.#close();
    this.#become("cut");
    this.#again = setTimeout(() => this.now(), this.#wait * (0.8 + 0.4 * Math.random()));
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
  }

  #watch() {
    if (!this.#source || Date.now() - this.#since < SILENT_AFTER_MS) return;
    if (this.state !== "cut" && this.state !== "unavailable") this.#become("silent");
    this.now();
  }

  #pause() {
    this.#close();
    this.#become("paused");
  }

  #close() {
    clearTimeout(this.#again);
    this.#source?.close();
    this.#source = null;
  }

  #become(state, detail = "") {
    if (state === this.state && detail === this.detail) return;
    const before = this.state;
    this.state = state;
    this.detail = detail;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, before } }));
  }
}
