/** Requests to the API: JSON, or an error with a message that a user can act on. */

import { isKeyRejection, keyForm, keyHeaders } from "./api-key.js";

const TIMEOUT_MS = 20_000;

/** The API did not respond, or responded with an error; `status` is 0 when there was no response. */
export class ApiError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * The JSON of GET `path` (relative to the page); empty parameters are left out.
 * @throws {ApiError} except when `signal` aborts the request: then the AbortError is passed on.
 */
export async function get(path, parameters = {}, signal = new AbortController().signal) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given);
  let response;
  try {
    response = await fetch(`${path}${query.size ? `?${query}` : ""}`, {
      headers: { ...keyHeaders(), accept: "application/json" },
      signal: AbortSignal.any([signal, AbortSignal.timeout(TIMEOUT_MS)]),
    });
    if (response.ok) return await response.json();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new ApiError("the service does not respond", 0);
  }
  const detail = await problemDetail(response);
  if (isKeyRejection(response)) keyForm.open(detail);
  throw new ApiError(detail, response.status);
}

/** The items of all pages of a history, up to about `limit`: `{items, more}`. */
export async function getAll(path, parameters, signal, limit) {
  const items = [];
  let after = null;
  do {
    const page = await get(path, { ...parameters, after, limit: 2000 }, signal);
    items.push(...page.items);
    after = page.next;
  } while (after && items.length < limit);
  return { items, more: Boolean(after) };
}

/** The error message in a response that is not ok. */
export async function problemDetail(response) {
  try {
    return (await response.json()).detail ?? `the service responded with status ${response.status}`;
  } catch {
    return `the service responded with status ${response.status}`;
  }
}
