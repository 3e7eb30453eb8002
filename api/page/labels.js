/** Labels of statuses and trends, as words and symbols (never by colour alone), and links to vehicles. */

import { element } from "./dom.js";
import { count } from "./format.js";

/** The statuses by urgency: value in the API, field in the summary, label, symbol. */
export const STATUSES = [
  { value: "faulty", field: "faulty", label: "Faulty", sign: "✖" },
  { value: "degraded", field: "degraded", label: "Degraded", sign: "▲" },
  { value: "implausible", field: "implausible", label: "Implausible", sign: "◆" },
  { value: "healthy", field: "healthy", label: "Healthy", sign: "●" },
  { value: "insufficient_data", field: "insufficientData", label: "Too little data", sign: "◌" },
  { value: "unassigned", field: "unassigned", label: "No meter", sign: "○" },
];
const UNKNOWN = { value: "unknown", label: "Unknown", sign: "?" };
const TRENDS = {
  steady: "→ steady",
  aging: "↘ aging",
  improving: "↗ improving",
  insufficient_data: "too few days",
};

export const statusOf = (value) => STATUSES.find((status) => status.value === value) ?? UNKNOWN;
export const trendLabel = (value) => TRENDS[value] ?? "–";

/** Turns `node` into the badge of a status. */
export function writeBadge(node, value) {
  const status = statusOf(value);
  if (node.dataset.status === status.value) return;
  node.dataset.status = status.value;
  node.classList.add("badge");
  node.replaceChildren(element("span", { class: "sign", "aria-hidden": "true" }, status.sign), ` ${status.label}`);
}

/** A trend as a sentence; slopes are percentage points per day. */
export function trendSentence(trend) {
  if (trend.status === "insufficient_data") return "Not enough days have been assessed yet for a trend.";
  const between = `${signed(trend.slopeLow)} to ${signed(trend.slopeHigh)}`;
  const slope = `${signed(trend.slopePerDay)} points per day (95 % interval: ${between})`;
  if (trend.status !== "aging") return `${trend.status === "steady" ? "Steady" : "Improving"}: ${slope}.`;
  return `Aging: ${slope}. ${untilFault(trend.daysUntilFault)}`;
}

/** When an aging charger will reach the fault threshold. */
export function untilFault(days) {
  if (days === null || days === undefined) return "The day cannot be predicted yet.";
  if (days < 1) return "Below the fault threshold within a day.";
  return `Below the fault threshold in about ${count(days)} ${Math.round(days) === 1 ? "day" : "days"}.`;
}

/** A number with its sign; null is a dash. */
export function signed(value) {
  if (value === null || value === undefined) return "–";
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
}

/** A link to the view of a vehicle. */
export function vehicleLink(vehicleId) {
  return element("a", { href: vehicleHref(vehicleId) }, vehicleId);
}

/** The address of the view of a vehicle: the 24 hours up to `end`, null: up to now. */
export function vehicleHref(vehicleId, end = null) {
  const path = `#/vehicle/${encodeURIComponent(vehicleId)}`;
  return end ? `${path}?${new URLSearchParams({ end })}` : path;
}
