// What each worker has executed over the last minute. A canvas for each: a lane has up to 300 segments.
import { duration, make, plural, say } from "./dom.js";

const WORDS = ["done", "running", "failed", "retrying", "cancelled"];
const GAP = 1;
const SPANS = [6, 15, 30, 60];

export class Lanes {
  constructor() {
    this.list = make("div", { class: "fl-lane-list" });
    this.axis = make("div", { class: "fl-axis" }, make("span"), make("div", {}, ...[0, 1, 2, 3].map(() => make("span"))), make("span"));
    this.root = make("div", { class: "fl-lanes", hidden: "hidden", role: "group", "aria-label": "workers, the last minute" }, this.list, this.axis);
    /** @type {Map<string, {line: any, canvas: any, info: any}>} */
    this.lines = new Map();
    this.span = 10;
  }

  /** @param {import("./known.js").Known} known @param {number} now */
  draw(known, now) {
    const elapsed = known.elapsed(now);
    this.root.hidden = known.workers.length === 0;
    if (this.root.hidden) return;
    this.span = SPANS.find((span) => elapsed <= span) ?? 60;
    for (const [name, { line }] of this.lines) {
      if (!known.workers.includes(name)) {
        line.remove();
        this.lines.delete(name);
      }
    }
    const colours = coloursOf(this.root);
    for (const name of known.workers) {
      const lane = known.lanes.get(name);
      if (lane) this.#drawLane(this.#line(name), lane, known, elapsed, colours);
    }
    this.#drawAxis();
  }

  #drawAxis() {
    const third = this.span / 3;
    [...this.axis.children[1].children].forEach((tick, index) =>
      say(tick, index === 3 ? "now" : `−${Math.round(this.span - index * third)} s`));
  }

  /** @param {string} name */
  #line(name) {
    const before = this.lines.get(name);
    if (before) return before;
    const canvas = make("canvas", { class: "fl-way", role: "img" });
    const info = make("span");
    const line = make("div", { class: "fl-lane" }, make("span", {}, name), canvas, info);
    const entry = { line, canvas, info, lane: null, elapsed: 0 };
    canvas.addEventListener("mousemove", (event) => {
      canvas.title = tellAt(entry, event.offsetX / canvas.clientWidth, this.span);
    });
    this.list.append(line);
    this.lines.set(name, entry);
    return entry;
  }

  #drawLane(entry, lane, known, elapsed, colours) {
    entry.lane = lane;
    entry.elapsed = elapsed;
    const { canvas, info } = entry;
    const ratio = window.devicePixelRatio || 1;
    const width = Math.round(canvas.clientWidth * ratio);
    const height = Math.round(canvas.clientHeight * ratio);
    if (canvas.width !== width) canvas.width = width;
    if (canvas.height !== height) canvas.height = height;
    const context = canvas.getContext("2d");
    if (!context || !width) return;
    context.clearRect(0, 0, width, height);
    const begin = elapsed - this.span;
    const bar = (start, took, word) => {
      const left = Math.max(0, ((start - begin) / this.span) * width);
      const right = Math.min(width, ((start + took - begin) / this.span) * width);
      if (right <= 0) return;
      context.fillStyle = colours[word];
      context.fillRect(left, 0, Math.max(GAP * ratio, right - left - (right - left > 4 ? GAP : 0)), height);
    };
    for (const [start, took, word] of lane.segments) bar(start, took, word);
    if (lane.now && known.head?.live) bar(lane.now.started, elapsed - lane.now.started, "running");
    say(info, lane.now && known.head?.live ? `#${lane.now.label} · ${duration(Math.max(0, elapsed - lane.now.started))}` : "idle");
    canvas.setAttribute("aria-label", tellAll(lane));
  }
}

/** The colours of the theme that holds at the moment. */
function coloursOf(node) {
  const style = getComputedStyle(node);
  return Object.fromEntries(WORDS.map((word) => [word, style.getPropertyValue(`--fl-lane-${word}`) || style.getPropertyValue(`--fl-${word}`)]));
}

function tellAll(lane) {
  const runs = lane.segments.reduce((sum, segment) => sum + segment[3], 0);
  const failed = lane.segments.reduce((sum, segment) => sum + segment[4], 0);
  return `worker ${lane.name}: ${plural(runs, "run")}${failed ? `, ${failed} failed` : ""}${lane.now ? `, now #${lane.now.label}` : ""}`;
}

/** Say what is drawn at *share* of a lane's width. */
function tellAt(entry, share, span) {
  const { lane, elapsed } = entry;
  if (!lane) return "";
  const at = elapsed - span + share * span;
  const reach = span / 400;
  if (lane.now && at >= lane.now.started - reach) return `#${lane.now.label} · running · ${duration(Math.max(0, elapsed - lane.now.started))}`;
  const hit = lane.segments.find(([start, took]) => start - reach <= at && at <= start + took + reach);
  if (!hit) return "";
  const [, took, word, runs, failed, , label] = hit;
  if (runs === 1) return `#${label} · ${word} · ${duration(took)}`;
  return `${plural(runs, "run")} in ${duration(took)}${failed ? `, ${failed} failed (#${label})` : ""}`;
}
