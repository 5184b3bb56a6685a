// The live view of a batch, a run or the app: wires the parts to the kernel. See flowrra_jupyter/actions.py for the messages.
import { count, make, plural, say } from "./dom.js";
import { Details } from "./details.js";
import { Head } from "./head.js";
import { Known } from "./known.js";
import { Lanes } from "./lanes.js";
import { Table } from "./table.js";
import { Toolbar } from "./toolbar.js";

const TICK_MS = 500;
const PATIENCE_MS = 2000;
const ASK_MS = 100;
const SIGN_OF_LIFE_MS = 120_000;
const SUMMARY_MS = 10_000;

class Board {
  constructor(model) {
    this.model = model;
    this.viewer = Math.random().toString(36).slice(2);
    this.known = new Known();
    this.visible = false;
    this.asked = { word: "", text: "", sort: "status", descending: false };
    this.head = new Head((message) => this.send(message));
    this.lanes = new Lanes();
    this.toolbar = new Toolbar(this);
    this.table = new Table(this);
    this.foot = make("div", { class: "fl-foot" });
    this.notice = make("div", { class: "fl-foot fl-notice", role: "status", hidden: "hidden" });
    this.summary = make("div", { class: "fl-only-heard", "aria-live": "polite" });
    this.root = make(
      "div", { class: "flowrra fl-board", role: "region" },
      ...this.head.nodes, this.lanes.root, this.toolbar.root, this.table.root, this.foot, this.notice, this.summary,
    );
    this.table.showSort("status", false);
    this.root.addEventListener("fl-resized", () => this.redraw());
    this.frame = 0;
    this.patience = 0;
    this.asking = 0;
    this.summedUp = 0;
  }

  // To the kernel.

  send(message) {
    this.model.send({ ...message, viewer: this.viewer });
    if (["look", "hide", "result"].includes(message.type)) return;
    clearTimeout(this.patience);
    this.patience = setTimeout(
      () => this.tell("The kernel has not answered yet. Interrupt stops what a cell waits for."), PATIENCE_MS,
    );
  }

  /** Tell the kernel what this view shows. It answers with what is new, and then with what changes. */
  look(anew = false) {
    if (!this.visible) return;
    const wanted = this.table.wanted();
    this.send({ type: "look", ...this.asked, ...wanted, open: this.table.open?.key ?? null, have: anew ? -1 : this.known.seq });
  }

  /** Rows may be in sight that are not known. */
  want() {
    if (this.asking || this.table.covered()) return;
    this.asking = setTimeout(() => {
      this.asking = 0;
      this.look();
    }, ASK_MS);
  }

  filter(change) {
    this.shut();
    Object.assign(this.asked, change);
    this.table.showSort(this.asked.sort, this.asked.descending);
    this.table.scroller.scrollTop = 0;
    this.look();
  }

  sorted(sort, descending) {
    this.filter({ sort, descending });
  }

  toggle(key, index) {
    const same = this.table.open?.key === key;
    this.shut();
    if (!same) {
      this.details = new Details(key, (message) => this.send(message), () => this.toggle(key, index));
      this.table.show({ key, index, panel: this.details.root });
    }
    this.look();
    this.redraw();
  }

  shut() {
    const held = this.details?.root.contains(document.activeElement);
    this.table.show(null);
    this.details = null;
    if (held) this.table.root.focus();
  }

  see(visible) {
    if (visible === this.visible) return;
    if (!visible) this.send({ type: "hide" });
    this.visible = visible;
    this.look();
  }

  // From the kernel.

  receive(message, buffers) {
    if (message.viewer !== this.viewer) return;
    if (message.type === "frame") {
      if (!this.known.take(decoded(buffers), performance.now())) this.look(true);
      else this.redraw();
    } else if (message.type === "details") {
      const told = decoded(buffers);
      if (this.details && (!told || told.key === this.details.key)) {
        this.details.take(told);
        this.redraw();
      }
    } else if (message.type === "result") {
      if (this.details?.key === message.key) this.details.takeResult(message.bundle, buffers);
      this.redraw();
    } else if (message.type === "answer") {
      clearTimeout(this.patience);
      this.head.answered();
      this.tell(message.words);
    }
  }

  gone() {
    clearTimeout(this.patience);
    this.known.freeze(performance.now());
    this.tell("The kernel has ended; this is what was known last.");
    for (const node of [this.head.pause, this.head.cancel, this.toolbar.workers]) node.remove();
    this.redraw();
  }

