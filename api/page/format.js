/** Numbers, times and units as text; null is a dash. */

import { write } from "./dom.js";

export const NONE = "–";
const HOURS_24 = { hourCycle: "h23" };
const clock = new Intl.DateTimeFormat("en-GB", { ...HOURS_24, hour: "2-digit", minute: "2-digit", second: "2-digit" });
const brief = new Intl.DateTimeFormat("en-GB", { ...HOURS_24, hour: "2-digit", minute: "2-digit" });
const full = new Intl.DateTimeFormat("en-GB", {
  ...HOURS_24,
  day: "numeric",
  month: "short",
  hour: "2-digit",
  minute: "2-digit",
});
const numberFormats = new Map();

function digits(value, count) {
  if (!numberFormats.has(count)) {
    numberFormats.set(count, new Intl.NumberFormat("en", { minimumFractionDigits: count, maximumFractionDigits: count }));
  }
  return numberFormats.get(count).format(value);
}

const orNone = (format) => (value) => (value === null || value === undefined ? NONE : format(value));

export const count = orNone((value) => digits(value, 0));
export const rate = orNone((value) => digits(value, value < 10 ? 1 : 0));
export const percent = orNone((value) => `${digits(value, 2)} %`);
export const share = orNone((value) => `${digits(Math.floor(value * 1000) / 10, 1)} %`);
export const charge = orNone((value) => `${digits(value, 0)} %`);
export const temperature = orNone((value) => `${digits(value, 1)} °C`);

/** kWh; from 10,000 kWh on, MWh. */
export const energy = orNone((value) => {
  if (value >= 10_000) return `${digits(value / 1000, 1)} MWh`;
  return `${digits(value, value < 100 ? 2 : 1)} kWh`;
});

/** Seconds in the largest unit that is precise enough. */
export const age = orNone((seconds) => {
  if (seconds < 90) return `${digits(seconds, 0)} s`;
  if (seconds < 5400) return `${digits(seconds / 60, 0)} min`;
  if (seconds < 172_800) return `${digits(seconds / 3600, 0)} h`;
  return `${digits(seconds / 86_400, 0)} days`;
});

export const FORMATS = { age, charge, count, energy, percent, rate, share, temperature };

/** Local hours and minutes; `toClock` adds seconds, `toFull` the day. */
export const toBrief = (instant) => brief.format(new Date(instant));
export const toClock = (instant) => clock.format(new Date(instant));
export const toFull = (instant) => full.format(new Date(instant));

/** Times of today without the day, other times with it. */
export function toMoment(instant) {
  const sameDay = new Date(instant).toDateString() === new Date().toDateString();
  return sameDay ? toClock(instant) : toFull(instant);
}

/** Fills a `<time>`: local time as its text, UTC as its title. */
export function writeTime(node, instant, format = toMoment) {
  if (!instant) {
    write(node, NONE);
    node.removeAttribute("datetime");
    node.removeAttribute("title");
    return;
  }
  const utc = new Date(instant).toISOString();
  node.dateTime = utc;
  node.title = `${utc.replace("T", " ").slice(0, 19)} UTC`;
  write(node, format(instant));
}

/** A new `<time>`. */
export function time(instant, format) {
  const node = document.createElement("time");
  writeTime(node, instant, format);
  return node;
}

/** Local time without an offset: Plotly draws dates as they are written. */
export function toLocalAxis(instant) {
  const at = new Date(instant);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** Fills each `<data data-field="a.b" data-format="...">` and `<time data-field>` under `root` from a response. */
export function fill(root, response) {
  for (const node of root.querySelectorAll("[data-field]")) {
    const value = node.dataset.field.split(".").reduce((value, name) => value?.[name], response) ?? null;
    if (node.localName === "time") {
      writeTime(node, value);
    } else {
      node.value = value === null ? "" : String(value);
      write(node, FORMATS[node.dataset.format](value));
    }
  }
}
