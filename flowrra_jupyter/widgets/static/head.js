// The first lines of the board: name and counts, the bar, the facts.
import { chip, count, duration, make, plural, say, size } from "./dom.js";

const CHIPS = ["done", "running", "failed", "retrying", "cancelled", "pending"];
const SEGMENTS = ["done", "failed", "cancelled", "retrying", "running"];
const WORTH_SAYING = 1e6;

export class Head {
  /** @param {(message: object) => void} send */
  constructor(send) {
    this.send = send;
    this.totals = make("div", { class: "fl-totals" });
    this.pause = make("button", { type: "button" }, "Pause");
    this.cancel = make("button", { type: "button", class: "fl-cancel" }, "Cancel all");
    this.bar = make("div", { class: "fl-bar", role: "progressbar", "aria-label": "done", "aria-valuemin": "0", "aria-valuemax": "100" });
    this.facts = make("div", { class: "fl-meta" });
    this.nodes = [
      make("div", { class: "fl-head" }, this.totals, make("div", { class: "fl-actions" }, this.pause, this.cancel)),
      this.bar,
      this.facts,
    ];
    this.pause.addEventListener("click", () => send({ type: this.pause.dataset.asks ?? "pause" }));
    this.cancel.addEventListener("click", () => {
      this.cancel.disabled = true;
      say(this.cancel, "Stopping…");
      send({ type: "cancel-all" });
    });
  }

  /** The kernel has done what the button asked for; it may be pressed again. */
  answered() {
    this.cancel.disabled = false;
  }

  /** @param {import("./known.js").Known} known @param {number} now */
  draw(known, now) {
    const head = known.head;
    if (!head) return;
    const shown = CHIPS.filter((word) => head.counts[word]);
    const words = JSON.stringify([head.title, head.total, shown.map((word) => head.counts[word])]);
    if (words !== this.drawn) {
      this.drawn = words;
      this.totals.replaceChildren(
        make("b", { class: "fl-title" }, head.title),
        make("span", { class: "fl-dim" }, plural(head.total, "run")),
        ...shown.map((word) => chip(word, make("b", {}, count(head.counts[word])), ` ${word}`)),
      );
      this.#drawBar(head, shown);
    }
    this.bar.setAttribute("aria-valuenow", (100 * head.share).toFixed(1));
    if (head.total === 1) this.#drawBar(head, shown);
    this.cancel.hidden = !head.live;
    if (!this.cancel.disabled) say(this.cancel, head.total === 1 && !head.lasting ? "Cancel" : "Cancel all");
    this.pause.hidden = head.workers === null || (head.total === 1 && !head.lasting);
    this.pause.dataset.asks = head.paused ? "resume" : "pause";
    this.pause.title = head.paused ? "Start waiting runs again" : "Start no more runs of this app; what has begun goes on";
    say(this.pause, head.paused ? "Resume" : "Pause");
    this.tick(known, now);
  }

  /** @param {import("./known.js").Head} head @param {string[]} shown */
  #drawBar(head, shown) {
    // A single run fills the bar as it reports; of many, the running ones take the place that they will have.
    const width = (word) => (head.total === 1 && word === "running" ? head.share : head.counts[word] / head.total);
    this.bar.replaceChildren(...SEGMENTS.filter((word) => shown.includes(word)).map((word) =>
      make("i", { "data-word": word, style: `width: ${100 * width(word)}%` })));
  }

  /** Move the clocks. @param {import("./known.js").Known} known @param {number} now */
  tick(known, now) {
    const facts = factsOf(known, now);
    const words = facts.map((fact) => fact.join("")).join("|");
    if (words === this.said) return;
    this.said = words;
    this.facts.replaceChildren(...facts.map(([before, value, after]) => make("span", {}, before, make("b", {}, value), after)));
  }
}

/** @param {import("./known.js").Known} known @param {number} now @returns {[string, string, string][]} */
function factsOf(known, now) {
  const head = known.head;
  if (!head || !head.total) return [];
  /** @type {[string, string, string][]} */
  const facts = [["", `${(100 * head.share).toFixed(1)} %`, ""]];
  if (head.paused) facts.push(["", "paused", ""]);
  if (head.rate && head.total > 1) facts.push(["", head.rate < 1000 ? head.rate.toFixed(1) : count(Math.round(head.rate)), " runs/s"]);
  const elapsed = known.elapsed(now);
  facts.push(["elapsed ", duration(elapsed), ""]);
  // An estimate that has run out was wrong; better none.
  const left = (head.left ?? 0) - (elapsed - head.elapsed);
  if (left > 0 && !head.paused) facts.push(["left ", duration(left), ""]);
  if (head.speed_up) facts.push(["speed-up ", `${head.speed_up.toFixed(1)}×`, head.workers ? ` on ${head.workers}` : ""]);
  if (head.shared >= WORTH_SAYING) facts.push(["shared ", size(head.shared), " once"]);
  return facts;
}
