/** Server-sent events, read with fetch: an EventSource can send no Authorization, and a key has no place in an address. */

/** Dispatches each event under its own name (`data`: its text), and `end` with the `answer` that said no, if one did. */
export class EventStream extends EventTarget {
  #abort = new AbortController();

  constructor(address, headers) {
    super();
    this.#open(address, headers);
  }

  /** Nothing more is dispatched. */
  close() {
    this.#abort.abort();
  }

  async #open(address, headers) {
    const { signal } = this.#abort;
    let answer = null;
    try {
      answer = await fetch(address, { headers: { ...headers, accept: "text/event-stream" }, cache: "no-store", signal });
      if (answer.ok) await this.#read(answer.body.pipeThrough(new TextDecoderStream()).getReader());
    } catch {
      // cut off, or never there
    }
    if (!signal.aborted) this.#tell("end", { answer: answer?.ok ? null : answer });
  }

  async #read(reader) {
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) this.#hear(block);
    }
  }

  #hear(block) {
    const fields = block.split("\n").map((line) => /^(event|data): ?(.*)$/.exec(line) ?? []);
    const of = (wanted) => fields.filter(([, name]) => name === wanted).map(([, , text]) => text);
    const data = of("data").join("\n");
    if (data && !this.#abort.signal.aborted) this.#tell(of("event")[0] ?? "message", { data });
  }

  #tell(name, facts) {
    this.dispatchEvent(Object.assign(new Event(name), facts));
  }
}
