// Defects by class, the most frequent first, with their cumulative share.

import { byId, h } from "./dom.js";
import { className, integer, percent } from "./format.js";

export function drawPareto(kpis) {
  const line = kpis?.line ?? null;
  const classes = kpis?.pareto ?? [];
  const total = classes.reduce((sum, { count }) => sum + count, 0);
  byId("pareto-hint").textContent = total ? `${integer(total)} defects on ${integer(line.inspected)} boards` : "";
  if (!total) {
    byId("pareto").replaceChildren(h("p", { class: "empty" }, line ? "No defects in this range" : "Waiting for the first window"));
    return;
  }
  const bars = classes.map(({ class: name, count, cumulative }) => {
    const bar = h("i", { "aria-hidden": "true" });
    bar.style.width = `${(100 * count) / classes[0].count}%`;
    return h(
      "li",
      { title: `${className(name)}: ${count} of ${total}; with the more frequent ones ${percent(cumulative)}` },
      h("span", { class: "pareto-name" }, className(name)),
      h("span", { class: "pareto-bar" }, bar),
      h("b", {}, integer(count)),
      h("small", {}, `${Math.round(100 * cumulative)}\u202f%`),
    );
  });
  byId("pareto").replaceChildren(h("ol", { class: "pareto" }, ...bars));
}
