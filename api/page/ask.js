/** Questions to the API: JSON, or an error whose message a person can act on. */

import { door, isRefusal, keyHeaders } from "./key.js";

const PATIENCE_MS = 20_000;

/** The API did not answer, or said no; `status` is 0 when nothing was heard. */
export class AskError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

/**
 * GET `path` (relative to the page) with parameters; empty ones are left out.
 * @throws {AskError} unless it is the caller's own abort, which passes through.
 */
export async function ask(path, parameters = {}, signal = new AbortController().signal) {
  const given = Object.entries(parameters).filter(([, value]) => value !== null && value !== undefined && value !== "");
  const query = new URLSearchParams(given);
  let answer;
  try {
    answer = await fetch(`${path}${query.size ? `?${query}` : ""}`, {
      headers: { ...keyHeaders(), accept: "application/json" },
      signal: AbortSignal.any([signal, AbortSignal.timeout(PATIENCE_MS)]),
    });
    if (answer.ok) return await answer.json();
  } catch (error) {
    if (signal.aborted) throw error;
    throw new AskError("the service does not answer", 0);
  }
  const detail = await detailOf(answer);
  if (isRefusal(answer)) door.refused(detail);
  throw new AskError(detail, answer.status);
}

/** All pages of a list, up to `limit` items: `{items, more}`. */
export async function askAll(path, parameters, signal, limit) {
  const items = [];
  let after = null;
  do {
    const page = await ask(path, { ...parameters, after, limit: 1000 }, signal);
    items.push(...page.items);
    after = page.next;
  } while (after && items.length < limit);
  return { items, more: Boolean(after) };
}

/** Whether an error is only the echo of our own abort. */
export const isAbort = (error) => error?.name === "AbortError";

/** What an answer that is not ok says. */
export async function detailOf(answer) {
  try {
    return (await answer.json()).detail ?? `the service answered ${answer.status}`;
  } catch {
    return `the service answered ${answer.status}`;
  }
}
