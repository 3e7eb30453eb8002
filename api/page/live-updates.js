/** Live updates: the event stream, opened, monitored, and reopened whenever it fails. */

import { problemDetail } from "./api.js";
import { EventStream } from "./event-stream.js";
import { isKeyRejection, keyForm, keyHeaders } from "./api-key.js";

const TIMEOUT_MS = 10_000;
const MIN_RETRY_MS = 1000;
const MAX_RETRY_MS = 10_000;
const EVENTS = ["fleet", "vehicle"];

/**
 * Dispatches `fleet` and `vehicle` (detail: the JSON) and `state`, whose detail is one of
 *   connecting    no event has been received yet
 *   live          events are being received
 *   silent        no event for ten seconds
 *   disconnected  the connection was lost or cannot be established
 *   unavailable   the service responds, its database does not (the service sends this once, and nothing more until it recovers)
 *   paused        the page is in the background
 *   locked        the service requires an API key
 */
export class LiveUpdates extends EventTarget {
  state = "connecting";
  detail = "";
  lastEventAt = null;
  #stream = null;
  #vehicleId = null;
  #retryMs = MIN_RETRY_MS;
  #retryTimer = 0;
  #activeAt = 0;

  start() {
    document.addEventListener("visibilitychange", () => (document.hidden ? this.#pause() : this.connect()));
    window.addEventListener("online", () => this.connect());
    window.addEventListener("pagehide", () => this.#close());
    setInterval(() => this.#checkTimeout(), 1000);
    this.connect();
  }

  /** Also receive the readings of one vehicle; null: of none. */
  watch(vehicleId) {
    if (vehicleId === this.#vehicleId) return;
    this.#vehicleId = vehicleId;
    if (this.#stream) this.connect();
  }

  /** Closes the stream until connect(): an API key is required. */
  lock() {
    this.#close();
    this.#setState("locked");
  }

  /** Opens a new stream at once. */
  connect() {
    this.#close();
    this.#activeAt = Date.now();
    const query = this.#vehicleId ? `?${new URLSearchParams({ vehicleId: this.#vehicleId })}` : "";
    const stream = new EventStream(`v1/stream${query}`, keyHeaders());
    this.#stream = stream;
    for (const name of EVENTS) stream.addEventListener(name, (event) => this.#receive(name, event.data));
    stream.addEventListener("unavailable", (event) => this.#unavailable(event.data));
    stream.addEventListener("end", (event) => this.#ended(stream, event.response));
  }

  #receive(name, data) {
    this.#activeAt = Date.now();
    this.#retryMs = MIN_RETRY_MS;
    this.lastEventAt = new Date();
    this.dispatchEvent(new CustomEvent(name, { detail: JSON.parse(data) }));
    // A vehicle event alone does not end an outage: only a fleet event shows that the service has recovered.
    if (name === "fleet" || this.state !== "unavailable") this.#setState("live");
  }

  #unavailable(data) {
    this.#activeAt = Date.now();
    this.#setState("unavailable", JSON.parse(data).detail ?? "");
  }

  async #ended(stream, response) {
    if (stream !== this.#stream) return;
    if (!response || !isKeyRejection(response)) return this.#retry();
    const detail = await problemDetail(response); // before lock() closes the stream and its response
    if (stream !== this.#stream) return;
    this.lock();
    keyForm.open(detail);
  }

  #retry() {
    this.#close();
    this.#setState("disconnected");
    this.#retryTimer = setTimeout(() => this.connect(), this.#retryMs * (0.8 + 0.4 * Math.random()));
    this.#retryMs = Math.min(this.#retryMs * 2, MAX_RETRY_MS);
  }

  #checkTimeout() {
    if (!this.#stream || Date.now() - this.#activeAt < TIMEOUT_MS) return;
    if (this.state !== "disconnected" && this.state !== "unavailable") this.#setState("silent");
    this.connect();
  }

  #pause() {
    this.#close();
    this.#setState("paused");
  }

  #close() {
    clearTimeout(this.#retryTimer);
    this.#stream?.close();
    this.#stream = null;
  }

  #setState(state, detail = "") {
    if (state === this.state && detail === this.detail) return;
    const before = this.state;
    this.state = state;
    this.detail = detail;
    this.dispatchEvent(new CustomEvent("state", { detail: { state, before } }));
  }
}
