// The whole line in six figures, each with what it rests on.

import { byId, h } from "./dom.js";
import { integer, interval, percent, seconds } from "./format.js";

const figure = (name, value, note) => h("div", { class: "figure" }, h("span", {}, name), h("strong", {}, value), h("em", {}, note));

export function drawFigures(line, rangeName) {
  const value = (name) => line?.figures[name];
  const rate = value("defect_rate");
  const first = value("first_pass_yield");
  const dpmo = value("dpmo");
  const latency = value("latency_p95_s");
  const unknown = line ? line.missing + line.dead + line.skipped : 0;
  byId("figures").replaceChildren(
    figure("Boards inspected", line ? integer(line.inspected) : "–", line ? `in the last ${rangeName}` : "nothing in this range"),
    figure("Defect rate", percent(rate?.value), rate?.n ? `${interval(rate)} · n ${integer(rate.n)}` : "no boards"),
    figure("First-pass yield", percent(first?.value), first?.n ? `${interval(first)} · n ${integer(first.n)}` : "no boards"),
    figure("DPMO", dpmo && dpmo.value !== null ? integer(dpmo.value) : "–", line ? `${integer(line.opportunities)} opportunities` : ""),
    figure("Picture to verdict, p95", seconds(latency?.value ?? null), latency?.n ? `n ${integer(latency.n)}` : ""),
    figure(
      "Without verdict",
      line ? integer(unknown) : "–",
      line ? (unknown ? `${line.missing} missing · ${line.dead} unreadable · ${line.skipped} skipped` : "none missing, none unreadable") : "",
    ),
  );
  byId("figures").lastChild.dataset.tone = unknown ? "bad" : "";
}
