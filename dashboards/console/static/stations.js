// One tile per station: what the camera does, the last verdict, the last picture, and the figures of the chosen range.

import { h, icon, setText } from "./dom.js";
import { age, boardName, className, integer, interval, percent, seconds, signed } from "./format.js";
import { shot } from "./overlay.js";

const STATES = {
  expected: ["Waiting", "Nothing heard of this camera yet"],
  running: ["Running", ""],
  stalled: ["No verdicts", "The camera sends, but its frames get no verdict"],
  closed: ["Ended", "The camera was closed on purpose"],
  lost: ["Camera lost", "The camera vanished"],
  silent: ["Camera silent", "Nothing heard from the camera"],
};
const TICKS = 48;
const WORTH_SAYING = 0.01;

export class StationTile {
  constructor(onOpen) {
    this.picture = h("button", { type: "button", class: "tile-picture", "aria-label": "Open the last board" });
    this.picture.addEventListener("click", () => this.frameId && onOpen(this.frameId));
    this.name = h("h2", {});
    this.product = h("span", { class: "product" });
    this.state = h("span", { class: "state" }, h("i", { "aria-hidden": "true" }), h("b", {}));
    this.verdict = h("div", { class: "verdict" });
    this.board = h("p", { class: "board" });
    this.reason = h("p", { class: "reason" });
    this.figures = h("dl", { class: "tile-figures" });
    this.drift = h("p", { class: "drift", hidden: "" });
    this.ticks = h("div", { class: "ticks", role: "img" });
    this.root = h(
      "article",
      { class: "panel tile" },
      this.picture,
      h(
        "div",
        { class: "tile-body" },
        h("header", {}, h("div", { class: "tile-name" }, this.name, this.product), this.state),
        h("div", { class: "said" }, this.verdict, h("div", { class: "said-what" }, this.board, this.reason)),
        this.figures,
        this.drift,
        this.ticks,
      ),
    );
  }

  /** Draw a station; `now` is the server's clock in ms, `row` its KPIs over the range, or null, `drifts` of its products. */
  draw(station, boards, row, drifts, now) {
    const [label, note] = STATES[station.state] ?? [station.state, ""];
    this.root.dataset.state = station.state;
    this.root.dataset.station = station.station;
    setText(this.name, station.station);
    setText(this.product, station.product);
    const heard = station.heard_at ? age((now - Date.parse(station.heard_at)) / 1000) : "";
    setText(this.state.lastChild, station.state === "running" || !heard ? label : `${label} · ${heard}`);
    this.state.title = note;
    this.drawVerdict(station, now);
    this.drawPicture(station.last);
    this.drawFigures(station, row);
    this.drawDrift(drifts.find((drift) => drift.product === station.product));
    this.drawTicks(boards);
  }

  drawVerdict(station, now) {
    const last = station.last;
    const kind = last?.verdict ?? "waiting";
    if (this.root.dataset.verdict !== kind) {
      this.root.dataset.verdict = kind;
      this.verdict.replaceChildren(icon(kind), h("strong", {}, last ? kind : "no board yet"));
    }
    if (!last) {
      setText(this.board, station.state === "expected" ? "Waiting for the first board" : "No board in the log");
      setText(this.reason, "");
      return;
    }
    setText(this.board, `Board ${boardName(last)} · ${age((now - Date.parse(last.inspected_at)) / 1000)}`);
    setText(this.reason, last.reasons[0] ?? "");
    this.reason.title = last.reasons.join("\n");
  }

  drawPicture(last) {
    if (this.frameId === last?.frame_id && this.picture.firstChild) return;
    this.frameId = last?.frame_id;
    this.picture.disabled = !last;
    this.picture.replaceChildren(
      last ? shot(last, { width: 480 }) : h("span", { class: "no-picture" }, icon("waiting"), "Waiting for the first board"),
    );
  }

  drawFigures(station, row) {
    const rate = row?.figures.defect_rate;
    const items = [
      ["Inspected", row ? integer(row.inspected) : "–", row && row.review ? `${integer(row.review)} to review` : ""],
      ["Defect rate", percent(rate?.value), rate?.n ? `${interval(rate)} · n ${integer(rate.n)}` : "no boards"],
      ["Takt", seconds(station.takt_s), station.waiting ? `${integer(station.waiting)} waiting` : "none waiting"],
    ];
    const text = JSON.stringify(items);
    if (this.figuresText === text) return;
    this.figuresText = text;
    this.figures.replaceChildren(
      ...items.map(([name, value, note]) => h("div", {}, h("dt", {}, name), h("dd", {}, value), h("dd", { class: "note" }, note))),
    );
  }

  /** How far scores moved over the range, against the week before it; said loudly where that is no accident. */
  drawDrift(drift) {
    const points = drift?.points.filter((point) => point.figure.value !== null) ?? [];
    const newest = points.at(-1)?.figure;
    this.drift.hidden = !newest;
    if (!newest) return;
    const moved = Math.abs(newest.value) >= WORTH_SAYING && newest.low * newest.high > 0;
    this.drift.dataset.tone = moved ? "bad" : "";
    const way = newest.value < 0 ? "Scores sink" : "Scores rise";
    const range = newest.low === null ? "" : ` (${signed(newest.low)} to ${signed(newest.high)})`;
    setText(this.drift, `${moved ? way : "Score drift"} ${signed(newest.value)}${range} against the week before · n ${integer(newest.n)}`);
  }

  drawTicks(boards) {
    const shown = boards.slice(0, TICKS).reverse();
    const text = shown.map((board) => board.frame_id).join();
    if (this.ticksText === text) return;
    this.ticksText = text;
    const failed = shown.filter((board) => board.verdict === "fail").length;
    this.ticks.setAttribute("aria-label", `${failed} of the last ${shown.length} boards failed`);
    this.ticks.replaceChildren(
      ...Array.from({ length: TICKS - shown.length }, () => h("i", {})),
      ...shown.map((board) =>
        h("i", {
          dataset: { verdict: board.verdict },
          title: `${boardName(board)}: ${board.verdict}${defectNames(board)}`,
        }),
      ),
    );
  }
}

export function defectNames(board) {
  const names = new Set(board.detections.filter((found) => !found.structure).map((found) => className(found.class)));
  return names.size ? ` (${[...names].join(", ")})` : "";
}
