// Defects by class, the most frequent first, with their cumulative share.

import { byId, h } from "./dom.js";
import { className, integer, percent } from "./format.js";

export function drawPareto(line) {
  const classes = Object.entries(line?.defects ?? {})
    .filter(([, count]) => count > 0)
    .sort(([a, m], [b, n]) => n - m || a.localeCompare(b));
  const total = classes.reduce((sum, [, count]) => sum + count, 0);
  byId("pareto-hint").textContent = total ? `${integer(total)} defects on ${integer(line.inspected)} boards` : "";
  if (!total) {
    byId("pareto").replaceChildren(h("p", { class: "empty" }, line ? "No defects in this range" : "Waiting for the first window"));
    return;
  }
  let sum = 0;
  const bars = classes.map(([name, count]) => {
    sum += count;
    const bar = h("i", { "aria-hidden": "true" });
    bar.style.width = `${(100 * count) / classes[0][1]}%`;
    return h(
      "li",
      { title: `${className(name)}: ${count} of ${total}; with the more frequent ones ${percent(sum / total)}` },
      h("span", { class: "pareto-name" }, className(name)),
      h("span", { class: "pareto-bar" }, bar),
      h("b", {}, integer(count)),
      h("small", {}, `${Math.round((100 * sum) / total)}\u202f%`),
    );
  });
  byId("pareto").replaceChildren(h("ol", { class: "pareto" }, ...bars));
}
