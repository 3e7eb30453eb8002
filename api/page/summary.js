/** The fleet summary: tiles, the histogram of efficiency, the number of vehicles by status. */

import { Chart } from "./charts.js";
import { byId, element, fillTable, reconcile, write } from "./dom.js";
import { count, fill, time } from "./format.js";
import { Panel } from "./panel.js";
import { STATUSES } from "./labels.js";

const LOW_BAR = 0.04; // of the highest bar: too low to be visible, so the number is written above the bar

export class Summary {
  /** @param choose called with the status that the user has chosen from the list. */
  constructor(choose) {
    this.tiles = new Panel(byId("summary"));
    this.distribution = new Panel(byId("distribution"));
    this.statuses = new Panel(byId("statuses"));
    this.chart = new Chart(byId("distribution").querySelector("figure"));
    this.choose = choose;
  }

  /** Shows an error in the panels that have no content yet. */
  failed(error, retry) {
    for (const panel of [this.tiles, this.distribution, this.statuses]) {
      if (!panel.loaded) panel.failed(error, retry);
    }
  }

  show(summary) {
    fill(this.tiles.node, summary);
    this.tiles.ready();
    this.#showWindow(summary);
    if (!summary.vehicles) {
      const text = "No vehicle has been evaluated yet; python -m sql maintain evaluates the fleet every minute.";
      this.distribution.empty(text);
      this.statuses.empty(text);
      return;
    }
    this.#showDistribution(summary.distribution);
    this.#showStatuses(summary);
  }

  #showWindow({ timeWindowEnd, vehicles }) {
    const line = byId("window");
    if (!timeWindowEnd) write(line, "");
    else line.replaceChildren(`${count(vehicles)} vehicles evaluated, 24 hours up to `, time(timeWindowEnd));
  }

  #showDistribution(steps) {
    const assessed = steps.reduce((sum, step) => sum + step.vehicles, 0);
    if (!assessed) {
      this.distribution.empty("No vehicle can be assessed yet: there is not enough energy or not enough readings on both sides.");
      return;
    }
    this.distribution.ready();
    const filled = steps.filter((step) => step.vehicles);
    const most = filled.reduce((best, step) => (step.vehicles > best.vehicles ? step : best));
    this.chart.draw(
      (colours) => histogram(steps, most.vehicles, colours),
      `Histogram. ${count(assessed)} vehicles are assessed; most of them, ${count(most.vehicles)}, are at ${range(most)}. ` +
        `The lowest are at ${range(filled[0])}, the highest at ${range(filled.at(-1))}.`,
    );
    const body = this.distribution.node.querySelector("tbody");
    fillTable(
      body,
      filled.map((step) => [range(step), count(step.vehicles)]),
    );
  }

  #showStatuses({ statuses, vehicles }) {
    this.statuses.ready();
    const list = this.statuses.node.querySelector("ul");
    const items = STATUSES.map((status) => ({ ...status, vehicles: statuses[status.field] }));
    reconcile(
      list,
      items,
      (item) => item.value,
      (item) => this.#statusItem(item),
      (node, item) => {
        write(node.querySelector(".vehicles"), count(item.vehicles));
        node.querySelector(".share").style.setProperty("--share", item.vehicles / vehicles);
      },
    );
  }

  #statusItem({ value, label, sign }) {
    const button = element(
      "button",
      { type: "button", "data-status": value },
      element("span", { class: "sign", "aria-hidden": "true" }, sign),
      element("span", { class: "label" }, label),
      element("span", { class: "vehicles" }),
      element("span", { class: "share", "aria-hidden": "true" }),
    );
    button.addEventListener("click", () => this.choose(value));
    return element("li", {}, button);
  }
}

function range({ fromPercent, toPercent }) {
  if (toPercent === null) return `${fromPercent} % and above`;
  return fromPercent === 0 ? `below ${toPercent} %` : `${fromPercent} to ${toPercent} %`;
}

/** The steps as bars of equal width. The two open-ended steps have labels of their own. */
function histogram(steps, most, colours) {
  const inner = steps.filter((step) => step.fromPercent > 0 && step.toPercent !== null);
  const width = inner[0].toPercent - inner[0].fromPercent;
  const at = ({ fromPercent, toPercent }) => (fromPercent === 0 ? toPercent - width / 2 : fromPercent + width / 2);
  const ends = [steps[0].toPercent, steps.at(-1).fromPercent];
  const tens = [60, 70, 80, 90];
  const trace = {
    type: "bar",
    x: steps.map(at),
    y: steps.map((step) => step.vehicles),
    width: width * 0.86,
    marker: { color: colours.out },
    customdata: steps.map(
      (step) => `${range(step)}: ${count(step.vehicles)} ${step.vehicles === 1 ? "vehicle" : "vehicles"}`,
    ),
    text: steps.map((step) => (step.vehicles && step.vehicles < most * LOW_BAR ? count(step.vehicles) : "")),
    textposition: "outside",
    textfont: { size: 10 },
    cliponaxis: false,
    hovertemplate: "%{customdata}<extra></extra>",
  };
  const layout = {
    showlegend: false,
    xaxis: {
      tickvals: [ends[0] - width / 2, ...tens, ends[1] + width / 2],
      ticktext: [`<${ends[0]}`, ...tens.map(String), `≥${ends[1]}`],
      title: { text: "efficiency, %", font: { size: 11 } },
      showgrid: false,
    },
    yaxis: { rangemode: "tozero", tickformat: ",d", nticks: 5 },
  };
  return { traces: [trace], layout };
}
