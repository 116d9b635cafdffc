// One board in full: the picture large, what was found, why, how long it took, and every hash that proves it.

import { byId, h, icon, setText, svg } from "./dom.js";
import { ask } from "./net.js";
import { boardName, className, fullTime, integer, percent, shortHash } from "./format.js";
import { drawOutlines, outlinesOf } from "./overlay.js";
import { reviewPart } from "./review.js";

const ZOOM_PAD = 2.4;

export class Detail {
  constructor(neighbours) {
    this.dialog = byId("detail");
    this.neighbours = neighbours;
    this.outlined = true;
    this.dialog.addEventListener("click", (event) => event.target === this.dialog && this.dialog.close());
    this.dialog.addEventListener("close", () => {
      if (location.hash === `#frame=${this.frameId}`) history.replaceState(null, "", location.pathname);
    });
    this.dialog.addEventListener("keydown", (event) => this.key(event));
    addEventListener("hashchange", () => this.fromHash());
  }

  fromHash() {
    const [, frameId] = /^#frame=([0-9a-f]{32})$/.exec(location.hash) ?? [];
    if (frameId) this.open(frameId);
  }

  async open(frameId) {
    this.frameId = frameId;
    history.replaceState(null, "", `#frame=${frameId}`);
    if (!this.dialog.open) {
      this.dialog.replaceChildren(h("p", { class: "empty" }, "Loading the board"));
      this.dialog.showModal();
    }
    try {
      const board = await ask(`/v1/results/${frameId}`);
      if (this.frameId === frameId) this.draw(board);
    } catch (error) {
      this.dialog.replaceChildren(h("p", { class: "empty" }, error.message), closeButton(this.dialog));
    }
  }

  key(event) {
    if (event.target.matches("input")) return;
    if (event.key === "o") this.toggleOutlines();
    const move = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
    if (move) this.walk(move);
  }

  /** To the newer (-1) or older (+1) board of the strip. */
  walk(move) {
    const shown = this.neighbours();
    const index = shown.indexOf(this.frameId);
    const next = shown[index + move];
    if (index >= 0 && next) this.open(next);
  }

  toggleOutlines() {
    this.outlined = !this.outlined;
    this.stage?.classList.toggle("plain", !this.outlined);
    this.switch?.setAttribute("aria-pressed", String(this.outlined));
  }

  draw(board) {
    this.zoomed = null;
    this.dialog.replaceChildren(
      h(
        "header",
        { class: "detail-head", dataset: { verdict: board.verdict } },
        h("span", { class: "detail-verdict" }, icon(board.verdict), board.verdict),
        h("h2", { id: "detail-title" }, `Board ${boardName(board)}`),
        h("p", {}, `${board.station} · ${board.product}${board.lot ? ` · lot ${board.lot}` : ""} · ${fullTime(new Date(board.event_at))}`),
        h("button", { type: "button", class: "ghost", "aria-label": "Newer board", onclick: () => this.walk(-1) }, "←"),
        h("button", { type: "button", class: "ghost", "aria-label": "Older board", onclick: () => this.walk(1) }, "→"),
        closeButton(this.dialog),
      ),
      h("div", { class: "detail-body" }, this.drawStage(board), h("div", { class: "facts" }, ...facts(board, (found) => this.zoom(found)))),
    );
    this.dialog.querySelector(".close").focus();
  }

  drawStage(board) {
    if (!board.has_picture) return h("div", { class: "stage" }, h("span", { class: "no-picture" }, "This frame has no picture in the log"));
    const picture = `/v1/frames/${board.frame_id}/picture`;
    const image = h("img", { src: picture, alt: `Board ${boardName(board)} as captured`, draggable: "false" });
    image.addEventListener("load", () => this.sheet.style.setProperty("--aspect", image.naturalWidth / image.naturalHeight));
    image.addEventListener(
      "error",
      () => {
        image.src = `/v1/frames/${board.frame_id}/thumbnail.jpg?w=1600`;
      },
      { once: true },
    );
    this.layer = svg("svg", { class: "overlay", preserveAspectRatio: "none", "aria-hidden": "true" });
    this.sheet = h("div", { class: "sheet" }, image, this.layer);
    this.frame = h("div", { class: "stage-frame" }, this.sheet);
    if (board.detections.length) outlinesOf(board.frame_id).then((drawn) => drawOutlines(this.layer, drawn), () => {});
    this.switch = h("button", { type: "button", class: "ghost", "aria-pressed": String(this.outlined), onclick: () => this.toggleOutlines() }, "Outlines");
    this.stage = h(
      "div",
      { class: this.outlined ? "stage" : "stage plain" },
      this.frame,
      h(
        "div",
        { class: "stage-tools" },
        this.switch,
        h("button", { type: "button", class: "ghost", onclick: () => this.zoom(null) }, "Whole board"),
        h("a", { class: "ghost", href: picture, target: "_blank", rel: "noopener" }, "As captured"),
      ),
    );
    return this.stage;
  }

