// Elements without a framework: h("p", {class: "x", onclick: f}, "text", child) and svg("path", {d: "..."}).

const SVG = "http://www.w3.org/2000/svg";

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export const h = (tag, attributes, ...children) => fill(document.createElement(tag), attributes, children);
export const svg = (tag, attributes, ...children) => fill(document.createElementNS(SVG, tag), attributes, children);
export const byId = (id) => document.getElementById(id);

/** Set text only where it differs, so that screen readers and selections are left in peace. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

const SHAPES = {
  pass: ["circle", "M7.5 12.4l3 3 6-6.4"],
  fail: ["octagon", "M8.8 8.8l6.4 6.4M15.2 8.8l-6.4 6.4"],
  review: ["triangle", "M12 10v4.2M12 16.9v.2"],
  skipped: ["circle", "M8 12h8"],
  dead: ["octagon", "M8 12h8"],
  critical: ["octagon", "M12 7.6v5.4M12 16.2v.2"],
  warning: ["triangle", "M12 10v4.2M12 16.9v.2"],
  info: ["circle", "M12 11v5.4M12 7.8v.2"],
  waiting: ["circle", "M12 7.5v5l3 2"],
};
const OUTLINES = {
  circle: "M12 2.5a9.5 9.5 0 1 0 0 19a9.5 9.5 0 1 0 0-19z",
  octagon: "M8 2.5h8L21.5 8v8L16 21.5H8L2.5 16V8z",
  triangle: "M12 2.8L22 20.6H2z",
};

/** A verdict or severity as a shape of its own: told apart without colour. */
export function icon(kind, label) {
  const [outline, sign] = SHAPES[kind] ?? SHAPES.info;
  return svg(
    "svg",
    { class: `icon icon-${kind}`, viewBox: "0 0 24 24", role: label ? "img" : null, "aria-hidden": label ? null : "true" },
    label ? svg("title", {}, label) : null,
    svg("path", { class: "shape", d: OUTLINES[outline] }),
    svg("path", { class: "sign", d: sign }),
  );
}
