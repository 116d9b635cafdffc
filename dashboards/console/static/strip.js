// The last boards of all stations, newest first. It holds still while somebody points at it.

import { byId, h, icon, setText } from "./dom.js";
import { boardName, className, clockTime } from "./format.js";
import { shot } from "./overlay.js";

const MOST = 40;

export class Strip {
  constructor(onOpen) {
    this.list = byId("strip");
    this.hint = byId("strip-hint");
    this.onOpen = onOpen;
    this.cards = new Map();
    this.filter = "all";
    this.pending = null;
    for (const button of byId("strip-filter").children) {
      button.addEventListener("click", () => {
        for (const other of byId("strip-filter").children) other.setAttribute("aria-pressed", String(other === button));
        this.filter = button.dataset.filter;
        this.render(this.all ?? []);
      });
    }
    for (const leave of ["pointerleave", "focusout"]) {
      this.list.addEventListener(leave, () => queueMicrotask(() => this.pending && this.draw(this.pending)));
    }
  }

  /** The boards on show, in order: what the detail's arrows walk along. */
  get shown() {
    return [...this.list.children].map((item) => item.dataset.frame).filter(Boolean);
  }

  draw(boards) {
    this.all = boards;
    const held = this.list.matches(":hover") || this.list.matches(":focus-within");
    if (held && this.cards.size) {
      this.pending = boards;
      const fresh = this.chosen(boards).filter((board) => !this.cards.has(board.frame_id)).length;
      setText(this.hint, fresh ? `holding still while you look · ${fresh} new` : "");
      return;
    }
    this.render(boards);
  }

  chosen(boards) {
    const wanted = this.filter === "all" ? boards : boards.filter((board) => board.verdict !== "pass");
    return wanted.slice(0, MOST);
  }

  render(boards) {
    this.pending = null;
    setText(this.hint, "");
    const chosen = this.chosen(boards);
    if (!chosen.length) {
      this.cards.clear();
      const text = this.filter === "all" ? "Waiting for the first board" : "Nothing to look at: all boards passed";
      this.list.replaceChildren(h("li", { class: "empty" }, text));
      return;
    }
    const atStart = this.list.scrollLeft < 60;
    const before = this.cards;
    this.cards = new Map(chosen.map((board) => [board.frame_id, before.get(board.frame_id) ?? boardCard(board, this.onOpen)]));
    const items = [...this.cards.values()];
    for (const child of [...this.list.children]) if (!items.includes(child)) child.remove();
    items.forEach((item, index) => {
      if (this.list.children[index] !== item) this.list.insertBefore(item, this.list.children[index] ?? null);
    });
    if (atStart) this.list.scrollLeft = 0;
  }
}

/** One board as a card that opens it. */
export function boardCard(board, onOpen) {
  const defects = board.detections.filter((found) => !found.structure);
  const names = [...new Set(defects.map((found) => className(found.class)))];
  const told = names.length ? names.join(", ") : board.verdict === "pass" ? "no defect" : (board.reasons[0] ?? board.verdict);
  return h(
    "li",
    { dataset: { frame: board.frame_id, verdict: board.verdict } },
    h(
      "button",
      {
        type: "button",
        class: "card",
        "aria-label": `Board ${boardName(board)} at ${board.station}: ${board.verdict}, ${told}`,
        onclick: () => onOpen(board.frame_id),
      },
      shot(board, { width: 320, lazy: true }),
      h("span", { class: "card-verdict" }, icon(board.verdict), board.verdict),
      h("span", { class: "card-station", title: board.station }, board.station),
      h("span", { class: "card-told" }, told),
      h("span", { class: "card-who" }, h("span", {}, boardName(board)), h("time", {}, clockTime(new Date(board.event_at)))),
    ),
  );
}
