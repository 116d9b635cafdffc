// Control charts, one a station: points in the order of their subgroups, centre and limits, signals marked and in words.

import { byId, h, svg } from "./dom.js";
import { dayMonth, integer, minuteTime, percent } from "./format.js";
import { ask } from "./net.js";

const MARGIN = { left: 52, right: 64, top: 14, bottom: 24 };
const HEIGHT = 190;
const READ_MS = 5000;
const SHARES = new Set(["defect_rate", "review_rate", "dead_rate", "first_pass_yield", "extent", "depth"]);
const NAMES = {
  defect_rate: "Defect rate", review_rate: "Review rate", dead_rate: "Unusable pictures",
  first_pass_yield: "First-pass yield", dpu: "Defects per unit",
  boards_between_fails: "Good boards between failed ones", extent: "Corroded area of sections", depth: "Depth of corrosion", depth_um: "Depth of corrosion, µm",
};

let charts = null;
let drawn = "";

const shows = (chart) => (value) => {
  if (value === null) return "–";
  if (SHARES.has(chart.metric) && !chart.chart.includes("cusum")) return percent(value);
  return value.toPrecision(3);
};
const when = (point) => `${dayMonth(new Date(point.start))}, ${minuteTime(new Date(point.start))} – ${minuteTime(new Date(point.end))}`;

async function read() {
  if (document.body.dataset.live !== "live") return;
  try {
    charts = (await ask("/v1/control-chart")).charts;
    byId("control-hint").textContent = "newest subgroups; limits from this line's own calm time";
  } catch (error) {
    byId("control-hint").textContent = `Control charts cannot be read: ${error.message}`;
    return;
  }
  draw();
}

function draw() {
  const width = byId("control").clientWidth;
  const told = `${width} ${JSON.stringify(charts)}`;
  if (!charts || told === drawn) return;
  drawn = told;
  byId("control").replaceChildren(...charts.map(figure));
}

function figure(chart) {
  const several = charts.filter((other) => other.station === chart.station && other.metric === chart.metric).length > 1;
  const title = [chart.station, several ? chart.product : null, several ? `${chart.chart} ${chart.panel}`.trim() : null];
  return h(
    "figure",
    { class: "control-chart", dataset: { station: chart.station, phase: chart.limits ? "2" : "1" } },
    h("figcaption", {}, h("b", {}, title.filter(Boolean).join(" · ")), h("span", {}, NAMES[chart.metric] ?? chart.metric), state(chart)),
    chart.points.length ? plot(chart) : h("p", { class: "empty" }, "Waiting for the first subgroup"),
    capability(chart),
    signals(chart),
  );
}

/** How well what was measured fits below the product's limit. */
function capability({ capability: found }) {
  if (!found) return null;
  const said = ({ value, low, high }) => `${value.toFixed(2)} (${low.toFixed(2)} to ${high.toFixed(2)})`;
  return h(
    "p",
    { class: "control-capability", title: "Cpk: spread within subgroups; Ppk: spread over all; 95 % intervals" },
    `Cpk ${said(found.cpk)}, Ppk ${said(found.ppk)}; at most ${percent(found.limit)}, n ${integer(found.n)}`,
  );
}

function state(chart) {
  if (!chart.limits) return h("em", { class: "learning" }, `no limits yet: ${chart.collected} of ${chart.wanted} subgroups`);
  const newest = chart.points.at(-1);
  return newest.signals.length ? h("em", { class: "signal" }, "signal") : h("em", { class: "in-control" }, "in control");
}

/** The newest signals as sentences: which subgroup, what was seen, which pattern. */
function signals(chart) {
  const show = shows(chart);
  const found = chart.points.filter((point) => point.signals.length).slice(-3).reverse();
  if (!found.length) return null;
  return h(
    "ul",
    { class: "control-signals" },
    found.map((point) =>
      h("li", {}, h("b", {}, show(point.value)), ` ${when(point)}, n ${integer(point.n)}: ${point.signals.join("; ")}`),
    ),
  );
}

