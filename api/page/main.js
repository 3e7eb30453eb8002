/** The page: one stream, two views, and an address for each. */

import { byId, write } from "./dom.js";
import { Connection } from "./connection.js";
import { Aging, Faults } from "./faults.js";
import { door } from "./key.js";
import { Live } from "./live.js";
import { Ranking } from "./ranking.js";
import { Summary } from "./summary.js";
import { Vehicle } from "./vehicle.js";

const FLEET_MS = 10_000;
const VEHICLE_MS = 30_000; // its own readings are told of at once; those of its meter are not
const VIEWS = ["fleet", "vehicle", "lost"];

const live = new Live();
new Connection(live);
const ranking = new Ranking(() => {
  if (view === "fleet") history.replaceState(null, "", fleetAddress()); // typed, and left before it was asked
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

/** Where an address leads: view, vehicle, parameters. */
function read(hash) {
  const [path, query = ""] = hash.replace(/^#/, "").split(/\?(.*)/s);
  const parameters = new URLSearchParams(query);
  if (path === "" || path === "/") return { to: "fleet", parameters };
  const [, id] = /^\/vehicle\/([^/]+)$/.exec(path) ?? [];
  try {
    const end = parameters.get("end");
    if (id) return { to: "vehicle", vehicleId: decodeURIComponent(id), end: end && new Date(end).toISOString() };
  } catch {
    // neither an id nor a time that anyone could read
  }
  return { to: "lost" };
}

function route() {
  const place = read(location.hash);
  const first = view === null;
  const before = view;
  view = place.to;
  for (const name of VIEWS) byId(`${name}-view`).hidden = name !== view;
  if (before === "vehicle" && view !== "vehicle") vehicle.close();
  live.follow(view === "vehicle" ? place.vehicleId : null);
  if (view === "fleet") openFleet(place);
  if (view === "vehicle") openVehicle(place);
  document.title = `${view === "vehicle" ? place.vehicleId : "Fleet"} · Energy telemetry`;
  if (!first) arrive(before);
}

function openFleet({ parameters }) {
  // Who comes back from a vehicle finds the page of the list that was left.
  if (fleetAddress() !== (location.hash || "#/")) ranking.restore(parameters);
  linkToFleet();
  refreshFleet();
}

function openVehicle({ vehicleId, end }) {
  lastVehicle = vehicleId;
  vehicle.open(vehicleId, end ?? null);
}

/** Put the focus where reading goes on: back in the list on the link that was followed, else on the title. */
function arrive(before) {
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

function showFleet(answer) {
  const { vehicles, meters } = answer.live;
  const nothing = vehicles + meters + answer.vehicles === 0;
  byId("empty").hidden = !nothing;
  for (const panel of byId("fleet-view").querySelectorAll(".panel:not(#empty)")) panel.hidden = nothing;
  summary.show(answer);
}

live.addEventListener("fleet", (event) => showFleet(event.detail));
live.addEventListener("vehicle", (event) => vehicle.heard(event.detail));
live.addEventListener("state", (event) => {
  const { state, before } = event.detail;
  if (state === "live" && before !== "connecting") refresh();
  if (state === "cut" || state === "unavailable") {
    summary.failed(new Error(live.detail || "the service does not answer"), () => live.now());
  }
});
setInterval(() => {
  if (view === "fleet" && live.state === "live") refreshFleet();
}, FLEET_MS);
setInterval(() => {
  if (view === "vehicle" && live.state === "live") vehicle.refresh();
}, VEHICLE_MS);
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
const example =
  '{"vehicleId":"VEH-001","soc":85,"kwhDeliveredDc":0.4,"batteryTemp":28.3,"timestamp":"\'$(date -u +%FT%TZ)\'"}';
write(byId("empty-command"), `curl -d '${example}' ${location.origin}/v1/ingestion/vehicle`);
door.addEventListener("refused", () => live.lock());
await door.enter();
door.addEventListener("admitted", () => live.now());
window.addEventListener("hashchange", route);
route();
live.start();
