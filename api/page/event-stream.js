/** Server-sent events over fetch: an EventSource cannot send an Authorization header, and a key must not appear in a URL. */

/** Dispatches each event under its own name (`data`: its text), and `end` with the error `response` if there was one. */
export class EventStream extends EventTarget {
  #abort = new AbortController();

  constructor(url, headers) {
    super();
    this.#open(url, headers);
  }

  /** Closes the stream; nothing is dispatched afterwards. */
  close() {
    this.#abort.abort();
  }

  async #open(url, headers) {
    const { signal } = this.#abort;
    let response = null;
    try {
      response = await fetch(url, { headers: { ...headers, accept: "text/event-stream" }, cache: "no-store", signal });
      if (response.ok) await this.#read(response.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch {
      // the connection failed or was lost
    }
    if (!signal.aborted) this.#dispatch("end", { response: response?.ok ? null : response });
  }

  async #read(reader) {
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) this.#parse(block);
    }
  }

  #parse(block) {
    const fields = block.split("\n").map((line) => /^(event|data): ?(.*)$/.exec(line) ?? []);
    const values = (wanted) => fields.filter(([, name]) => name === wanted).map(([, , text]) => text);
    const data = values("data").join("\n");
    if (data && !this.#abort.signal.aborted) this.#dispatch(values("event")[0] ?? "message", { data });
  }

  #dispatch(name, properties) {
    this.dispatchEvent(Object.assign(new Event(name), properties));
  }
}
