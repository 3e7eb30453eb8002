/** The vehicles: searched, filtered, sorted and paged by the server, twenty-five rows at most here. */

import { ask } from "./ask.js";
import { byId, element, reconcile, write } from "./dom.js";
import { charge, count, energy, percent, temperature, writeTime } from "./format.js";
import { Pager } from "./pager.js";
import { Panel } from "./panel.js";
import { STATUSES, trendLabel, vehicleLink, writeBadge } from "./words.js";

const PAGE = 25;
const TYPING_MS = 250;
const FIRST = { sort: "efficiency", order: "asc", status: "", search: "" };

export class Ranking {
  #asked = new AbortController();
  #typing = 0;

  /** @param chosen called when the viewer has chosen other vehicles, or another order. */
  constructor(chosen) {
    this.panel = new Panel(byId("vehicles"));
    this.chosen = chosen;
    this.choice = { ...FIRST };
    const find = (selector) => this.panel.node.querySelector(selector);
    this.form = find("form");
    this.body = find("tbody");
    this.found = find(".found");
    this.pager = new Pager(find(".pager"), PAGE, () => this.load());
    this.form.status.append(...STATUSES.map(({ value, label }) => element("option", { value }, label)));
    this.#listen();
  }

  /** The choice as parameters of an address, without what is the default. */
  get parameters() {
    return Object.entries(this.choice).filter(([name, value]) => value !== FIRST[name]);
  }

  /** Take the choice from an address. */
  restore(parameters) {
    this.choice = Object.fromEntries(
      Object.entries(FIRST).map(([name, value]) => [name, parameters.get(name) ?? value]),
    );
    this.form.search.value = this.choice.search;
    this.form.status.value = this.choice.status;
    this.pager.rewind();
    this.#mark();
  }

  /** Choose other vehicles or another order: from the first page. */
  choose(change) {
    this.choice = { ...this.choice, ...change };
    this.form.status.value = this.choice.status;
    this.pager.rewind();
    this.#mark();
    this.chosen();
    return this.load();
  }

  load() {
    this.#asked.abort();
    this.#asked = new AbortController();
    const { signal } = this.#asked;
    const parameters = { ...this.choice, after: this.pager.after, limit: PAGE };
    return this.panel.fetch(
      () => ask("v1/fleet/ranking", parameters, signal),
      (page) => this.#show(page),
    );
  }

  #show({ items, next, total }) {
    const filtered = this.choice.search || this.choice.status;
    if (total) this.panel.ready();
    else if (filtered) this.panel.empty("No vehicle matches.", { keep: true });
    else this.panel.empty("No vehicle has been evaluated yet.");
    reconcile(this.body, items, (item) => item.vehicleId, makeRow, updateRow);
    write(this.found, filtered ? `${count(total)} found` : "");
    this.pager.loaded({ next, shown: items.length, total });
  }

  #listen() {
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.search.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.choose({ search: this.form.search.value.trim() }), TYPING_MS);
    });
    this.form.status.addEventListener("change", () => this.choose({ status: this.form.status.value }));
    for (const heading of this.#headings()) {
      const name = heading.textContent;
      const button = element(
        "button",
        { type: "button" },
        name,
        element("span", { class: "order", "aria-hidden": "true" }),
      );
      button.addEventListener("click", () => this.#sort(heading.dataset.sort));
      heading.replaceChildren(button);
    }
    this.#mark();
  }

  #sort(sort) {
    const turned = this.choice.sort === sort && this.choice.order === "asc";
    this.choose({ sort, order: turned ? "desc" : "asc" });
  }

  #mark() {
    for (const heading of this.#headings()) {
      const sorted = heading.dataset.sort === this.choice.sort;
      const ascending = this.choice.order === "asc";
      heading.setAttribute("aria-sort", sorted ? (ascending ? "ascending" : "descending") : "none");
      write(heading.querySelector(".order"), sorted ? (ascending ? " ↑" : " ↓") : "");
    }
  }

  #headings() {
    return this.panel.node.querySelectorAll("th[data-sort]");
  }
}

const NUMBERS = [
  ["ratio", (item) => percent(item.efficiencyRatio)],
  ["ac", (item) => energy(item.totalEnergyConsumedAc)],
  ["dc", (item) => energy(item.totalEnergyDeliveredDc)],
  ["temperature", (item) => temperature(item.averageBatteryTemp)],
  ["soc", (item) => charge(item.soc)],
];

function makeRow({ vehicleId }) {
  const [ratio, ...others] = NUMBERS.map(([name]) => element("td", { class: `number ${name}` }));
  const status = element("td", {}, element("span", { class: "badge" }), element("span", { class: "open" }));
  const heading = element("th", { scope: "row" }, vehicleLink(vehicleId));
  const seen = element("td", {}, element("time"));
  return element("tr", {}, heading, ratio, status, ...others, element("td", { class: "trend" }), seen);
}

function updateRow(row, item) {
  for (const [name, text] of NUMBERS) write(row.querySelector(`.${name}`), text(item));
  row.dataset.status = item.status;
  writeBadge(row.querySelector(".badge"), item.status);
  row.querySelector(".badge").title = item.reason;
  write(row.querySelector(".open"), item.faultOpen ? " fault open" : "");
  write(row.querySelector(".trend"), trendLabel(item.trend));
  writeTime(row.querySelector("time"), item.recordedAt);
}
