// The table of runs: only the rows in sight exist, whatever their number. Sorting and filtering are done in the kernel.
import { duration, make, say, size } from "./dom.js";

export const ROW_PX = 26;
const OVERSCAN = 10;
const MOST_ROWS_IN_SIGHT = 12;
const COLUMNS = [
  { name: "#", css: "fl-label", sort: "#" },
  { name: "arguments", css: "fl-args", sort: "" },
  { name: "status", css: "fl-status", sort: "status" },
  { name: "attempt", css: "fl-attempt", sort: "attempt" },
  { name: "time", css: "fl-time", sort: "time" },
  { name: "peak memory", css: "fl-memory", sort: "" },
  { name: "worker", css: "fl-worker", sort: "worker" },
];
let grids = 0;

/** Asks its owner for what it needs: `want()` after scrolling, `sorted(sort, descending)`, `toggle(key, index)`. */
export class Table {
  constructor(owner) {
    this.owner = owner;
    this.id = `fl-grid-${(grids += 1)}-${Math.random().toString(36).slice(2, 8)}`;
    this.headings = COLUMNS.map((column) => this.#heading(column));
    this.canvas = make("div", { class: "fl-canvas", role: "presentation" });
    this.scroller = make("div", { class: "fl-scroller", role: "rowgroup" }, this.canvas);
    this.root = make(
      "div", { class: "fl-grid", role: "grid", tabindex: "0", "aria-label": "runs" },
      make("div", { class: "fl-tr fl-th", role: "row" }, ...this.headings), this.scroller,
    );
    this.empty = make("div", { class: "fl-empty fl-dim", hidden: "hidden" });
    /** @type {Map<number, any>} */ this.lines = new Map();
    /** @type {number|null} */ this.cursor = null;
    /** @type {{key: number, index: number, panel: any}|null} */ this.open = null;
    this.known = null;
    this.scroller.addEventListener("scroll", () => this.owner.want(), { passive: true });
    this.root.addEventListener("keydown", (event) => this.#key(event));
  }

  #heading({ name, css, sort }) {
    if (!sort) return make("span", { class: css, role: "columnheader" }, name);
    const button = make("button", { type: "button", "data-sort": sort }, name);
    button.addEventListener("click", () => {
      const now = this.sort === sort ? !this.descending : sort === "time" || sort === "attempt";
      this.owner.sorted(sort, now);
    });
    return make("span", { class: css, role: "columnheader" }, button);
  }

  /** Say which order holds. @param {string} sort @param {boolean} descending */
  showSort(sort, descending) {
    this.sort = sort;
    this.descending = descending;
    this.headings.forEach((heading, index) => {
      const holds = COLUMNS[index].sort === sort;
      heading.setAttribute("aria-sort", !holds ? "none" : descending ? "descending" : "ascending");
    });
  }

  /** Which rows the kernel should send: those in sight and some around them. */
  wanted() {
    const top = this.scroller.scrollTop;
    const height = this.scroller.clientHeight || ROW_PX * MOST_ROWS_IN_SIGHT;
    const from = this.#indexAt(top);
    const first = Math.max(0, from - OVERSCAN);
    return { first, count: Math.ceil(height / ROW_PX) + 2 * OVERSCAN };
  }

  /** Whether what is in sight is known. */
  covered() {
    if (!this.known) return false;
    const { first, matching } = this.known.place;
    const from = this.#indexAt(this.scroller.scrollTop);
    const to = Math.min(matching, from + Math.ceil(this.scroller.clientHeight / ROW_PX) + 1);
    return first <= from && to <= first + this.known.order.length;
  }

  #indexAt(top) {
    const open = this.open;
    if (!open || top < (open.index + 1) * ROW_PX) return Math.floor(top / ROW_PX);
    return Math.max(open.index + 1, Math.floor((top - open.panel.offsetHeight) / ROW_PX));
  }

