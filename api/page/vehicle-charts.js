/** The charts of a vehicle, with their descriptions and their data as table rows. */

import { charge, count, energy, NONE, percent, temperature, toBrief, toLocalAxis, toMoment } from "./format.js";

const HOUR_MS = 3_600_000;
const sum = (items, field) => items.reduce((total, item) => total + (item[field] ?? 0), 0);
const span = ({ start, end }) => `${toBrief(start)} to ${toBrief(end)}`;
const middle = ({ start }) => toLocalAxis((Math.floor(Date.parse(start) / HOUR_MS) + 0.5) * HOUR_MS); // hours are UTC hours

/** Both charts of a day show the same whole hours, whether or not there are readings. */
const timeAxis = ({ from, to }) => ({
  type: "date",
  range: [Math.floor(Date.parse(from) / HOUR_MS), Math.ceil(Date.parse(to) / HOUR_MS)].map((hour) =>
    toLocalAxis(hour * HOUR_MS),
  ),
  showgrid: false,
  tickformat: "%H:%M",
});

export function energyChart(hours, window, colours) {
  const x = hours.map(middle);
  const bar = (name, field, color) => ({
    type: "bar",
    name,
    x,
    y: hours.map((hour) => hour[field]),
    marker: { color },
    customdata: hours.map(span),
    hovertemplate: `%{customdata}: %{y:.2f} kWh ${name}<extra></extra>`,
  });
  const ratio = {
    type: "scatter",
    mode: "lines+markers",
    name: "efficiency",
    x,
    y: hours.map((hour) => hour.efficiencyRatio),
    yaxis: "y2",
    connectgaps: false,
    line: { color: colours.ratio, width: 1.5 },
    marker: { color: colours.ratio, size: 5, symbol: "diamond" },
    hovertemplate: "%{y:.2f} %<extra></extra>",
  };
  const layout = {
    barmode: "group",
    bargap: 0.25,
    margin: { l: 48, r: 48, t: 8, b: 36 },
    xaxis: timeAxis(window),
    yaxis: { title: { text: "kWh" }, rangemode: "tozero" },
    yaxis2: {
      title: { text: "efficiency, %" },
      overlaying: "y",
      side: "right",
      range: [0, 105],
      tickvals: [0, 25, 50, 75, 100],
      showgrid: false,
    },
  };
  return {
    traces: [bar("in, AC", "kwhConsumedAc", colours.in), bar("out, DC", "kwhDeliveredDc", colours.out), ratio],
    layout,
  };
}

export function energyDescription(hours) {
  const most = hours.reduce((best, hour) => ((hour.kwhConsumedAc ?? 0) > (best.kwhConsumedAc ?? 0) ? hour : best));
  const peak = most.kwhConsumedAc ? `; highest from ${span(most)}: ${energy(most.kwhConsumedAc)}` : "";
  return (
    `Bars of energy by hour, with efficiency as a line. In, AC: ${energy(sum(hours, "kwhConsumedAc"))}; ` +
    `out, DC: ${energy(sum(hours, "kwhDeliveredDc"))}${peak}.`
  );
}

export function hourRows(hours) {
  return hours.map((hour) => [
    span(hour),
    energy(hour.kwhConsumedAc),
    energy(hour.kwhDeliveredDc),
    percent(hour.efficiencyRatio),
    hour.socMin === null ? NONE : `${charge(hour.socMin)} to ${charge(hour.socMax)}`,
    temperature(hour.averageBatteryTemp),
    temperature(hour.batteryTempMax),
    count(hour.readings),
  ]);
}

export function batteryChart(readings, window, colours) {
  const x = readings.map((reading) => toLocalAxis(reading.recordedAt));
  const line = (name, field, color, unit, axis) => ({
    type: "scatter",
    mode: readings.length === 1 ? "markers" : "lines",
    name,
    x,
    y: readings.map((reading) => reading[field]),
    yaxis: axis,
    line: { color, width: 1.5 },
    hovertemplate: `%{x|%H:%M:%S}: %{y:.1f} ${unit}<extra></extra>`,
  });
  const layout = {
    showlegend: false,
    margin: { l: 48, r: 48, t: 8, b: 36 },
    xaxis: { ...timeAxis(window), anchor: "y2" },
    yaxis: { title: { text: "charge, %" }, range: [0, 103], domain: [0.56, 1] },
    yaxis2: { title: { text: "battery, °C" }, domain: [0, 0.44], nticks: 5 },
  };
  return {
    traces: [line("charge", "soc", colours.out, "%", "y"), line("battery", "batteryTemp", colours.warm, "°C", "y2")],
    layout,
  };
}

export function batteryDescription(readings, more) {
  const low = (field) => readings.reduce((least, each) => Math.min(least, each[field]), Infinity);
  const high = (field) => readings.reduce((most, each) => Math.max(most, each[field]), -Infinity);
  const first = more ? `The first ${count(readings.length)}` : count(readings.length);
  return (
    `${first} readings from ${toMoment(readings[0].recordedAt)} to ${toMoment(readings.at(-1).recordedAt)}. ` +
    `Charge between ${charge(low("soc"))} and ${charge(high("soc"))}, ` +
    `battery between ${temperature(low("batteryTemp"))} and ${temperature(high("batteryTemp"))}.`
  );
}

export function trendChart(days, colours) {
  const trace = {
    type: "scatter",
    mode: "lines+markers",
    x: days.map((day) => day.day),
    y: days.map((day) => day.efficiencyRatio),
    line: { color: colours.ratio, width: 1.5 },
    marker: { color: colours.ratio, size: 5 },
    hovertemplate: "%{x|%d %b}: %{y:.2f} %<extra></extra>",
  };
  const layout = {
    showlegend: false,
    xaxis: { type: "date", showgrid: false, tickformat: "%d %b", nticks: 6 },
    yaxis: { title: { text: "efficiency, %" }, nticks: 5 },
  };
  return { traces: [trace], layout };
}

export const trendRows = (days) => days.map((day) => [day.day, percent(day.efficiencyRatio)]);
