// The defect rate of each station over time: a line with its points, and the 95 % interval as a band.

import { byId, h, svg } from "./dom.js";
import { dayMonth, integer, interval, minuteTime, percent } from "./format.js";

const MARGIN = { left: 46, right: 22, top: 12, bottom: 26 };
const COLOURS = 6;
const LEAST_MS = 15 * 60000;
const NICE = [0.004, 0.008, 0.02, 0.04, 0.08, 0.12, 0.2, 0.28, 0.4, 0.6, 0.8, 1]; // a quarter of each reads well
const TIME_STEPS = [60, 300, 600, 900, 1800, 3600, 7200, 10800, 14400, 21600, 43200, 86400, 172800, 604800];

export class Chart {
  constructor() {
    this.box = byId("chart");
    this.tip = h("div", { class: "tip", role: "status", hidden: true });
    this.box.append(h("p", { class: "empty" }, "Waiting for the first window"));
    new ResizeObserver(() => this.render()).observe(this.box);
    this.box.tabIndex = 0;
    this.box.setAttribute("aria-label", "Defect rate chart; arrow keys step through the windows");
    this.box.addEventListener("pointermove", (event) => this.point(event.clientX - this.box.getBoundingClientRect().left));
    this.box.addEventListener("pointerleave", () => this.point(null));
    this.box.addEventListener("blur", () => this.point(null));
    this.box.addEventListener("keydown", (event) => this.step(event));
  }

  /** `kpis` is the answer of /v1/kpis; `names` are the stations in their order. */
  draw(kpis, names) {
    this.kpis = kpis;
    this.names = names;
    this.render();
  }

  render() {
    const { kpis, names } = this;
    if (!kpis) return;
    byId("chart-legend").replaceChildren(
      ...names.map((name, index) => h("span", { class: `series-${index % COLOURS}` }, h("i", { "aria-hidden": "true" }), name)),
    );
    const rows = kpis.rows.filter((row) => row.figures.defect_rate.n > 0);
    if (!rows.length) {
      this.times = [];
      this.box.replaceChildren(h("p", { class: "empty" }, "No boards were inspected in this range"));
      return;
    }
    const width = Math.max(this.box.clientWidth, 240);
    const height = Math.max(this.box.clientHeight, 150);
    const step = kpis.step_s * 1000;
    const until = Math.ceil(Date.parse(kpis.until) / step) * step; // the step that is still filling is drawn whole
    const since = Math.max(Date.parse(kpis.since), Math.min(Date.parse(rows[0].step), until - LEAST_MS)); // a young line fills it
    const x = (time) => MARGIN.left + ((time - since) / (until - since)) * (width - MARGIN.left - MARGIN.right);
    const top = NICE.find((limit) => limit >= Math.min(1, Math.max(...rows.map(({ figures }) => ceiling(figures.defect_rate))))) ?? 1;
    const y = (value) => MARGIN.top + (1 - Math.min(value, top) / top) * (height - MARGIN.top - MARGIN.bottom);
    const plot = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": "Defect rate per station" });
    plot.append(grid(width, height, top, y), ticks(since, until, x, height));
    this.cursor = svg("line", { class: "cursor", y1: MARGIN.top, y2: height - MARGIN.bottom, visibility: "hidden" });
    names.forEach((name, index) => {
      const own = rows.filter((row) => row.station === name);
      plot.append(series(own, index, step, x, y));
    });
    plot.append(this.cursor);
    this.x = x;
    this.half = kpis.step_s * 500;
    this.times = [...new Set(rows.map((row) => Date.parse(row.step)))].sort((a, b) => a - b);
    this.box.replaceChildren(plot, this.tip);
    if (this.at !== undefined) this.show(this.at);
  }

  step(event) {
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (!move || !this.times?.length) return;
    event.preventDefault();
    const index = this.times.indexOf(this.at);
    const next = index < 0 ? this.times.length - 1 : Math.min(Math.max(index + move, 0), this.times.length - 1);
    this.show(this.times[next]);
  }

  point(left) {
    if (left === null || !this.times?.length) return this.show(undefined);
    const nearest = this.times.reduce((best, time) =>
      Math.abs(this.x(time + this.half) - left) < Math.abs(this.x(best + this.half) - left) ? time : best,
    );
    return this.show(nearest);
  }

