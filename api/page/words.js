/** Statuses and trends in words and signs; a colour never stands alone. */

import { element } from "./dom.js";
import { count } from "./format.js";

/** In the order of urgency: value in the API, field in the summary, label, sign. */
export const STATUSES = [
  { value: "faulty", field: "faulty", label: "Faulty", sign: "✖" },
  { value: "degraded", field: "degraded", label: "Degraded", sign: "▲" },
  { value: "implausible", field: "implausible", label: "Implausible", sign: "◆" },
  { value: "healthy", field: "healthy", label: "Healthy", sign: "●" },
  { value: "insufficient_data", field: "insufficientData", label: "Too little data", sign: "◌" },
  { value: "unassigned", field: "unassigned", label: "No meter", sign: "○" },
];
const UNKNOWN = { value: "unknown", label: "Not known", sign: "?" };
const TRENDS = {
  steady: "→ steady",
  aging: "↘ aging",
  improving: "↗ improving",
  insufficient_data: "too few days",
};

export const statusOf = (value) => STATUSES.find((status) => status.value === value) ?? UNKNOWN;
export const trendLabel = (value) => TRENDS[value] ?? "–";

/** Make `node` the badge of a status. */
export function writeBadge(node, value) {
  const status = statusOf(value);
  if (node.dataset.status === status.value) return;
  node.dataset.status = status.value;
  node.classList.add("badge");
  node.replaceChildren(element("span", { class: "sign", "aria-hidden": "true" }, status.sign), ` ${status.label}`);
}

/** What a trend says, as a sentence; slopes are percentage points a day. */
export function trendSentence(trend) {
  if (trend.status === "insufficient_data") return "There are not enough judged days yet to see a trend.";
  const between = `${signed(trend.slopeLow)} to ${signed(trend.slopeHigh)}`;
  const slope = `${signed(trend.slopePerDay)} points a day (95 %: ${between})`;
  if (trend.status !== "aging") return `${trend.status === "steady" ? "Steady" : "Improving"}: ${slope}.`;
  return `Aging: ${slope}. ${untilFault(trend.daysUntilFault)}`;
}

/** When an aging charger will be a fault. */
export function untilFault(days) {
  if (days === null || days === undefined) return "No day can be given yet.";
  if (days < 1) return "Below the fault threshold within a day.";
  return `Below the fault threshold in about ${count(days)} ${Math.round(days) === 1 ? "day" : "days"}.`;
}

/** A number with its sign, or a dash. */
export function signed(value) {
  if (value === null || value === undefined) return "–";
  return `${value < 0 ? "−" : "+"}${Math.abs(value).toFixed(3)}`;
}

/** The link to a vehicle's view. */
export function vehicleLink(vehicleId) {
  return element("a", { href: vehicleAddress(vehicleId) }, vehicleId);
}

/** Its address: of the 24 hours up to now, or up to `end`. */
export function vehicleAddress(vehicleId, end = null) {
  const path = `#/vehicle/${encodeURIComponent(vehicleId)}`;
  return end ? `${path}?${new URLSearchParams({ end })}` : path;
}
