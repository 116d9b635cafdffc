// Numbers and times as people read them.

const time = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const minute = new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" });
const day = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short" });
const full = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium", timeStyle: "medium" });

export const clockTime = (date) => time.format(date);
export const minuteTime = (date) => minute.format(date);
export const dayMonth = (date) => day.format(date);
export const fullTime = (date) => full.format(date);

export const integer = (value) => Math.round(value).toLocaleString("en").replaceAll(",", "\u202f");

export function percent(value) {
  if (value === null || value === undefined) return "–";
  const hundred = value * 100;
  return `${hundred.toFixed(hundred >= 10 || hundred === 0 ? 1 : 2)}\u202f%`;
}

export const interval = (rate) =>
  rate && rate.low !== null ? `${percent(rate.low).replace("\u202f%", "")} – ${percent(rate.high)}` : "";

export const signed = (value) => `${value < 0 ? "\u2212" : "+"}${Math.abs(value).toFixed(3)}`;

export function seconds(value) {
  if (value === null || value === undefined) return "–";
  if (value < 1) return `${Math.round(value * 1000)}\u202fms`;
  if (value < 90) return `${value.toFixed(value < 10 ? 1 : 0)}\u202fs`;
  if (value < 5400) return `${Math.round(value / 60)}\u202fmin`;
  if (value < 172800) return `${Math.round(value / 3600)}\u202fh`;
  return `${Math.round(value / 86400)}\u202fd`;
}

/** How long ago, in whole units: an age never reads as fresher than it is. */
export function age(value) {
  if (value < 1.5) return "just now";
  if (value < 90) return `${Math.floor(value)}\u202fs ago`;
  if (value < 5400) return `${Math.floor(value / 60)}\u202fmin ago`;
  if (value < 172800) return `${Math.floor(value / 3600)}\u202fh ago`;
  return `${Math.floor(value / 86400)}\u202fd ago`;
}

export const className = (label) => label.replaceAll("_", " ");
export const boardName = (board) => board.serial ?? `#${board.seq}`;
export const shortHash = (hash) => (hash ? hash.slice(0, 12) : "–");
