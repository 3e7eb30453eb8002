/** Charts, drawn by Plotly in the colours of the page, each with its meaning in words. */

import { element } from "./dom.js";

const COLOURS = ["text", "quiet", "line", "surface", "in", "out", "ratio", "warm"];
const CONFIG = { displayModeBar: false, showTips: false, doubleClick: false, scrollZoom: false };
// Where an element with this id exists, Plotly leaves out the inline styles of its maps, which the page does not have and its
// content security policy would refuse. The id belongs to the version; the page's test finds a refusal.
const MAP_STYLES = "9f215cf04c5486422605d13261cb87401f4e7763b6296af81e98efbc0130da53";
const drawn = new Set();
let library = null;

/** Plotly, asked for once it is needed; after a failure it is asked for again. */
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

/** One figure. `build(colours)` gives Plotly's traces and the parts of the layout that are its own. */
export class Chart {
  #build = null;
  #facts = "";

  constructor(figure) {
    this.plot = figure.querySelector(".plot");
    this.plot.setAttribute("role", "img");
    new ResizeObserver(() => this.#resize()).observe(this.plot);
    drawn.add(this);
  }

  /** Draw, unless it would be the same picture again; `words` say what is to be seen. */
  async draw(build, words) {
    const facts = JSON.stringify(build({}));
    this.plot.setAttribute("aria-label", words);
    if (facts === this.#facts) return;
    this.#facts = facts;
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
      await Plotly.react(this.plot, traces, frame(colours, layout), CONFIG);
      document.getElementById("js-plotly-tester")?.setAttribute("aria-hidden", "true"); // it only measures texts
    } catch (error) {
      this.#facts = "";
      this.plot.classList.add("missing");
      this.plot.replaceChildren(`No picture: ${error.message}. The numbers are in the table.`);
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

/** What all charts share: no background, quiet grid, the page's font, nothing to drag. */
function frame(colours, own) {
  const axis = {
    gridcolor: colours.line,
    linecolor: colours.line,
    zeroline: false,
    fixedrange: true,
    automargin: true,
  };
  const axes = Object.keys(own).filter((name) => /^[xy]axis\d*$/.test(name));
  return {
    autosize: true,
    margin: { l: 48, r: 12, t: 8, b: 36 },
    paper_bgcolor: "rgba(0,0,0,0)",
    plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: "system-ui, sans-serif", size: 12, color: colours.quiet },
    hoverlabel: { bgcolor: colours.surface, bordercolor: colours.line, font: { color: colours.text } },
    legend: { orientation: "h", x: 0, y: 1.02, yanchor: "bottom" },
    dragmode: false,
    ...own,
    ...Object.fromEntries(axes.map((name) => [name, { ...axis, ...own[name] }])),
  };
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const chart of drawn) chart.redraw();
});
