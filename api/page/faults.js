/** Two lists: faults of the fleet or of one vehicle, newest first, and aging chargers. */

import { get } from "./api.js";
import { byId, element, reconcile, write } from "./dom.js";
import { energy, percent, time } from "./format.js";
import { Pager } from "./pager.js";
import { Panel } from "./panel.js";
import { signed, untilFault, vehicleHref, vehicleLink } from "./labels.js";

const FAULTS_PER_PAGE = 6;
const MAX_AGING = 5;

export class Faults {
  #abort = new AbortController();

  /** @param node a panel with a list, a pager, and for the whole fleet a form to choose the state. */
  constructor(node) {
    this.panel = new Panel(node);
    this.form = node.querySelector("form");
    this.list = node.querySelector("ul");
    this.vehicleId = null;
    this.pager = new Pager(node.querySelector(".pager"), FAULTS_PER_PAGE, () => this.load());
    this.form?.addEventListener("submit", (event) => event.preventDefault());
    this.form?.state.addEventListener("change", () => {
      this.pager.rewind();
      this.load();
    });
  }

  /** Selects the faults of one vehicle and the first page, without loading it. */
  select(vehicleId) {
    this.vehicleId = vehicleId;
    this.panel.reset();
    this.pager.rewind();
  }

  load() {
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const state = this.form?.state.value ?? "all";
    const parameters = { state, vehicleId: this.vehicleId, after: this.pager.after, limit: FAULTS_PER_PAGE };
    return this.panel.fetch(
      () => get("v1/faults", parameters, signal),
      (page) => this.#show(page, state),
    );
  }

  #show({ items, next }, state) {
    if (items.length) this.panel.ready();
    else this.panel.empty(state === "all" ? "No faults have been found." : `There are no ${state} faults.`, { keep: true });
    const make = () => element("li", {}, element("p", { class: "what" }), element("p", { class: "quiet" }));
    reconcile(
      this.list,
      items,
      (fault) => `${fault.cell ?? ""}/${fault.faultId}`,
      make,
      (node, fault) => this.#update(node, fault),
    );
    this.pager.loaded({ next, shown: items.length });
  }

  #update(node, fault) {
    const data = JSON.stringify(fault);
    if (node.dataset.shown === data) return; // keeps a focused link in place
    node.dataset.shown = data;
    const [what, more] = node.children;
    const vehicle = this.vehicleId ? [] : [vehicleLink(fault.vehicleId), " "];
    what.replaceChildren(...vehicle, state(fault), " since ", time(fault.closedAt ?? fault.openedAt));
    const day = element("a", { href: vehicleHref(fault.vehicleId, fault.openedAt) }, "that day");
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

/** The measurements when the fault was opened, and the lowest ratio since. */
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
      () => get("v1/fleet/aging", { limit: MAX_AGING }),
      ({ items }) => this.#show(items),
    );
  }

  #show(items) {
    if (!items.length) {
      this.panel.empty("No charger is known to be aging. A trend takes a week of assessed days.");
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
          `${signed(item.slopePerDay)} points per day. ${untilFault(item.daysUntilFault)}`,
        );
      },
    );
  }
}
