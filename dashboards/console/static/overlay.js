// A picture with its defects outlined: the image below, crisp SVG paths in frame pixels above.

import { h, svg } from "./dom.js";
import { ask } from "./net.js";
import { className } from "./format.js";

const KEEP = 400;
const asked = new Map();

/** The outlines of a frame; asked for once. */
export function outlinesOf(frameId) {
  let answer = asked.get(frameId);
  if (!answer) {
    answer = ask(`/v1/frames/${frameId}/outlines`);
    answer.catch(() => asked.delete(frameId));
    asked.set(frameId, answer);
    if (asked.size > KEEP) asked.delete(asked.keys().next().value);
  }
  return answer;
}

function bounds(outline) {
  const points = outline.polygons.flat();
  const xs = points.map(([x]) => x);
  const ys = points.map(([, y]) => y);
  return { x0: Math.min(...xs), y0: Math.min(...ys), x1: Math.max(...xs), y1: Math.max(...ys) };
}

/** Draw outlines into a layer. `rings`: a circle around each defect too, so that small ones are seen on small pictures. */
export function drawOutlines(layer, drawn, { rings = false } = {}) {
  layer.setAttribute("viewBox", `0 0 ${drawn.width} ${drawn.height}`);
  layer.replaceChildren();
  for (const outline of drawn.outlines) {
    if (!outline.path) continue;
    const kind = outline.structure ? "structure" : "defect";
    const title = svg("title", {}, `${className(outline.class)} ${outline.score.toFixed(2)}`);
    if (rings && !outline.structure) {
      const { x0, y0, x1, y1 } = bounds(outline);
      const least = Math.max(drawn.width, drawn.height) * 0.04;
      const r = Math.max(Math.hypot(x1 - x0, y1 - y0) / 2 + least * 0.4, least);
      layer.append(svg("circle", { class: "ring", cx: (x0 + x1) / 2, cy: (y0 + y1) / 2, r }));
    }
    layer.append(svg("path", { class: `outline-under ${kind}`, d: outline.path }));
    layer.append(svg("path", { class: `outline ${kind}`, d: outline.path }, title));
  }
}

/** A small picture of a board with its outlines. All of it is seen, whatever its shape: a defect may lie at the edge. */
export function shot(board, { width, lazy = false }) {
  const figure = h("figure", { class: "shot" });
  if (!board.has_picture) {
    figure.append(h("span", { class: "no-picture" }, board.verdict === "dead" ? "no picture: unreadable" : "no picture"));
    return figure;
  }
  const image = h("img", {
    src: `/v1/frames/${board.frame_id}/thumbnail.jpg?w=${width}`,
    alt: `Picture of board ${board.serial ?? board.seq} at ${board.station}`,
    loading: lazy ? "lazy" : "eager",
    decoding: "async",
    draggable: "false",
  });
  image.addEventListener("error", () => {
    figure.replaceChildren(h("span", { class: "no-picture" }, "picture no longer in the log"));
  });
  figure.append(image);
  if (board.detections.length) {
    const layer = svg("svg", { class: "overlay", preserveAspectRatio: "xMidYMid meet", "aria-hidden": "true" });
    figure.append(layer);
    outlinesOf(board.frame_id).then((drawn) => drawOutlines(layer, drawn, { rings: true }), () => {});
  }
  return figure;
}
