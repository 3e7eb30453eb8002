/** The table of vehicles. The server searches, filters, sorts and paginates. */

import { get } from "./api.js";
import { byId, element, reconcile, write } from "./dom.js";
import { charge, count, energy, percent, temperature, writeTime } from "./format.js";
import { Pager } from "./pager.js";
import { Panel } from "./panel.js";
import { STATUSES, trendLabel, vehicleLink, writeBadge } from "./labels.js";

const VEHICLES_PER_PAGE = 25;
const SEARCH_DELAY_MS = 250;
const DEFAULTS = { sort: "efficiency", order: "asc", status: "", search: "" };

export class Ranking {
  #abort = new AbortController();
  #searchTimer = 0;

  /** @param onChoice called when the user has chosen other filters or another order. */
  constructor(onChoice) {
    this.panel = new Panel(byId("vehicles"));
    this.onChoice = onChoice;
    this.choice = { ...DEFAULTS };
    const find = (selector) => this.panel.node.querySelector(selector);
    this.form = find("form");
    this.body = find("tbody");
    this.found = find(".found");
    this.pager = new Pager(find(".pager"), VEHICLES_PER_PAGE, () => this.load());
    this.form.status.append(...STATUSES.map(({ value, label }) => element("option", { value }, label)));
    this.#listen();
  }

  /** The filters and the order as parameters of an address, without the defaults. */
  get parameters() {
    return Object.entries(this.choice).filter(([name, value]) => value !== DEFAULTS[name]);
  }

  /** Sets the filters and the order from the parameters of an address. */
  restore(parameters) {
    this.choice = Object.fromEntries(
      Object.entries(DEFAULTS).map(([name, value]) => [name, parameters.get(name) ?? value]),
    );
    this.form.search.value = this.choice.search;
    this.form.status.value = this.choice.status;
    this.pager.rewind();
    this.#showOrder();
  }

  /** Changes filters or the order and loads the first page. */
  choose(change) {
    this.choice = { ...this.choice, ...change };
    this.form.status.value = this.choice.status;
    this.pager.rewind();
    this.#showOrder();
    this.onChoice();
    return this.load();
  }

  load() {
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    const parameters = { ...this.choice, after: this.pager.after, limit: VEHICLES_PER_PAGE };
    return this.panel.fetch(
      () => get("v1/fleet/ranking", parameters, signal),
      (page) => this.#show(page),
    );
  }

  #show({ items, next, total, totalIsExact }) {
    const filtered = this.choice.search || this.choice.status;
    if (total) this.panel.ready();
    else if (filtered) this.panel.empty("No vehicle matches.", { keep: true });
    else this.panel.empty("No vehicle has been evaluated yet.");
    reconcile(this.body, items, (item) => item.vehicleId, makeRow, updateRow);
    const counted = totalIsExact ? count(total) : `${count(total)} or more`;
    write(this.found, filtered ? `${counted} found` : "");
    this.pager.loaded({ next, shown: items.length, total: counted });
  }

  #listen() {
    this.form.addEventListener("submit", (event) => event.preventDefault());
    this.form.search.addEventListener("input", () => {
      clearTimeout(this.#searchTimer);
      this.#searchTimer = setTimeout(() => this.choose({ search: this.form.search.value.trim() }), SEARCH_DELAY_MS);
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
    this.#showOrder();
  }

  #sort(sort) {
    const reverse = this.choice.sort === sort && this.choice.order === "asc";
    this.choose({ sort, order: reverse ? "desc" : "asc" });
  }

  #showOrder() {
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
