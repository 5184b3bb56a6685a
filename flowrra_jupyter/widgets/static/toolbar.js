// Filter, order and number of workers.
import { count, make, say } from "./dom.js";

const TYPING_MS = 200;

/** Calls `owner.filter({word, text, sort, descending})` and `owner.send(message)`. */
export class Toolbar {
  constructor(owner) {
    this.owner = owner;
    this.input = make("input", { type: "search", placeholder: "Filter by argument, error or id", "aria-label": "filter runs", spellcheck: "false" });
    this.all = this.#choice("All", { word: "", sort: "status", descending: false });
    this.running = this.#choice("Running", { word: "running", sort: "status", descending: false });
    this.failed = this.#choice("Failed", { word: "failed", sort: "status", descending: false });
    this.slowest = this.#choice("Slowest", { word: "", sort: "time", descending: true });
    this.fewer = this.#step("−", "one worker fewer", -1);
    this.more = this.#step("+", "one worker more", 1);
    this.number = make("output", { "aria-label": "workers" });
    this.workers = make(
      "span", { class: "fl-workers" },
      make("span", { class: "fl-dim" }, "workers"), make("span", { class: "fl-seg" }, this.fewer, this.number, this.more),
    );
    this.root = make(
      "div", { class: "fl-tools" }, this.input,
      make("span", { class: "fl-seg", role: "group", "aria-label": "which runs" }, this.all, this.running, this.failed, this.slowest),
      this.workers,
    );
    let typing = 0;
    this.input.addEventListener("input", () => {
      clearTimeout(typing);
      typing = setTimeout(() => owner.filter({ text: this.input.value.trim() }), TYPING_MS);
    });
    // The notebook has keys of its own.
    this.input.addEventListener("keydown", (event) => event.stopPropagation());
  }

  #choice(title, filter) {
    const button = make("button", { type: "button", "aria-pressed": "false" }, title);
    button.addEventListener("click", () => this.owner.filter(filter));
    return Object.assign(button, { filter });
  }

  #step(sign, label, by) {
    const button = make("button", { type: "button", "aria-label": label, title: label }, sign);
    button.addEventListener("click", () => this.owner.send({ type: "workers", count: Number(this.number.value) + by }));
    return button;
  }

  /** @param {import("./known.js").Head} head @param {{word: string, sort: string, descending: boolean}} now */
  draw(head, now) {
    this.root.hidden = head.total < 2 && !head.lasting;
    for (const button of [this.all, this.running, this.failed, this.slowest]) {
      const { word, sort } = button.filter;
      button.setAttribute("aria-pressed", String(now.word === word && now.sort === sort));
    }
    const failures = head.counts.failed ?? 0;
    say(this.failed, failures ? `Failed ${count(failures)}` : "Failed");
    this.workers.hidden = head.workers === null;
    if (head.workers !== null) this.number.value = String(head.workers);
    this.fewer.disabled = (head.workers ?? 1) <= 1;
  }
}
