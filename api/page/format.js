/** Numbers, times and units as people read them. null is a dash everywhere. */

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
const WAYS = new Map();

function digits(value, count) {
  if (!WAYS.has(count)) {
    WAYS.set(count, new Intl.NumberFormat("en", { minimumFractionDigits: count, maximumFractionDigits: count }));
  }
  return WAYS.get(count).format(value);
}

const orNone = (format) => (value) => (value === null || value === undefined ? NONE : format(value));

export const count = orNone((value) => digits(value, 0));
export const rate = orNone((value) => digits(value, value < 10 ? 1 : 0));
export const percent = orNone((value) => `${digits(value, 2)} %`);
export const share = orNone((value) => `${digits(Math.floor(value * 1000) / 10, 1)} %`);
export const charge = orNone((value) => `${digits(value, 0)} %`);
export const temperature = orNone((value) => `${digits(value, 1)} °C`);

/** kWh; from ten thousand on as MWh. */
export const energy = orNone((value) => {
  if (value >= 10_000) return `${digits(value / 1000, 1)} MWh`;
  return `${digits(value, value < 100 ? 2 : 1)} kWh`;
});

/** Seconds as the largest unit that says enough. */
export const age = orNone((seconds) => {
  if (seconds < 90) return `${digits(seconds, 0)} s`;
  if (seconds < 5400) return `${digits(seconds / 60, 0)} min`;
  if (seconds < 172_800) return `${digits(seconds / 3600, 0)} h`;
  return `${digits(seconds / 86_400, 0)} days`;
});

export const FORMATS = { age, charge, count, energy, percent, rate, share, temperature };

/** Local hours and minutes of a time; `toClock` with seconds, `toFull` with the day. */
export const toBrief = (instant) => brief.format(new Date(instant));
export const toClock = (instant) => clock.format(new Date(instant));
export const toFull = (instant) => full.format(new Date(instant));

/** Today's times as a clock, others with their day. */
export function toMoment(instant) {
  const sameDay = new Date(instant).toDateString() === new Date().toDateString();
  return sameDay ? toClock(instant) : toFull(instant);
}

/** Fill a `<time>`: local text, UTC as its title. */
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

/** Plotly draws dates as they are written: local, without an offset. */
export function toLocalAxis(instant) {
  const at = new Date(instant);
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

/** Fill every `<data data-field="a.b" data-format="...">` and `<time data-field>` under `root` from an answer. */
export function fill(root, answer) {
  for (const node of root.querySelectorAll("[data-field]")) {
    const value = node.dataset.field.split(".").reduce((found, name) => found?.[name], answer) ?? null;
    if (node.localName === "time") {
      writeTime(node, value);
    } else {
      node.value = value === null ? "" : String(value);
      write(node, FORMATS[node.dataset.format](value));
    }
  }
}
