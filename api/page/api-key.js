/** The API key of this tab: requested when the service requires one, kept in session storage, sent only in a header. */

import { byId, write } from "./dom.js";

const STORAGE_KEY = "energy-api-key";

/** The request headers that carry the key. */
export function keyHeaders(key = sessionStorage.getItem(STORAGE_KEY)) {
  return key ? { authorization: `Bearer ${key}` } : {};
}

/** The form for the key. Dispatches `opened` when a key, or another one, is required, and `accepted` when the key is valid. */
class KeyForm extends EventTarget {
  constructor() {
    super();
    this.form = byId("key-view");
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#submit();
    });
  }

  /** Resolves once the service grants access, or does not respond at all: other parts of the page report that. */
  async waitForAccess() {
    const access = await checkAccess();
    if (access === null) return;
    byId("open-access").hidden = access.open !== true;
    if (access.rejected === undefined) return;
    const accepted = new Promise((resolve) => this.addEventListener("accepted", resolve, { once: true }));
    this.open(sessionStorage.getItem(STORAGE_KEY) ? access.rejected : "");
    await accepted;
  }

  /** Asks for a key after the service has rejected a request with this message. */
  open(message) {
    if (!this.form.hidden) return;
    sessionStorage.removeItem(STORAGE_KEY);
    this.form.hidden = false;
    this.#showError(message);
    this.form.querySelector("input").focus();
    this.dispatchEvent(new Event("opened"));
  }

  async #submit() {
    const input = this.form.querySelector("input");
    const key = input.value.trim();
    if (!/^[\x21-\x7e]+$/.test(key)) return this.#showError("this is not an API key");
    const access = await checkAccess(key);
    if (access === null) return this.#showError("the service does not respond; try again");
    if (access.rejected !== undefined) return this.#showError(access.rejected);
    sessionStorage.setItem(STORAGE_KEY, key);
    input.value = "";
    this.form.hidden = true;
    this.dispatchEvent(new Event("accepted"));
  }

  #showError(message) {
    write(this.form.querySelector("[role=alert]"), message && `Not accepted: ${message}.`);
  }
}

export const keyForm = new KeyForm();

/** The permissions of a key, `{rejected: message}`, or null when the service does not respond. */
async function checkAccess(key) {
  try {
    const response = await fetch("v1/access", { headers: keyHeaders(key), signal: AbortSignal.timeout(5000) });
    if (response.ok) return await response.json();
    return isKeyRejection(response) ? { rejected: (await response.json()).detail } : null;
  } catch {
    return null;
  }
}

/** Whether a response rejects the API key. */
export const isKeyRejection = (response) => response.status === 401 || response.status === 403;