  /** Bring one detection close; null shows the whole board. */
  zoom(found) {
    const image = this.sheet?.querySelector("img");
    if (!image?.naturalWidth) return;
    this.zoomed = found && this.zoomed !== found ? found : null;
    for (const row of this.dialog.querySelectorAll("tr[data-index]")) {
      row.setAttribute("aria-selected", String(Boolean(this.zoomed) && this.zoomed.row === row));
    }
    this.sheet.classList.toggle("close-up", Boolean(this.zoomed));
    if (!this.zoomed) {
      this.sheet.style.transform = "";
      this.sheet.style.setProperty("--zoom", 1);
      return;
    }
    const [width, height] = this.layer.getAttribute("viewBox").split(" ").slice(2).map(Number);
    const [x0, y0, x1, y1] = this.zoomed.box_px;
    const wanted = Math.max(x1 - x0, y1 - y0, Math.min(width, height) / 14) * ZOOM_PAD;
    const scale = Math.max(1, Math.min(width, height) / wanted);
    const shift = (share) => Math.min(0, Math.max(1 - scale, 0.5 - share * scale)) * 100;
    this.sheet.style.setProperty("--zoom", scale);
    this.sheet.style.transform = `translate(${shift((x0 + x1) / 2 / width)}%, ${shift((y0 + y1) / 2 / height)}%) scale(${scale})`;
  }
}

const closeButton = (dialog) =>
  h("button", { type: "button", class: "ghost close", "aria-label": "Close", onclick: () => dialog.close() }, "✕");

function copyButton(name, text) {
  const button = h("button", { type: "button", class: "copy", "aria-label": `Copy ${name}` }, "copy");
  button.addEventListener("click", async () => {
    await navigator.clipboard?.writeText(text).then(() => setText(button, "copied"), () => setText(button, text));
  });
  return button;
}

function facts(board, zoom) {
  const defects = board.detections.filter((found) => !found.structure);
  return [
    reviewPart(board),
    board.reasons.length ? part("Why", h("ul", { class: "reasons" }, ...board.reasons.map((reason) => h("li", {}, reason)))) : null,
    part(defects.length ? `Defects (${defects.length})` : "Defects", defects.length ? detections(defects, zoom) : h("p", { class: "quiet" }, "None found")),
    board.layers.length ? part("Layers", layers(board.layers)) : null,
    Object.keys(board.timings_us).length ? part("Time taken", timings(board.timings_us)) : null,
    part("Evidence", evidence(board)),
  ];
}

const part = (title, ...content) => h("section", { class: "part" }, h("h3", {}, title), ...content);

function detections(found, zoom) {
  const rows = found.map((one, index) => {
    const row = h(
      "tr",
      { tabindex: "0", dataset: { index }, "aria-selected": "false", title: "Show it close up" },
      h("td", {}, className(one.class)),
      h("td", { class: "number" }, one.score.toFixed(2)),
      h("td", { class: "number" }, `${integer(one.area_um2)}\u202fµm²`),
      h("td", { class: "number" }, `${Math.round(one.box_px[0])}, ${Math.round(one.box_px[1])}`),
    );
    one.row = row;
    row.addEventListener("click", () => zoom(one));
    row.addEventListener("keydown", (event) => {
      if (event.key === "Enter" || event.key === " ") {
        event.preventDefault();
        zoom(one);
      }
    });
    return row;
  });
  return table(["Class", "Score", "Area", "At px"], rows);
}

const table = (heads, rows) =>
  h(
    "div",
    { class: "scroll" },
    h("table", {}, h("thead", {}, h("tr", {}, ...heads.map((head, i) => h("th", { scope: "col", class: i ? "number" : null }, head)))), h("tbody", {}, ...rows)),
  );

const layers = (profiles) =>
  table(
    ["Layer", "Corroded", "Deepest", "Left", "Sites"],
    profiles.map((layer) =>
      h(
        "tr",
        {},
        h("td", {}, layer.layer, layer.surface ? h("b", { class: "surface" }, " surface") : ""),
        h("td", { class: "number" }, percent(layer.corroded_area_share)),
        h("td", { class: "number" }, `${layer.deepest_um.toFixed(1)} of ${layer.thickness_um.toFixed(0)}\u202fµm`),
        h("td", { class: "number" }, `${layer.residual_um.toFixed(1)}\u202fµm`),
        h("td", { class: "number" }, String(layer.sites)),
      ),
    ),
  );

function timings(stages) {
  const longest = Math.max(...Object.values(stages), 1);
  return h(
    "ol",
    { class: "pareto timings" },
    ...Object.entries(stages).map(([stage, us]) => {
      const bar = h("i", { "aria-hidden": "true" });
      bar.style.width = `${(100 * us) / longest}%`;
      return h("li", {}, h("span", { class: "pareto-name" }, className(stage)), h("span", { class: "pareto-bar" }, bar), h("b", {}, `${(us / 1000).toFixed(1)}\u202fms`));
    }),
  );
}

function evidence(board) {
  const place = (at) => (at ? `${at.topic} · partition ${at.partition} · offset ${integer(at.offset)}` : "–");
  const model = board.model;
  const facts = [
    ["Frame", board.frame_id, board.frame_id],
    ["Session", `${board.session} · seq ${board.seq} · visit ${board.visit}`],
    ["Picture SHA-256", shortHash(board.sha256), board.sha256],
    ["Picture in the log", place(board.frame_place)],
    ["Result in the log", place(board.result_place)],
    ["Model", model ? `${model.name} · ${model.engine} ${model.precision} on ${model.device}` : "–"],
    ["Weights", shortHash(model?.weights_sha256), model?.weights_sha256],
    ["Settings", shortHash(board.config_sha256), board.config_sha256],
    ["Golden template", shortHash(board.template_sha256), board.template_sha256],
    ["Registration", board.registration ? board.registration.quality.toFixed(3) : "–"],
    ["Taken", fullTime(new Date(board.taken_at))],
    ["Inspected", `${fullTime(new Date(board.inspected_at))} · ${integer(board.latency_ms)}\u202fms after it came in`],
  ];
  return h("dl", { class: "evidence" }, ...facts.flatMap(([name, text, whole]) => [h("dt", {}, name), h("dd", { title: whole ?? null }, text, whole ? copyButton(name, whole) : "")]));
}