  #top(index) {
    return index * ROW_PX + (this.open && index > this.open.index ? this.open.panel.offsetHeight : 0);
  }

  /** @param {import("./known.js").Known} known @param {number} now */
  draw(known, now) {
    this.known = known;
    const { first, matching } = known.place;
    const panel = this.open?.panel;
    const height = matching * ROW_PX + (panel ? panel.offsetHeight : 0);
    this.canvas.style.height = `${height}px`;
    const roof = ROW_PX * MOST_ROWS_IN_SIGHT + (panel ? Math.min(300, panel.offsetHeight) : 0);
    this.scroller.style.height = `${Math.min(height, roof)}px`;
    this.root.style.setProperty("--fl-bar-px", `${this.scroller.offsetWidth - this.scroller.clientWidth}px`);
    this.root.setAttribute("aria-rowcount", String(matching + 1));
    this.root.hidden = matching === 0;
    const kept = new Set(known.order);
    for (const [key, line] of this.lines) {
      if (!kept.has(key)) {
        line.node.remove();
        this.lines.delete(key);
      }
    }
    known.order.forEach((key, offset) => this.#place(key, first + offset));
    this.#inOrder(known.order);
    if (panel && this.open) panel.style.top = `${(this.open.index + 1) * ROW_PX}px`;
    this.tick(known, now, false);
    this.#point();
  }

  #place(key, index) {
    const row = this.known.rows.get(key);
    if (!row) return;
    let line = this.lines.get(key);
    if (!line) {
      line = this.#line(key);
      this.lines.set(key, line);
    }
    if (line.row !== row) fill(line, row, this.known.head.several_tasks);
    line.index = index;
    const top = this.#top(index);
    if (line.top !== top) {
      line.top = top;
      line.node.style.transform = `translateY(${top}px)`;
    }
    line.node.setAttribute("aria-rowindex", String(index + 2));
    line.node.setAttribute("aria-expanded", String(this.open?.key === key));
    line.node.classList.toggle("fl-open", this.open?.key === key);
  }

  /** Have the rows in the document as they are on the screen, details after their run: whoever listens hears them so. */
  #inOrder(order) {
    let at = this.canvas.firstChild;
    for (const key of order) {
      for (const node of [this.lines.get(key)?.node, this.open?.key === key ? this.open.panel : null]) {
        if (!node) continue;
        if (node === at) at = at.nextSibling;
        else if (node !== this.open?.panel || node.parentNode !== this.canvas || !node.contains(document.activeElement)) this.canvas.insertBefore(node, at);
      }
    }
  }

  #line(key) {
    const cells = COLUMNS.map(({ css }) => make("span", { class: css, role: "gridcell" }));
    const node = make("div", { class: "fl-tr", role: "row", id: `${this.id}-${key}`, "data-key": String(key) }, ...cells);
    const track = make("i");
    const time = make("span");
    cells[4].append(make("span", { class: "fl-track", "aria-hidden": "true" }, track), time);
    const line = { node, cells, track, time, row: null, index: 0, top: -1 };
    node.addEventListener("click", () => {
      this.cursor = key;
      this.owner.toggle(key, line.index);
    });
    return line;
  }

  /** Move the clocks: of the running rows, or of all (the longest may have changed). */
  tick(known, now, runningOnly) {
    const longest = known.longest(now);
    for (const line of this.lines.values()) {
      const row = line.row;
      if (!row) continue;
      if (row.due !== null) say(line.status, statusOf(row, known.elapsed(now)));
      if (runningOnly && row.started === null) continue;
      const seconds = known.seconds(row, now);
      const share = row.fraction ?? (seconds ?? 0) / longest;
      line.track.parentNode.hidden = seconds === null;
      line.track.style.width = `${Math.min(100, 100 * share).toFixed(0)}%`;
      say(line.time, seconds === null ? "" : duration(seconds));
    }
  }

  /** Show the details of a run below its row, or none. */
  show(open) {
    this.open?.panel.remove();
    this.open = open;
    if (open) this.canvas.append(open.panel);
  }

  #key(event) {
    if (event.target.closest(".fl-panel") && event.key !== "Escape") return;
    if (event.target.closest("button, input") && event.key === "Enter") return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / ROW_PX) - 1);
    const steps = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps) this.#move(steps[event.key]);
    else if (event.key === "Enter" && this.cursor !== null) this.#toggleCursor();
    else if (event.key === "Escape" && this.open) this.owner.toggle(this.open.key, this.open.index);
    else return;
    // Otherwise the notebook takes the key for one of its own.
    event.preventDefault();
    event.stopPropagation();
  }

  #toggleCursor() {
    const line = this.lines.get(this.cursor);
    if (line) this.owner.toggle(this.cursor, line.index);
  }

  #move(step) {
    const { first, matching } = this.known.place;
    const at = this.lines.get(this.cursor)?.index;
    const near = at === undefined && Number.isFinite(step) ? this.#indexAt(this.scroller.scrollTop) : (at ?? 0) + step;
    const index = Math.max(0, Math.min(matching - 1, near));
    const top = this.#top(index);
    if (top < this.scroller.scrollTop) this.scroller.scrollTop = top;
    const bottom = top + ROW_PX - this.scroller.clientHeight;
    if (bottom > this.scroller.scrollTop) this.scroller.scrollTop = bottom;
    this.pending = index;
    const key = this.known.order[index - first];
    if (key !== undefined) this.cursor = key;
    else this.owner.want();
    this.#point();
  }

  /** Mark the row that the keyboard is at. */
  #point() {
    if (this.pending !== undefined) {
      const key = this.known.order[this.pending - this.known.place.first];
      if (key !== undefined) {
        this.cursor = key;
        this.pending = undefined;
      }
    }
    const line = this.lines.get(this.cursor);
    this.marked?.classList.remove("fl-cursor");
    this.marked = line?.node;
    this.marked?.classList.add("fl-cursor");
    if (line) this.root.setAttribute("aria-activedescendant", line.node.id);
    else this.root.removeAttribute("aria-activedescendant");
  }
}

function statusOf(row, elapsed) {
  const word = row.stopping ? "stopping" : row.word;
  if (row.message) return `${word} · ${row.message}`;
  const wait = row.due === null ? 0 : row.due - elapsed;
  return wait > 0 ? `${word} in ${wait < 60 ? `${Math.ceil(wait)} s` : duration(wait)}` : word;
}

/** Write a row into its line. */
function fill(line, row, severalTasks) {
  line.row = row;
  const [label, args, status, attempt, , memory, worker] = line.cells;
  say(label, row.label);
  say(args, severalTasks ? `${row.task}(${row.args})` : row.args);
  args.title = row.error ? `${row.args}\n${row.error}` : row.args;
  if (!line.status) {
    line.status = make("span");
    status.replaceChildren(make("span", { class: "fl-dot", "aria-hidden": "true" }, "●"), " ", line.status);
  }
  status.dataset.word = row.word;
  status.title = row.error;
  say(line.status, statusOf(row, 0));
  say(attempt, row.attempt ? (row.attempts > 1 && row.attempt > 1 ? `${row.attempt} of ${row.attempts}` : String(row.attempt)) : "");
  say(memory, row.memory === null ? "" : size(row.memory));
  say(worker, row.worker || "–");
}
