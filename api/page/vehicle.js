/** The view of one vehicle over 24 hours: numbers, status, charts, trend, faults. */

import { get, getAll } from "./api.js";
import { Chart } from "./charts.js";
import { byId, fillTable, write } from "./dom.js";
import { fill, time } from "./format.js";
import { Faults } from "./faults.js";
import { Panel } from "./panel.js";
import { trendSentence, vehicleHref, writeBadge } from "./labels.js";
import {
  batteryChart,
  batteryDescription,
  energyChart,
  energyDescription,
  hourRows,
  trendChart,
  trendRows,
} from "./vehicle-charts.js";

const DAY_MS = 86_400_000;
const MAX_ITEMS = 10_000;
const MIN_RELOAD_INTERVAL_MS = 5000;

export class Vehicle {
  #abort = new AbortController();
  #reloadTimer = 0;
  #loadedAt = 0;

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

  /** Shows the 24 hours of a vehicle up to `end`, null: up to now. */
  open(vehicleId, end) {
    const isOther = vehicleId !== this.vehicleId;
    this.vehicleId = vehicleId;
    this.end = end;
    write(this.node.querySelector("h1"), vehicleId);
    write(this.node.querySelector(".crumbs .name"), vehicleId);
    for (const panel of Object.values(this.panels)) panel.reset();
    this.#showStatus(null);
    if (isOther) this.faults.select(vehicleId);
    return this.load();
  }

  close() {
    this.#abort.abort();
    clearTimeout(this.#reloadTimer);
    this.vehicleId = null;
  }

  /** Loads all panels. */
  load() {
    clearTimeout(this.#reloadTimer);
    this.#abort.abort();
    this.#abort = new AbortController();
    this.#loadedAt = Date.now();
    const { signal } = this.#abort;
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
        (response) => this.#showDay(response),
      ),
      now.fetch(
        () => get(`v1/vehicles/${id}`, {}, signal),
        (response) => this.#showNow(response),
      ),
      energy.fetch(
        () => getAll(history, { ...window, resolution: "hour" }, signal, MAX_ITEMS),
        (response) => this.#showHours(response, window),
      ),
      battery.fetch(
        () => getAll(history, { ...window, resolution: "raw" }, signal, MAX_ITEMS),
        (response) => this.#showReadings(response, window),
      ),
      trend.fetch(
        () => get(`v1/analytics/trend/${id}`, {}, signal),
        (response) => this.#showTrend(response),
      ),
    ]);
  }

  /** Reloads all panels unless the 24 hours are in the past. */
  refresh() {
    if (!this.end) this.load();
  }

  /** Shows a newer reading at once, and reloads the rest soon. */
  receive(status) {
    if (status.vehicleId !== this.vehicleId) return;
    this.#showNow(status);
    clearTimeout(this.#reloadTimer);
    this.#reloadTimer = setTimeout(() => this.refresh(), Math.max(0, this.#loadedAt + MIN_RELOAD_INTERVAL_MS - Date.now()));
  }

  async #performance(id, signal) {
    try {
      return await get(`v1/analytics/performance/${id}`, { end: this.end }, signal);
    } catch (error) {
      if (error.status === 404 || error.status === 422) this.#showStatus("absent");
      throw error;
    }
  }

  #showDay(response) {
    fill(this.panels.day.node, response);
    this.#showStatus(response.status, response.reason);
    this.panels.day.ready();
  }

  #showNow(status) {
    fill(this.panels.now.node, status);
    this.panels.now.ready();
  }

  #showHours({ items }, window) {
    if (!items.some((hour) => hour.readings || hour.kwhConsumedAc)) {
      this.panels.energy.empty("There are no readings in these 24 hours.");
      return;
    }
    this.panels.energy.ready();
    this.charts.energy.draw((colours) => energyChart(items, window, colours), energyDescription(items));
    fillTable(this.panels.energy.node.querySelector("tbody"), hourRows(items));
  }

  #showReadings({ items, more }, window) {
    if (!items.length) {
      this.panels.battery.empty("The vehicle sent no reading in these 24 hours.");
      return;
    }
    this.panels.battery.ready();
    this.charts.battery.draw((colours) => batteryChart(items, window, colours), batteryDescription(items, more));
  }

  #showTrend(trend) {
    const assessed = trend.days.filter((day) => day.efficiencyRatio !== null);
    this.panels.trend.ready();
    const sentence = trendSentence(trend);
    write(this.panels.trend.node.querySelector(".words"), sentence);
    for (const part of ["figure", "details"]) this.panels.trend.node.querySelector(part).hidden = assessed.length < 2;
    if (assessed.length < 2) return;
    this.charts.trend.draw((colours) => trendChart(assessed, colours), `Efficiency of ${assessed.length} days. ${sentence}`);
    fillTable(this.panels.trend.node.querySelector("tbody"), trendRows(assessed));
  }

  #showWindow({ from, to }) {
    byId("day").replaceChildren(time(from), " to ", this.end ? time(to) : "now");
    for (const button of this.node.querySelectorAll("[data-step='0'], [data-step='1']")) {
      button.setAttribute("aria-disabled", String(!this.end));
    }
  }

  #showStatus(status, reason = "") {
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
    location.hash = vehicleHref(this.vehicleId, past ? new Date(end).toISOString() : null);
  }
}
