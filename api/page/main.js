/** The entry point: one event stream, two views with an address each. */

import { keyForm } from "./api-key.js";
import { ConnectionStatus } from "./connection-status.js";
import { byId, write } from "./dom.js";
import { Aging, Faults } from "./faults.js";
import { LiveUpdates } from "./live-updates.js";
import { Ranking } from "./ranking.js";
import { Summary } from "./summary.js";
import { Vehicle } from "./vehicle.js";

const REFRESH_FLEET_MS = 10_000;
const REFRESH_VEHICLE_MS = 30_000; // the stream reports readings of the vehicle at once, but not those of its meter
const VIEWS = ["fleet", "vehicle", "lost"];

const updates = new LiveUpdates();
new ConnectionStatus(updates);
const ranking = new Ranking(() => {
  if (view === "fleet") history.replaceState(null, "", fleetAddress()); // the search is delayed: the view may have changed since
  linkToFleet();
});
const summary = new Summary(async (status) => {
  await ranking.choose({ status });
  byId("vehicles").scrollIntoView({ block: "start" });
  byId("vehicles").querySelector("[name=status]").focus({ preventScroll: true });
});
const faults = new Faults(byId("faults"));
const aging = new Aging();
const vehicle = new Vehicle();
let view = null;
let lastVehicle = null;

function fleetAddress() {
  const parameters = new URLSearchParams(ranking.parameters);
  return `#/${parameters.size ? `?${parameters}` : ""}`;
}

function linkToFleet() {
  for (const id of ["back", "to-fleet"]) byId(id).setAttribute("href", fleetAddress());
}

/** The view, vehicle and parameters of an address. */
function parse(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const parameters = new URLSearchParams(query);
  if (path === "" || path === "/") return { view: "fleet", parameters };
  const [, id] = /^\/vehicle\/([^/]+)$/.exec(path) ?? [];
  try {
    const end = parameters.get("end");
    if (id) return { view: "vehicle", vehicleId: decodeURIComponent(id), end: end && new Date(end).toISOString() };
  } catch {
    // the id or the time cannot be parsed
  }
  return { view: "lost" };
}

function route() {
  const target = parse(location.hash);
  const first = view === null;
  const before = view;
  view = target.view;
  for (const name of VIEWS) byId(`${name}-view`).hidden = name !== view;
  if (before === "vehicle" && view !== "vehicle") vehicle.close();
  updates.watch(view === "vehicle" ? target.vehicleId : null);
  if (view === "fleet") openFleet(target);
  if (view === "vehicle") openVehicle(target);
  document.title = `${view === "vehicle" ? target.vehicleId : "Fleet"} · Energy telemetry`;
  if (!first) moveFocus(before);
}

function openFleet({ parameters }) {
  // Keeps the page of the list when the user comes back from a vehicle.
  if (fleetAddress() !== (location.hash || "#/")) ranking.restore(parameters);
  linkToFleet();
  refreshFleet();
}

function openVehicle({ vehicleId, end }) {
  lastVehicle = vehicleId;
  vehicle.open(vehicleId, end ?? null);
}

/** Moves the focus to the link that was followed before, or else to the title of the view. */
function moveFocus(before) {
  if (before === view) return;
  const links = [...byId("fleet-view").querySelectorAll("tbody a")];
  const followed = view === "fleet" ? links.find((link) => link.textContent === lastVehicle) : null;
  if (followed) followed.focus();
  else byId(`${view}-view`).querySelector("h1").focus({ preventScroll: false });
}

function refreshFleet() {
  return Promise.all([ranking.load(), faults.load(), aging.load()]);
}

function refresh() {
  if (view === "fleet") refreshFleet();
  if (view === "vehicle") vehicle.load();
}

function showFleet(fleet) {
  const { vehicles, meters } = fleet.live;
  const isEmpty = vehicles + meters + fleet.vehicles === 0;
  byId("empty").hidden = !isEmpty;
  for (const panel of byId("fleet-view").querySelectorAll(".panel:not(#empty)")) panel.hidden = isEmpty;
  summary.show(fleet);
}

updates.addEventListener("fleet", (event) => showFleet(event.detail));
updates.addEventListener("vehicle", (event) => vehicle.receive(event.detail));
updates.addEventListener("state", (event) => {
  const { state, before } = event.detail;
  if (state === "live" && before !== "connecting") refresh();
  if (state === "disconnected" || state === "unavailable") {
    summary.failed(new Error(updates.detail || "the service does not respond"), () => updates.connect());
  }
});
setInterval(() => {
  if (view === "fleet" && updates.state === "live") refreshFleet();
}, REFRESH_FLEET_MS);
setInterval(() => {
  if (view === "vehicle" && updates.state === "live") vehicle.refresh();
}, REFRESH_VEHICLE_MS);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
const example =
  '{"vehicleId":"VEH-001","soc":85,"kwhDeliveredDc":0.4,"batteryTemp":28.3,"timestamp":"\'$(date -u +%FT%TZ)\'"}';
write(byId("empty-command"), `curl -d '${example}' ${location.origin}/v1/ingestion/vehicle`);
keyForm.addEventListener("opened", () => updates.lock());
await keyForm.waitForAccess();
keyForm.addEventListener("accepted", () => updates.connect());
window.addEventListener("hashchange", route);
route();
updates.start();
