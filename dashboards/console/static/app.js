// The page: keeps what the server says, and draws it a few times a second at most.

import { Chart } from "./chart.js";
import { Detail } from "./detail.js";
import { byId, setText } from "./dom.js";
import { drawAlerts } from "./alerts.js";
import { drawFigures } from "./figures.js";
import { clockTime, dayMonth } from "./format.js";
import { Stream, Unauthorized, ask } from "./net.js";
import { drawPareto } from "./pareto.js";
import { drawReviewFigures, drawSample } from "./reviews.js";
import { StationTile } from "./stations.js";
import { Strip } from "./strip.js";

const KEEP_BOARDS = 60;
const DRAW_MS = 200;
const KPI_MS = 2000;
const KPI_IDLE_MS = 20000;
const DRIFT_MS = 60000;

const state = {
  live: "connecting",
  line: null,
  offset: 0,
  stations: new Map(),
  boards: new Map(),
  arrived: [],
  alerts: { open: [], history: [] },
  kpis: null,
  drifts: [],
  minutes: 60,
};
const tiles = new Map();
const chart = new Chart();
const strip = new Strip((frameId) => detail.open(frameId));
const detail = new Detail(() => strip.shown);
const serverNow = () => Date.now() + state.offset;

const handlers = {
  snapshot(snapshot) {
    handlers.status(snapshot.line);
    state.stations = new Map(snapshot.stations.map((station) => [station.station, station]));
    state.boards = new Map();
    state.arrived = [];
    for (const board of [...snapshot.boards].sort((a, b) => Date.parse(a.inspected_at) - Date.parse(b.inspected_at))) handlers.result(board);
    state.alerts = snapshot.alerts;
    askKpis();
    askReviews();
  },
  result(board) {
    const boards = state.boards.get(board.station) ?? [];
    if (boards.some((other) => other.frame_id === board.frame_id)) return;
    state.boards.set(board.station, [board, ...boards].slice(0, KEEP_BOARDS));
    state.arrived = [board, ...state.arrived].slice(0, KEEP_BOARDS * 4);
  },
  mark(station) {
    state.stations.set(station.station, station);
  },
  alert(alerts) {
    state.alerts = alerts;
  },
  kpi() {
    askKpis();
  },
  review() {
    askReviews();
  },
  status(line) {
    state.line = line;
    state.offset = Date.parse(line.now) - Date.now();
  },
};

let drawing = null;
function drawSoon() {
  drawing ??= setTimeout(() => {
    drawing = null;
    draw();
  }, DRAW_MS);
}

function draw() {
  const now = serverNow();
  drawHeader(now);
  const host = byId("stations");
  for (const [name, station] of state.stations) {
    let tile = tiles.get(name);
    if (!tile) {
      tile = new StationTile((frameId) => detail.open(frameId));
      tiles.set(name, tile);
      host.append(tile.root);
    }
    const row = state.kpis?.stations.find((other) => other.station === name) ?? null;
    const drifts = state.drifts.filter((drift) => drift.station === name);
    tile.draw(station, state.boards.get(name) ?? [], row, drifts, now);
  }
  for (const [name, tile] of tiles) {
    if (!state.stations.has(name)) {
      tile.root.remove();
      tiles.delete(name);
    }
  }
  strip.draw(state.arrived);
  drawAlerts(state.alerts, state.line ? Date.parse(state.line.clock) + (now - Date.parse(state.line.now)) : now);
}

const WORDS = { connecting: "Connecting", live: "Live", lost: "Reconnecting", login: "Locked" };

function drawHeader(now) {
  const line = state.line;
  document.body.dataset.live = state.live;
  setText(byId("connection").lastChild, WORDS[state.live]);
  setText(byId("clock"), clockTime(new Date(now)));
  if (!line) return;
  setText(byId("line-name"), line.line);
  const own = Date.parse(line.clock);
  const apart = Math.abs(own - Date.parse(line.now)) > 120000;
  const ownNow = new Date(own + (now - Date.parse(line.now)));
  setText(byId("line-note"), apart ? `pictures of ${dayMonth(ownNow)}, ${clockTime(ownNow)}` : `taktwatch ${line.version}`);
  let notice = "";
  if (state.live === "lost") notice = `The connection is lost. What you see is from ${clockTime(new Date(state.lostAt))}.`;
  else if (line.bus === "away") notice = "The bus does not answer: nothing new is heard of any station.";
  else if (line.store === "away") notice = "The KPI store does not answer: figures may be out of date.";
  else if (state.kpiError) notice = `Figures cannot be read: ${state.kpiError}`;
  byId("notice").hidden = !notice;
  setText(byId("notice"), notice);
}

