/** Faults of the fleet or of one vehicle, newest first; and the chargers that age. */

import { ask } from "./ask.js";
import { byId, element, reconcile, write } from "./dom.js";
import { energy, percent, time } from "./format.js";
import { Pager } from "./pager.js";
import { Panel } from "./panel.js";
import { signed, untilFault, vehicleAddress, vehicleLink } from "./words.js";

const PAGE = 6;
const AGING = 5;

export class Faults {
  #asked = new AbortController();

  /** @param node a panel with a list, a pager, and for the whole fleet a choice of states. */
  constructor(node) {
    this.panel = new Panel(node);
    this.form = node.querySelector("form");
    this.list = node.querySelector("ul");
    this.vehicleId = null;
    this.pager = new Pager(node.querySelector(".pager"), PAGE, () => this.load());
    this.form?.addEventListener("submit", (event) => event.preventDefault());
    this.form?.state.addEventListener("change", () => {
      this.pager.rewind();
      this.load();
    });
  }

  /** From now on those of one vehicle, from the first page on; without asking for them. */
  of(vehicleId) {
    this.vehicleId = vehicleId;
    this.panel.reset();
    this.pager.rewind();
  }

  load() {
    this.#asked.abort();
    this.#asked = new AbortController();
    const { signal } = this.#asked;
    const state = this.form?.state.value ?? "all";
    const parameters = { state, vehicleId: this.vehicleId, after: this.pager.after, limit: PAGE };
    return this.panel.fetch(
      () => ask("v1/faults", parameters, signal),
      (page) => this.#show(page, state),
    );
  }

  #show({ items, next }, state) {
    if (items.length) this.panel.ready();
    else this.panel.empty(state === "all" ? "No fault was ever found." : `No fault is ${state}.`, { keep: true });
    const make = () => element("li", {}, element("p", { class: "what" }), element("p", { class: "quiet" }));
    reconcile(
      this.list,
      items,
      (fault) => fault.faultId,
      make,
      (node, fault) => this.#update(node, fault),
    );
    this.pager.loaded({ next, shown: items.length });
  }

  #update(node, fault) {
    const facts = JSON.stringify(fault);
    if (node.dataset.facts === facts) return; // written once: a link under focus stays the same link
    node.dataset.facts = facts;
    const [what, more] = node.children;
    const vehicle = this.vehicleId ? [] : [vehicleLink(fault.vehicleId), " "];
    what.replaceChildren(...vehicle, state(fault), " since ", time(fault.closedAt ?? fault.openedAt));
    const day = element("a", { href: vehicleAddress(fault.vehicleId, fault.openedAt) }, "that day");
    more.replaceChildren(...describe(fault), " (", day, ")");
  }
}

function state(fault) {
  const [status, sign] = fault.state === "open" ? ["faulty", "✖"] : ["healthy", "✓"];
  return element(
    "strong",
    { "data-status": status },
    element("span", { class: "sign", "aria-hidden": "true" }, sign),
    ` ${fault.state}`,
  );
}

/** What was seen when it was opened, and since. */
function describe(fault) {
  const where = fault.meterIds.length ? ` at ${fault.meterIds.join(", ")}` : "";
  const opened = `${percent(fault.openedRatio)}, ${energy(fault.openedEnergyDc)} of ${energy(fault.openedEnergyAc)}${where}`;
  const lowest = `lowest ${percent(fault.lowestRatio)}`;
  if (fault.state === "open") return [`${opened}; ${lowest}`];
  return ["opened ", time(fault.openedAt), ` with ${opened}; ${lowest}; closed at ${percent(fault.closedRatio)}`];
}

export class Aging {
  constructor() {
    this.panel = new Panel(byId("aging"));
    this.list = this.panel.node.querySelector("ul");
  }

  load() {
    return this.panel.fetch(
      () => ask("v1/fleet/aging", { limit: AGING }),
      ({ items }) => this.#show(items),
    );
  }

  #show(items) {
    if (!items.length) {
      this.panel.empty("No charger is known to be aging. It takes a week of judged days to tell.");
      return;
    }
    this.panel.ready();
    const make = ({ vehicleId }) =>
      element(
        "li",
        {},
        element("p", { class: "what" }, vehicleLink(vehicleId), " ", element("strong")),
        element("p", { class: "quiet" }),
      );
    reconcile(
      this.list,
      items,
      (item) => item.vehicleId,
      make,
      (node, item) => {
        write(node.querySelector("strong"), percent(item.level));
        write(
          node.querySelector(".quiet"),
          `${signed(item.slopePerDay)} points a day. ${untilFault(item.daysUntilFault)}`,
        );
      },
    );
  }
}
