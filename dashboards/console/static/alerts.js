// Open alerts, loudest first; a new one is said aloud to screen readers.

import { byId, h, icon, setText } from "./dom.js";
import { clockTime, dayMonth, integer, minuteTime, seconds } from "./format.js";

const STATES = { firing: "firing", recovering: "recovering", pending: "pending", no_data: "no data" };
const LOUD = new Set(["firing", "no_data", "recovering"]);
let known = null;

export function drawAlerts(alerts, now) {
  const loud = alerts.open.filter((alert) => LOUD.has(alert.state));
  setText(byId("alerts-count"), String(loud.length));
  byId("alerts-count").dataset.loud = String(loud.length > 0);
  document.title = loud.length ? `(${loud.length}) ${byId("line-name").textContent} · taktwatch` : `${byId("line-name").textContent} · taktwatch`;
  announce(loud);
  const ordered = [...loud, ...alerts.open.filter((alert) => !LOUD.has(alert.state))];
  const past = alerts.history.filter((step) => step.state === "resolved").slice(0, 5);
  byId("alerts").replaceChildren(
    ordered.length
      ? h("ul", { class: "alert-list" }, ...ordered.map((alert) => card(alert, now)))
      : h("div", { class: "all-clear" }, icon("pass"), h("p", {}, "No open alerts")),
    past.length
      ? h(
          "section",
          { class: "past" },
          h("h3", {}, "Resolved lately"),
          ...past.map((step) => h("p", {}, h("time", {}, minuteTime(new Date(step.at))), `${step.rule}${about(step)}`)),
        )
      : "",
  );
}

function card(alert, now) {
  const since = new Date(alert.since);
  const lasting = Math.max(0, (now - since) / 1000);
  const told = [...new Set(alert.notices.filter((notice) => notice.delivered).map((notice) => notice.channel))];
  const failed = [...new Set(alert.notices.filter((notice) => !notice.delivered).map((notice) => notice.channel))];
  return h(
    "li",
    { class: "alert", dataset: { severity: alert.severity, state: alert.state } },
    icon(alert.severity, alert.severity),
    h(
      "div",
      {},
      h("header", {}, h("strong", {}, alert.rule), h("span", { class: "tag" }, STATES[alert.state] ?? alert.state)),
      h("p", {}, alert.summary),
      h(
        "p",
        { class: "alert-meta" },
        `${whose(alert)} · since ${lasting > 86400 ? `${dayMonth(since)} ` : ""}${clockTime(since)} (${seconds(lasting)})`,
        alert.n ? ` · n ${integer(alert.n)}` : "",
        told.length ? ` · told ${told.join(", ")}` : "",
        failed.length ? h("b", {}, ` · not reached: ${failed.join(", ")}`) : "",
      ),
    ),
  );
}

const whose = (alert) => alert.labels.station ?? alert.labels.detector ?? alert.labels.product ?? "";
const about = (alert) => (whose(alert) ? ` · ${whose(alert)}` : "");

function announce(loud) {
  const ids = new Set(loud.map((alert) => alert.alert_id));
  const fresh = known ? loud.filter((alert) => !known.has(alert.alert_id)) : [];
  known = ids;
  if (fresh.length) setText(byId("announcer"), fresh.map((alert) => `${alert.severity} alert: ${alert.summary}`).join(". "));
}
