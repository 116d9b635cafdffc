// A person's word on one board: confirm or overrule, with name and reason. The last word counts; all are kept.

import { h, icon, setText } from "./dom.js";
import { fullTime } from "./format.js";
import { ask, tell } from "./net.js";

const NAME_KEY = "taktwatch-reviewer";

/** The part of the detail that takes and shows reviews of a board; null where there is no verdict to review. */
export function reviewPart(board) {
  const machine = board.board_verdict;
  if (!machine) return null;
  const past = h("ol", { class: "review-list" });
  const error = h("p", { class: "error", role: "alert" });
  const name = h("input", { name: "reviewer", maxlength: "80", autocomplete: "name", "aria-label": "Your name", placeholder: "Your name", required: true, value: localStorage.getItem(NAME_KEY) ?? "" });
  const reason = h("input", { name: "reason", maxlength: "500", autocomplete: "off", "aria-label": "Reason", placeholder: "Reason" });
  const buttons = choices(machine).map(([label, verdict, told]) =>
    h("button", { type: "submit", class: "ghost said-verdict", value: verdict, dataset: { verdict }, title: told }, icon(verdict), label),
  );
  const form = h("form", { class: "review-form" }, name, reason, h("div", { class: "review-buttons" }, ...buttons), error);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const verdict = event.submitter?.value ?? machine;
    setText(error, "");
    for (const button of buttons) button.disabled = true;
    try {
      const said = { frame_id: board.frame_id, verdict, reviewer: name.value, reason: reason.value, logged_after: board.logged_at };
      const review = await tell("/v1/reviews", said);
      localStorage.setItem(NAME_KEY, name.value.trim());
      reason.value = "";
      past.prepend(entry(review));
    } catch (problem) {
      setText(error, problem.message);
    } finally {
      for (const button of buttons) button.disabled = false;
    }
  });
  ask(`/v1/reviews?board_id=${board.board_id}&since=${encodeURIComponent(board.logged_at)}`).then(
    (known) => past.append(...known.reviews.map(entry)),
    () => {},
  );
  return h("section", { class: "part review-part" }, h("h3", {}, machine === board.verdict ? "Review" : `Review of the whole board: ${machine}`), past, form);
}

function choices(verdict) {
  if (verdict === "review") {
    return [
      ["Good", "pass", "This board is good"],
      ["Defective", "fail", "This board is defective"],
    ];
  }
  const other = verdict === "pass" ? "fail" : "pass";
  return [
    ["Confirm", verdict, `The verdict ${verdict} is right`],
    ["Overrule", other, `It should be ${other}; say why`],
  ];
}

function entry(review) {
  const agreed = review.machine === review.human;
  const what = review.machine === "review" ? `settled as ${review.human}` : agreed ? `confirmed ${review.human}` : `overruled: ${review.human}`;
  return h(
    "li",
    { dataset: { verdict: review.human } },
    icon(review.human),
    h("span", {}, h("b", {}, what), ` by ${review.reviewer}`, review.reason ? h("em", {}, review.reason) : "", h("time", {}, fullTime(new Date(review.reviewed_at)))),
  );
}