  tell(words) {
    this.notice.hidden = !words;
    say(this.notice, words);
  }

  // Drawing.

  redraw() {
    if (!this.frame) this.frame = requestAnimationFrame(() => this.draw());
  }

  draw() {
    this.frame = 0;
    const { known } = this;
    const head = known.head;
    if (!head) return;
    const now = performance.now();
    this.root.setAttribute("aria-label", `${head.title}, ${plural(head.total, "run")}`);
    this.head.draw(known, now);
    this.lanes.draw(known, now);
    this.toolbar.draw(head, this.asked);
    this.table.draw(known, now);
    this.#drawFoot(head);
    this.#sumUp(head, now);
    this.want();
  }

  #drawFoot(head) {
    const { first, matching, searched, held } = this.known.place;
    const last = Math.min(matching, first + this.known.order.length);
    const words = [];
    if (searched < 1) words.push(`searching, ${Math.floor(100 * searched)} %`);
    if (!matching && head.total) words.push(searched < 1 ? "nothing yet" : "no run is like that");
    else if (matching !== head.total) words.push(`${count(matching)} of ${plural(head.total, "run")}`);
    else if (last - first < matching) words.push(`${plural(matching, "run")}`);
    if (matching > 1) words.push(`sorted by ${this.asked.sort === "#" ? "number" : this.asked.sort}${this.asked.descending ? ", descending" : ""}`);
    if (held && matching > 1) words.push("order held while details are open");
    say(this.foot, words.join(" · "));
    this.foot.hidden = words.length === 0 || head.total < 2;
  }

  /** Now and then, for whoever listens instead of looking. */
  #sumUp(head, now) {
    if (now - this.summedUp < SUMMARY_MS) return;
    this.summedUp = now;
    const words = Object.entries(head.counts).map(([word, number]) => `${number} ${word}`);
    say(this.summary, `${head.title}: ${words.join(", ")}`);
  }

  tick() {
    if (!this.visible || !this.known.head?.live) return;
    const now = performance.now();
    this.head.tick(this.known, now);
    this.lanes.draw(this.known, now);
    this.table.tick(this.known, now, true);
  }
}

function decoded(buffers) {
  return JSON.parse(new TextDecoder().decode(buffers[0]));
}

/** Call *see* whenever it changes whether a person can see *node*. */
function watchSight(node, see, signal) {
  let inSight = false;
  const tell = () => see(inSight && !document.hidden);
  const observer = new IntersectionObserver((entries) => {
    inSight = entries[entries.length - 1].isIntersecting;
    tell();
  });
  observer.observe(node);
  document.addEventListener("visibilitychange", tell, { signal });
  window.addEventListener("pagehide", () => see(false), { signal });
  signal.addEventListener("abort", () => observer.disconnect());
}

/** Tell when the kernel is gone: nothing more will come, and nothing can be cancelled. Where the front end lets us know. */
function watchKernel(model, gone, signal) {
  const changed = model.widget_manager?.kernel?.statusChanged;
  if (!changed) return;
  const heard = (_kernel, status) => {
    if (["restarting", "autorestarting", "terminating", "dead"].includes(status)) gone();
  };
  changed.connect(heard);
  signal.addEventListener("abort", () => changed.disconnect(heard));
}

export default {
  /** Runs as soon as the kernel opened the model, before anything is shown: it tells that widgets work here. */
  initialize({ model }) {
    model.send({ type: "hello" });
  },

  render({ model, el }) {
    const stop = new AbortController();
    const board = new Board(model);
    const receive = (message, buffers) => board.receive(message, buffers);
    model.on("msg:custom", receive);
    watchKernel(model, () => board.gone(), stop.signal);
    const clock = setInterval(() => board.tick(), TICK_MS);
    const pulse = setInterval(() => board.look(), SIGN_OF_LIFE_MS);
    stop.signal.addEventListener("abort", () => {
      model.off("msg:custom", receive);
      clearInterval(clock);
      clearInterval(pulse);
      clearTimeout(board.patience);
      cancelAnimationFrame(board.frame);
    });
    el.replaceChildren(board.root);
    watchSight(board.root, (visible) => board.see(visible), stop.signal);
    return () => {
      stop.abort();
      model.send({ type: "hide", viewer: board.viewer, gone: true });
    };
  },
};
