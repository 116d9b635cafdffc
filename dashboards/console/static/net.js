// Talking to the console's API: questions, and the live stream that comes back by itself.

export class Unauthorized extends Error {}

/** Ask for JSON; an error carries the server's own sentence. */
export async function ask(path) {
  return understood(await fetch(path, { headers: { Accept: "application/json" } }));
}

async function understood(answer) {
  if (answer.status === 401) throw new Unauthorized("log in");
  if (!answer.ok) {
    const told = await answer.json().catch(() => ({}));
    throw new Error(told.detail ?? `${answer.status} ${answer.statusText}`);
  }
  return answer.json();
}

/** Say something; an error carries the server's own sentence. */
export async function tell(path, body) {
  const answer = await fetch(path, { method: "POST", headers: { "Content-Type": "application/json", Accept: "application/json" }, body: JSON.stringify(body) });
  return understood(answer);
}

const EVENTS = ["snapshot", "result", "mark", "kpi", "alert", "review", "status"];
const DEAF_MS = 15000;
const RETRY_MS = [500, 1000, 2000, 4000];

/** The live stream. Calls `onEvent(name, data)`, `onState("live" | "lost" | "login")`. Never gives up. */
export class Stream {
  constructor({ onEvent, onState }) {
    this.onEvent = onEvent;
    this.onState = onState;
    this.attempt = 0;
    this.heardAt = 0;
    setInterval(() => this.checkPulse(), 1000);
    addEventListener("online", () => this.open());
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.checkPulse());
  }

  open() {
    clearTimeout(this.timer);
    this.source?.close();
    this.heardAt = Date.now();
    const source = new EventSource("/v1/stream");
    this.source = source;
    for (const name of EVENTS) {
      source.addEventListener(name, (event) => {
        this.heardAt = Date.now();
        this.attempt = 0;
        this.onState("live");
        this.onEvent(name, JSON.parse(event.data));
      });
    }
    source.addEventListener("resync", () => this.retry());
    source.addEventListener("error", () => {
      if (source === this.source) this.retry();
    });
  }

  /** A line without events is no news: the server speaks every five seconds. */
  checkPulse() {
    if (this.source && Date.now() - this.heardAt > DEAF_MS) this.retry();
  }

  async retry() {
    this.source?.close();
    this.source = null;
    this.onState("lost");
    clearTimeout(this.timer);
    const wait = RETRY_MS[Math.min(this.attempt, RETRY_MS.length - 1)];
    this.attempt += 1;
    this.timer = setTimeout(async () => {
      try {
        await ask("/v1/line");
        this.open();
      } catch (error) {
        if (error instanceof Unauthorized) this.onState("login");
        else this.retry();
      }
    }, wait);
  }
}
