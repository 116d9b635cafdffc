// What people said of the verdicts, and the passed boards drawn at random that wait for a person.

import { byId, h, setText } from "./dom.js";
import { integer, interval, percent } from "./format.js";
import { boardCard } from "./strip.js";

const figure = (name, value, note, told) => h("div", { class: "figure", title: told }, h("span", {}, name), h("strong", {}, value), h("em", {}, note));

const rate = (name, found, what, told) =>
  figure(name, percent(found?.value), found?.n ? `${interval(found)} · n ${integer(found.n)}` : `no ${what} reviewed`, told);

export function drawReviewFigures(reviews, rangeName) {
  const found = reviews?.figures;
  const said = found ? found.confirmed + found.overruled + found.settled : 0;
  setText(byId("reviews-hint"), said ? `${integer(said)} ${said === 1 ? "board" : "boards"} reviewed in the last ${rangeName}` : `nothing reviewed in the last ${rangeName}`);
  byId("review-figures").replaceChildren(
    rate("False calls", found?.false_call_rate, "fails", "Overruled fails / reviewed fails"),
    rate("Escapes", found?.escape_rate, "drawn passes", "Defective share of passed boards, from boards drawn at random"),
  );
}

/** Draw the boards to check; those on show stay as they are, so that a click meets the board it aimed at. */
export function drawSample(sample, onOpen) {
  const host = byId("to-check");
  setText(byId("to-check-count"), String(sample.waiting));
  const before = new Map([...host.children].filter((item) => item.dataset.frame).map((item) => [item.dataset.frame, item]));
  const items = sample.boards.map((board) => before.get(board.frame_id) ?? boardCard(board, onOpen));
  if (!items.length) {
    const text = sample.sample_rate ? `All boards drawn for checking are reviewed; ${percent(sample.sample_rate)} of passed boards are drawn` : "No passed boards are drawn for checking (reviews.sample_rate is 0)";
    host.replaceChildren(h("li", { class: "empty" }, text));
    return;
  }
  for (const child of [...host.children]) if (!items.includes(child)) child.remove();
  items.forEach((item, index) => {
    if (host.children[index] !== item) host.insertBefore(item, host.children[index] ?? null);
  });
}
