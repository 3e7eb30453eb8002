/** One vehicle's 24 hours: numbers, judgement, charts, trend, faults. */

import { ask, askAll } from "./ask.js";
import { Chart } from "./charts.js";
import { batteryChart, batteryWords, energyChart, energyWords, hourRows, trendChart, trendRows } from "./day.js";
import { byId, fillTable, write } from "./dom.js";
import { fill, time } from "./format.js";
import { Faults } from "./faults.js";
import { Panel } from "./panel.js";
import { trendSentence, vehicleAddress, writeBadge } from "./words.js";

const DAY_MS = 86_400_000;
const MOST_READINGS = 10_000;
const BETWEEN_RELOADS_MS = 5000;

export class Vehicle {
  #asked = new AbortController();
  #again = 0;
  #loaded = 0;

  constructor() {
    this.node = byId("vehicle-view");
    const panel = (id) => new Panel(byId(id));
    const chart = (id) => new Chart(byId(id).querySelector("figure"));
    this.panels = {
      day: panel("performance"),
      now: panel("present"),
      energy: panel("energy"),
      battery: panel("battery"),
      trend: panel("trend"),
    };
    this.charts = { energy: chart("energy"), battery: chart("battery"), trend: chart("trend") };
    this.faults = new Faults(byId("history"));
    this.vehicleId = null;
    for (const button of this.node.querySelectorAll("[data-step]")) {
      button.addEventListener("click", () => this.#step(Number(button.dataset.step)));
    }
  }

  /** Show a vehicle's 24 hours up to `end`, null: up to now. */
  open(vehicleId, end) {
    const other = vehicleId !== this.vehicleId;
    this.vehicleId = vehicleId;
    this.end = end;
    write(this.node.querySelector("h1"), vehicleId);
    write(this.node.querySelector(".crumbs .name"), vehicleId);
    for (const panel of Object.values(this.panels)) panel.reset();
    this.#judge(null);
    if (other) this.faults.of(vehicleId);
    return this.load();
  }

  close() {
    this.#asked.abort();
    clearTimeout(this.#again);
    this.vehicleId = null;
  }

  /** Ask for everything. */
  load() {
    clearTimeout(this.#again);
    this.#asked.abort();
    this.#asked = new AbortController();
    this.#loaded = Date.now();
    const { signal } = this.#asked;
    const id = encodeURIComponent(this.vehicleId);
    const to = this.end ?? new Date().toISOString();
    const window = { from: new Date(Date.parse(to) - DAY_MS).toISOString(), to };
    const history = `v1/vehicles/${id}/history`;
    const { day, now, energy, battery, trend } = this.panels;
    this.#showWindow(window);
    return Promise.all([
      this.faults.load(),
      day.fetch(
        () => this.#performance(id, signal),
        (answer) => this.#showDay(answer),
      ),
      now.fetch(
        () => ask(`v1/vehicles/${id}`, {}, signal),
        (answer) => this.#showNow(answer),
      ),
      energy.fetch(
        () => askAll(history, { ...window, resolution: "hour" }, signal, MOST_READINGS),
        (answer) => this.#showHours(answer, window),
      ),
      battery.fetch(
        () => askAll(history, { ...window, resolution: "raw" }, signal, MOST_READINGS),
        (answer) => this.#showReadings(answer, window),
      ),
      trend.fetch(
        () => ask(`v1/analytics/trend/${id}`, {}, signal),
        (answer) => this.#showTrend(answer),
      ),
    ]);
  }

  /** Ask again, unless the 24 hours are past ones. */
  refresh() {
    if (!this.end) this.load();
  }

  /** A newer reading was stored: its numbers at once, the rest soon. */
  heard(status) {
    if (status.vehicleId !== this.vehicleId) return;
    this.#showNow(status);
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.refresh(), Math.max(0, this.#loaded + BETWEEN_RELOADS_MS - Date.now()));
  }

  async #performance(id, signal) {
    try {
      return await ask(`v1/analytics/performance/${id}`, { end: this.end }, signal);
    } catch (error) {
      if (error.status === 404 || error.status === 422) this.#judge("absent");
      throw error;
    }
  }

  #showDay(answer) {
    fill(this.panels.day.node, answer);
    this.#judge(answer.status, answer.reason);
    this.panels.day.ready();
  }

  #showNow(status) {
    fill(this.panels.now.node, status);
    this.panels.now.ready();
  }

  #showHours({ items }, window) {
    if (!items.some((hour) => hour.readings || hour.kwhConsumedAc)) {
      this.panels.energy.empty("Nothing was measured in these 24 hours.");
      return;
    }
    this.panels.energy.ready();
    this.charts.energy.draw((colours) => energyChart(items, window, colours), energyWords(items));
    fillTable(this.panels.energy.node.querySelector("tbody"), hourRows(items));
  }

  #showReadings({ items, more }, window) {
    if (!items.length) {
      this.panels.battery.empty("The vehicle sent no reading in these 24 hours.");
      return;
    }
    this.panels.battery.ready();
    this.charts.battery.draw((colours) => batteryChart(items, window, colours), batteryWords(items, more));
  }

  #showTrend(trend) {
    const judged = trend.days.filter((day) => day.efficiencyRatio !== null);
    this.panels.trend.ready();
    const words = trendSentence(trend);
    write(this.panels.trend.node.querySelector(".words"), words);
    for (const part of ["figure", "details"]) this.panels.trend.node.querySelector(part).hidden = judged.length < 2;
    if (judged.length < 2) return;
    this.charts.trend.draw((colours) => trendChart(judged, colours), `Efficiency of ${judged.length} days. ${words}`);
    fillTable(this.panels.trend.node.querySelector("tbody"), trendRows(judged));
  }

  #showWindow({ from, to }) {
    byId("day").replaceChildren(time(from), " to ", this.end ? time(to) : "now");
    for (const button of this.node.querySelectorAll("[data-step='0'], [data-step='1']")) {
      button.setAttribute("aria-disabled", String(!this.end));
    }
  }

  #judge(status, reason = "") {
    const badge = this.node.querySelector(".badge");
    badge.hidden = !status || status === "absent";
    this.node.classList.toggle("absent", status === "absent");
    if (!badge.hidden) writeBadge(badge, status);
    write(this.node.querySelector(".reason"), reason);
  }

  #step(days) {
    if (days >= 0 && !this.end) return;
    const end = Date.parse(this.end ?? new Date().toISOString()) + days * DAY_MS;
    const past = days !== 0 && end < Date.now();
    location.hash = vehicleAddress(this.vehicleId, past ? new Date(end).toISOString() : null);
  }
}
