/** Charts drawn by Plotly in the colours of the page, each with a description for screen readers. */

import { element } from "./dom.js";

const COLOURS = ["text", "quiet", "line", "surface", "in", "out", "ratio", "warm"];
const CONFIG = { displayModeBar: false, showTips: false, doubleClick: false, scrollZoom: false };
// While an element with this id exists, Plotly does not add the inline styles of its maps, which the page does not use and its
// content security policy forbids. The id depends on the version of Plotly; the test of the page detects a violation.
const MAP_STYLES = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";
const charts = new Set();
let library = null;

/** Loads Plotly on first use, and again after a failure. */
function plotly() {
  library ??= new Promise((resolve, reject) => {
    const script = element("script", { src: "assets/plotly.min.js" });
    script.addEventListener("load", () => resolve(window.Plotly));
    script.addEventListener("error", () => {
      script.remove();
      library = null;
      reject(new Error("the chart library could not be loaded"));
    });
    document.head.append(element("meta", { id: MAP_STYLES }), script);
  });
  return library;
}

/** The chart of one figure. `build(colours)` returns Plotly's traces and the layout that is specific to the chart. */
export class Chart {
  #build = null;
  #drawnData = "";

  constructor(figure) {
    this.plot = figure.querySelector(".plot");
    this.plot.setAttribute("role", "img");
    new ResizeObserver(() => this.#resize()).observe(this.plot);
    charts.add(this);
  }

  /** Draws the chart unless its data is unchanged; `description` is its text for screen readers. */
  async draw(build, description) {
    const data = JSON.stringify(build({}));
    this.plot.setAttribute("aria-label", description);
    if (data === this.#drawnData) return;
    this.#drawnData = data;
    this.#build = build;
    await this.redraw();
  }

  async redraw() {
    if (!this.#build) return;
    try {
      const Plotly = await plotly();
      if (this.plot.classList.contains("missing")) this.plot.replaceChildren();
      this.plot.classList.remove("missing");
      const colours = theme();
      const { traces, layout } = this.#build(colours);
      await Plotly.react(this.plot, traces, withDefaults(colours, layout), CONFIG);
      document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // Plotly only measures text with it
    } catch (error) {
      this.#drawnData = "";
      this.plot.classList.add("missing");
      this.plot.replaceChildren(`No chart: ${error.message}. The table has the numbers.`);
    }
  }

  #resize() {
    const ready = this.#build && this.plot.offsetWidth > 0 && this.plot.classList.contains("js-plotly-plot");
    if (ready) window.Plotly.Plots.resize(this.plot);
  }
}

function theme() {
  const style = getComputedStyle(document.documentElement);
  return Object.fromEntries(COLOURS.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
}

/** The layout that all charts share: no background, a subtle grid, the font of the page, no dragging. */
function withDefaults(colours, layout) {
  const axis = {
    gridcolor: colours.line,
    linecolor: colours.line,
    zeroline: false,
    fixedrange: true,
    automargin: true,
  };
  const axes = Object.keys(layout).filter((name) => /^[xy]axis\d*$/.test(name));
  return {
    autosize: true,
    margin: { l: 48, r: 12, t: 8, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: colours.quiet },
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.line, font: { color: colours.text } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    dragmode: false,
    ...layout,
    ...Object.fromEntries(axes.map((name) => [name, { ...axis, ...layout[name] }])),
  };
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of charts) chart.redraw();
});