let kpisAt = 0;
let driftsAt = 0;
let kpiTimer = null;

/** Read the figures again, at most every two seconds however often they change. */
function askKpis() {
  if (state.live !== "live") return;
  kpiTimer ??= setTimeout(readKpis, Math.max(0, kpisAt + KPI_MS - Date.now()));
}

async function readKpis() {
  kpisAt = Date.now();
  const minutes = state.minutes;
  try {
    const kpis = await ask(`/v1/kpis?minutes=${minutes}`);
    if (minutes === state.minutes) {
      state.kpis = kpis;
      state.kpiError = "";
      drawKpis();
      await readDrifts(minutes);
    }
  } catch (error) {
    if (!(error instanceof Unauthorized) && state.live === "live") state.kpiError = error.message;
  } finally {
    kpiTimer = null;
    if (minutes !== state.minutes) askKpis();
  }
  drawSoon();
}

/** Read how scores drifted over the range, once a minute: it takes a week of windows. */
async function readDrifts(minutes) {
  if (Date.now() - driftsAt < DRIFT_MS) return;
  driftsAt = Date.now();
  const drifts = await ask(`/v1/kpis/drift?minutes=${minutes}&step_s=${60 * minutes}`);
  if (minutes === state.minutes) state.drifts = drifts.series;
}

const rangeName = () => document.querySelector("#ranges [aria-pressed=true]").textContent;

function drawKpis() {
  const range = rangeName();
  drawFigures(state.kpis?.line ?? null, range);
  drawPareto(state.kpis);
  const names = [...state.stations.keys()];
  chart.draw(state.kpis, names);
}

let reviewsAt = 0;
let reviewTimer = null;

/** Read reviews and the boards to check again, at most every two seconds. */
function askReviews() {
  if (state.live !== "live") return;
  reviewTimer ??= setTimeout(readReviews, Math.max(0, reviewsAt + KPI_MS - Date.now()));
}

async function readReviews() {
  reviewsAt = Date.now();
  const minutes = state.minutes;
  try {
    const [reviews, sample] = await Promise.all([ask(`/v1/reviews?minutes=${minutes}&limit=1`), ask("/v1/reviews/sample")]);
    drawReviewFigures(reviews, rangeName());
    drawSample(sample, (frameId) => detail.open(frameId));
  } catch (error) {
    if (!(error instanceof Unauthorized) && state.live === "live") setText(byId("reviews-hint"), `Reviews cannot be read: ${error.message}`);
  } finally {
    reviewTimer = null;
    if (minutes !== state.minutes) askReviews();
  }
}

for (const button of byId("ranges").children) {
  button.addEventListener("click", () => {
    for (const other of byId("ranges").children) other.setAttribute("aria-pressed", String(other === button));
    state.minutes = Number(button.dataset.minutes);
    kpisAt = driftsAt = 0;
    clearTimeout(kpiTimer);
    kpiTimer = null;
    askKpis();
    reviewsAt = 0;
    clearTimeout(reviewTimer);
    reviewTimer = null;
    askReviews();
  });
}

byId("login-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const answer = await fetch("/login", { method: "POST", body: new URLSearchParams(new FormData(event.target)) });
  if (answer.ok) {
    event.target.reset();
    byId("login").close();
    setText(byId("login-error"), "");
    start();
  } else {
    const told = await answer.json().catch(() => ({}));
    setText(byId("login-error"), told.detail ?? "The console did not take it.");
  }
});
byId("login").addEventListener("cancel", (event) => event.preventDefault());

const stream = new Stream({
  onEvent(name, data) {
    handlers[name](data);
    drawSoon();
  },
  onState(live) {
    if (live === "lost" && state.live === "live") state.lostAt = serverNow();
    state.lostAt ??= serverNow();
    state.live = live;
    if (live === "login" && !byId("login").open) byId("login").showModal();
    drawSoon();
  },
});

async function start() {
  try {
    handlers.status(await ask("/v1/line"));
    stream.open();
    detail.fromHash();
  } catch (error) {
    if (error instanceof Unauthorized) stream.onState("login");
    else stream.retry();
  }
}

setInterval(draw, 1000);
setInterval(askKpis, KPI_IDLE_MS);
setInterval(askReviews, KPI_IDLE_MS);
drawFigures(null, "");
start();