  show(time) {
    this.at = this.times?.includes(time) ? time : undefined;
    this.tip.hidden = this.at === undefined;
    this.cursor?.setAttribute("visibility", this.at === undefined ? "hidden" : "visible");
    if (this.at === undefined) return;
    const left = this.x(time + this.half);
    this.cursor.setAttribute("x1", left);
    this.cursor.setAttribute("x2", left);
    const rows = this.kpis.rows.filter((row) => Date.parse(row.step) === time && row.figures.defect_rate.n > 0);
    const end = new Date(time + this.kpis.step_s * 1000);
    this.tip.replaceChildren(
      h("b", {}, `${minuteTime(new Date(time))} – ${minuteTime(end)}${rows.some((row) => row.state === "open") ? " · still filling" : ""}`),
      ...rows.map((row) => {
        const rate = row.figures.defect_rate;
        return h(
          "span",
          { class: `series-${this.names.indexOf(row.station) % COLOURS}` },
          h("i", { "aria-hidden": "true" }),
          `${row.station} ${percent(rate.value)}`,
          h("small", {}, `${interval(rate)} · n ${integer(rate.n)}`),
        );
      }),
    );
    const flip = left > this.box.clientWidth * 0.6;
    this.tip.style.left = flip ? "auto" : `${left + 12}px`;
    this.tip.style.right = flip ? `${this.box.clientWidth - left + 12}px` : "auto";
  }
}

/** The scale follows the rates; the interval of a few boards does not press them flat. */
const ceiling = (rate) => Math.min(rate.high, rate.value * 1.5 + 0.05);

function grid(width, height, top, y) {
  const lines = [0, 0.25, 0.5, 0.75, 1].map((share) => {
    const value = share * top;
    return svg(
      "g",
      {},
      svg("line", { class: "grid", x1: MARGIN.left, x2: width - MARGIN.right, y1: y(value), y2: y(value) }),
      svg("text", { class: "axis", x: MARGIN.left - 8, y: y(value) + 4, "text-anchor": "end" }, `${+(value * 100).toFixed(2)}\u202f%`),
    );
  });
  return svg("g", {}, ...lines);
}

function ticks(since, until, x, height) {
  const room = (x(until) - x(since)) / 72;
  const step = (TIME_STEPS.find((s) => (until - since) / 1000 / s <= room) ?? 604800) * 1000;
  const zone = new Date(since).getTimezoneOffset() * 60000;
  const group = svg("g", {});
  for (let time = Math.ceil((since - zone) / step) * step + zone; time <= until; time += step) {
    const date = new Date(time);
    const text = date.getHours() + date.getMinutes() === 0 ? dayMonth(date) : minuteTime(date);
    group.append(
      svg("line", { class: "tick", x1: x(time), x2: x(time), y1: height - MARGIN.bottom, y2: height - MARGIN.bottom + 4 }),
      svg("text", { class: "axis", x: x(time), y: height - 8, "text-anchor": "middle" }, text),
    );
  }
  return group;
}

/** One station: runs of neighbouring windows; where windows are missing, the line is broken. */
function series(rows, index, step, x, y) {
  const runs = [];
  for (const row of rows) {
    const time = Date.parse(row.step);
    const run = runs.at(-1);
    if (run && time - Date.parse(run.at(-1).step) <= step * 1.5) run.push(row);
    else runs.push([row]);
  }
  const group = svg("g", { class: `series-${index % COLOURS}` });
  const at = (row) => x(Date.parse(row.step) + step / 2);
  for (const run of runs) {
    const rates = run.map((row) => row.figures.defect_rate);
    const upper = run.map((row, i) => `${at(row)} ${y(rates[i].high)}`);
    const lower = run.map((row, i) => `${at(row)} ${y(rates[i].low)}`).reverse();
    if (run.length > 1) {
      group.append(svg("path", { class: "band", d: `M${[...upper, ...lower].join("L")}Z` }));
      group.append(svg("path", { class: "rate", d: `M${run.map((row, i) => `${at(row)} ${y(rates[i].value)}`).join("L")}` }));
    } else {
      group.append(svg("path", { class: "whisker", d: `M${upper[0]}L${lower[0]}` }));
    }
    run.forEach((row, i) =>
      group.append(svg("circle", { class: row.state === "open" ? "dot open" : "dot", cx: at(row), cy: y(rates[i].value), r: 3 })),
    );
  }
  return group;
}