function plot(chart) {
  const { points } = chart;
  const show = shows(chart);
  const width = Math.max(byId("control").querySelector("figure")?.clientWidth ?? byId("control").clientWidth / Math.min(charts.length, 2), 260);
  const levels = points.flatMap((point) => [point.value, point.centre, point.lower, point.upper]).filter((value) => value !== null);
  const least = Math.min(...levels);
  const most = Math.max(...levels);
  const room = (most - least || Math.abs(most) || 1) * 0.12;
  const low = least >= 0 ? Math.max(0, least - room) : least - room;
  const x = (index) => MARGIN.left + ((index + 0.5) / Math.max(points.length, 10)) * (width - MARGIN.left - MARGIN.right);
  const y = (value) => MARGIN.top + (1 - (value - low) / (most + room - low)) * (HEIGHT - MARGIN.top - MARGIN.bottom);
  const label = `${NAMES[chart.metric] ?? chart.metric} of ${chart.station}: ${points.length} subgroups`;
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${HEIGHT}`, width, height: HEIGHT, role: "img", "aria-label": label });
  const learnt = points.filter((point) => point.phase === 1).length;
  if (learnt && learnt < points.length) drawing.append(divide(points, x));
  const runs = neighbours(points);
  drawing.append(
    ...runs.flatMap((run) => ["upper", "centre", "lower"].map((level) => stairs(run, level, points, x, y))),
    ...runs.map((run) => line(run, points, x, y)),
  );
  points.forEach((point, index) => drawing.append(mark(point, x(index), y, show)));
  drawing.append(...axis(points, x), ...scale(least, most, y, show), ...edge(points, width, y, show));
  return drawing;
}

/** Runs of points that belong together: of one phase, one baseline, each with a value. */
function neighbours(points) {
  const runs = [];
  let before = null;
  points.forEach((point, index) => {
    if (point.value === null) before = null;
    else if (before && before.phase === point.phase && before.baseline_id === point.baseline_id) runs.at(-1).push(index);
    else runs.push([index]);
    if (point.value !== null) before = point;
  });
  return runs;
}

/** Limits are steps: each subgroup has its own. */
function stairs(run, level, points, x, y) {
  const half = (x(1) - x(0)) / 2;
  const steps = run.filter((index) => points[index][level] !== null);
  const path = steps.map((index, at) => `${at ? "L" : "M"}${x(index) - half} ${y(points[index][level])}H${x(index) + half}`).join("");
  return svg("path", { class: level === "centre" ? "control-centre" : "control-limit", d: path || "M0 0" });
}

const line = (run, points, x, y) =>
  svg("path", { class: `control-line phase-${points[run[0]].phase}`, d: `M${run.map((index) => `${x(index)} ${y(points[index].value)}`).join("L")}` });

function mark(point, left, y, show) {
  if (point.value === null) return svg("g", {});
  const title = `${when(point)}: ${show(point.value)}, n ${point.n}${point.phase === 1 ? ", learning" : ""}${point.signals.length ? `. ${point.signals.join("; ")}` : ""}`;
  const top = y(point.value);
  const shape = point.signals.length
    ? svg("path", { class: "control-point signal", d: `M${left} ${top - 7}L${left + 7} ${top}L${left} ${top + 7}L${left - 7} ${top}Z` })
    : svg("circle", { class: `control-point phase-${point.phase}`, cx: left, cy: top, r: 3.5 });
  shape.append(svg("title", {}, title));
  return shape;
}

/** Where learning ends and judging begins. */
function divide(points, x) {
  const first = points.findIndex((point) => point.phase === 2);
  const at = (x(Math.max(first, 1) - 1) + x(Math.max(first, 1))) / 2;
  const group = svg("g", { class: "control-phases" });
  group.append(
    svg("line", { x1: at, x2: at, y1: 4, y2: HEIGHT - MARGIN.bottom }),
    svg("text", { class: "axis", x: at - 5, y: 12, "text-anchor": "end" }, "phase I"),
    svg("text", { class: "axis", x: at + 5, y: 12 }, "phase II"),
  );
  return group;
}

function axis(points, x) {
  const ends = points.length > 1 ? [0, points.length - 1] : [0];
  return ends.map((index, at) =>
    svg(
      "text",
      { class: "axis", x: x(index), y: HEIGHT - 7, "text-anchor": at ? "end" : "start" },
      `${dayMonth(new Date(points[index].start))}, ${minuteTime(new Date(points[index].start))}`,
    ),
  );
}

/** The least and the greatest level, beside the plot. */
const scale = (least, most, y, show) =>
  [...new Set([least, most])].map((value) => svg("text", { class: "axis", x: MARGIN.left - 6, y: y(value) + 4, "text-anchor": "end" }, show(value)));

/** Limits of the newest subgroup, written beside their lines; too close ones give way to the centre. */
function edge(points, width, y, show) {
  const newest = points.findLast((point) => point.centre !== null);
  if (!newest) return [];
  const placed = [];
  return ["centre", "upper", "lower"].flatMap((level) => {
    const top = y(newest[level]) + 4;
    if (placed.some((other) => Math.abs(other - top) < 11)) return [];
    placed.push(top);
    return [svg("text", { class: "axis", x: width - MARGIN.right + 6, y: top }, show(newest[level]))];
  });
}

new ResizeObserver(draw).observe(byId("control"));
new MutationObserver(read).observe(document.body, { attributeFilter: ["data-live"] });
setInterval(read, READ_MS);
