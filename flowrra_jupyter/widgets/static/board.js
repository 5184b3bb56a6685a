// The live view of a batch, a run or the app. Messages and frames are described in flowrra_jupyter/bridge.py and view_models.py.

const CHIPS = ["done", "running", "failed", "retrying", "cancelled", "pending"];
const SEGMENTS = ["done", "failed", "cancelled", "retrying", "running"];
const COLUMNS = [["#", "fl-label"], ["arguments", ""], ["status", ""], ["attempt", "fl-right"], ["time", "fl-time"]];
const TICK_MS = 500;
const PATIENCE_MS = 2000;

/** @typedef {{key: string, label: string, task: string, args: string, word: string, stopping: boolean, attempt: number,
 *   started: number|null, seconds: number|null, fraction: number|null, message: string, error: string, traceback: string}} Row */
/** @typedef {{title: string, total: number, counts: Record<string, number>, share: number, elapsed: number, rate: number|null,
 *   left: number|null, live: boolean, several_tasks: boolean}} Head */
/** @typedef {{seq: number, head: Head, rows: Row[], order?: string[]}} Change */

/** Make an element with attributes and children. Text from tasks only ever becomes text nodes.
 * @param {string} tag @param {Record<string, string>} attributes @param {...(Node|string)} children */
function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");
const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

function duration(seconds) {
  if (seconds < 0.1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** What the view knows: the rows by key, their order, the head, and when the head was true. */
class Known {
  seq = 0;
  /** @type {Head|null} */ head = null;
  /** @type {Map<string, Row>} */ rows = new Map();
  /** @type {string[]} */ order = [];
  at = 0;

  /** Take a change; false if one before it is missing. A snapshot (with every row and an order) always fits.
   * @param {Change} change @param {boolean} snapshot */
  take(change, snapshot) {
    if (!snapshot && change.seq !== this.seq + 1) return false;
    if (snapshot) this.rows.clear();
    this.seq = change.seq;
    this.head = change.head;
    this.at = performance.now();
    for (const row of change.rows) this.rows.set(row.key, row);
    if (change.order) {
      this.order = change.order;
      const kept = new Set(change.order);
      for (const key of this.rows.keys()) if (!kept.has(key)) this.rows.delete(key);
    }
    return true;
  }

  /** Stop the clocks where they stand. */
  freeze() {
    if (!this.head?.live) return;
    this.head = { ...this.head, elapsed: this.head.elapsed + this.since(), left: null, live: false };
  }

  /** Seconds that passed here since the head was sent; time goes on without messages. */
  since() {
    return this.head?.live ? (performance.now() - this.at) / 1000 : 0;
  }

  seconds(row) {
    return row.started === null ? row.seconds : Math.max(0, this.head.elapsed + this.since() - row.started);
  }

  longest() {
    let longest = 0;
    for (const row of this.rows.values()) longest = Math.max(longest, this.seconds(row) ?? 0);
    return longest || 1;
  }
}

/** The fixed skeleton; drawing fills it. */
function skeleton() {
  const parts = {
    head: make("span", { style: "display: contents" }),
    cancel: make("button", { class: "fl-cancel", type: "button" }),
    bar: make("div", { class: "fl-bar", role: "progressbar", "aria-valuemin": "0", "aria-valuemax": "100" }),
    meta: make("div", { class: "fl-meta" }),
    body: make("tbody"),
    foot: make("div", { class: "fl-foot" }),
    notice: make("div", { class: "fl-foot fl-notice", role: "status", hidden: "hidden" }),
  };
  const headings = COLUMNS.map(([name, css]) => make("th", { class: css, scope: "col" }, name));
  const table = make("table", { class: "fl-table" }, make("thead", {}, make("tr", {}, ...headings)), parts.body);
  parts.scroll = make("div", { class: "fl-scroll", tabindex: "0", "aria-label": "runs" }, table);
  parts.root = make(
    "div", { class: "flowrra", role: "region" },
    make("div", { class: "fl-head" }, parts.head, parts.cancel),
    parts.bar, parts.meta, parts.scroll, parts.foot, parts.notice,
  );
  return parts;
}

function drawHead(parts, known) {
  const head = known.head;
  const chips = CHIPS.filter((word) => head.counts[word]).map((word) => make(
    "span", { class: "fl-chip", "data-word": word },
    make("span", { class: "fl-dot" }, "●"), " ", make("b", {}, count(head.counts[word])), ` ${word}`,
  ));
  parts.head.replaceChildren(
    make("b", { class: "fl-title" }, head.title), make("span", { class: "fl-dim" }, plural(head.total, "run")), ...chips,
  );
  // A single run fills the bar as it reports; of many, the running ones take the place that they will have.
  const width = (word) => (head.total === 1 && word === "running" ? head.share : head.counts[word] / head.total);
  parts.bar.setAttribute("aria-valuenow", (100 * head.share).toFixed(1));
  parts.bar.replaceChildren(...SEGMENTS.filter((word) => head.counts[word]).map((word) =>
    make("i", { "data-word": word, style: `width: ${100 * width(word)}%` })));
  parts.root.setAttribute("aria-label", `${head.title}, ${plural(head.total, "run")}`);
  parts.cancel.hidden = !head.live;
  if (!parts.cancel.disabled) parts.cancel.textContent = head.total === 1 ? "Cancel" : "Cancel all";
  const shown = known.order.length;
  parts.foot.hidden = shown >= head.total;
  parts.foot.textContent = `showing ${count(shown)} of ${plural(head.total, "run")}`;
}

function drawMeta(parts, known) {
  const head = known.head;
  const facts = [["", `${(100 * head.share).toFixed(1)} %`, ""]];
  if (head.rate && head.total > 1) facts.push(["", head.rate.toFixed(1), " runs/s"]);
  facts.push(["elapsed ", duration(head.elapsed + known.since()), ""]);
  // An estimate that has run out was wrong; better none.
  const left = (head.left ?? 0) - known.since();
  if (left > 0) facts.push(["left ", duration(left), ""]);
  parts.meta.replaceChildren(...facts.map(([before, value, after]) => make("span", {}, before, make("b", {}, value), after)));
}

function statusText(row) {
  const word = row.stopping ? "stopping" : row.word;
  return row.message ? `${word} · ${row.message}` : word;
}

/** Build the lines of one row: the run, and below it its error, if any. */
function buildRow(row, head) {
  const line = make(
    "tr", { class: row.error ? "fl-has-detail" : "", "data-key": row.key },
    make("td", { class: "fl-label" }, row.label),
    make("td", { class: "fl-args", title: row.args }, head.several_tasks ? `${row.task}(${row.args})` : row.args),
    make("td", { "data-word": row.word }, make("span", { class: "fl-dot" }, "●"), ` ${statusText(row)}`),
    make("td", { class: "fl-right" }, row.attempt ? String(row.attempt) : ""),
    make("td", { class: "fl-time" }, make("span", { class: "fl-track" }, make("i")), make("span")),
  );
  if (!row.error) return [line];
  const told = row.traceback
    ? make("details", { open: head.total === 1 ? "open" : "" }, make("summary", {}, row.error), make("pre", { class: "fl-traceback" }, row.traceback))
    : document.createTextNode(row.error);
  const detail = make("tr", { class: "fl-detail" }, make("td"), make("td", { colspan: String(COLUMNS.length - 1) }, told));
  return [line, detail];
}

function drawTime(line, row, known, longest) {
  const seconds = known.seconds(row);
  const share = row.fraction ?? (seconds ?? 0) / longest;
  const [track, label] = line.querySelector(".fl-time").children;
  track.hidden = seconds === null;
  track.firstElementChild.style.width = `${Math.min(100, 100 * share).toFixed(0)}%`;
  label.textContent = seconds === null ? "" : duration(seconds);
}

/** Keep the elements of rows that did not change, so that an opened traceback and the selection stay. */
class Table {
  /** @type {Map<string, {row: Row, nodes: HTMLElement[]}>} */ drawn = new Map();

  draw(parts, known) {
    const wanted = [];
    const next = new Map();
    for (const key of known.order) {
      const row = known.rows.get(key);
      if (!row) continue;
      const before = this.drawn.get(key);
      const entry = before?.row === row ? before : { row, nodes: buildRow(row, known.head) };
      next.set(key, entry);
      wanted.push(...entry.nodes);
    }
    this.drawn = next;
    place(parts.body, wanted);
    parts.scroll.hidden = wanted.length === 0;
    this.tick(known, false);
  }

  /** Move the clocks: of the running rows, or of all (the longest may have changed). */
  tick(known, runningOnly) {
    const longest = known.longest();
    for (const { row, nodes } of this.drawn.values()) {
      if (!runningOnly || row.started !== null) drawTime(nodes[0], row, known, longest);
    }
  }
}

/** Make *wanted* the children of *parent*, moving only what is out of place. */
function place(parent, wanted) {
  let at = parent.firstChild;
  for (const node of wanted) {
    if (node === at) at = at.nextSibling;
    else parent.insertBefore(node, at);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
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

/** Wire the button: it answers at once, and says so when the kernel does not. */
function wireCancel(model, parts, signal) {
  let patience = 0;
  parts.cancel.addEventListener("click", () => {
    parts.cancel.disabled = true;
    parts.cancel.textContent = "Stopping…";
    model.send({ type: "cancel" });
    patience = setTimeout(() => {
      parts.notice.hidden = false;
      parts.notice.textContent = "The kernel has not answered yet. Interrupt stops what a cell waits for.";
    }, PATIENCE_MS);
  }, { signal });
  signal.addEventListener("abort", () => clearTimeout(patience));
  return () => {
    clearTimeout(patience);
    parts.notice.hidden = true;
  };
}

export default {
  /** Runs as soon as the kernel opened the model, before anything is shown: it tells that widgets work here. */
  initialize({ model }) {
    model.send({ type: "hello" });
  },

  render({ model, el }) {
    const stop = new AbortController();
    const parts = skeleton();
    const known = new Known();
    const table = new Table();
    const acknowledged = wireCancel(model, parts, stop.signal);
    let frame = 0;

    const draw = () => {
      frame = 0;
      drawHead(parts, known);
      drawMeta(parts, known);
      table.draw(parts, known);
    };
    const receive = (message, buffers) => {
      if (message.type === "cancelled") return acknowledged();
      if (message.type !== "snapshot" && message.type !== "delta") return;
      const change = JSON.parse(new TextDecoder().decode(buffers[0]));
      if (!known.take(change, message.type === "snapshot")) return model.send({ type: "snapshot" });
      if (!frame) frame = requestAnimationFrame(draw);
    };
    const tick = () => {
      if (!known.head?.live) return;
      drawMeta(parts, known);
      table.tick(known, true);
    };

    const gone = () => {
      known.freeze();
      draw();
      parts.notice.hidden = false;
      parts.notice.textContent = "The kernel has ended; this is what was known last.";
    };

    model.on("msg:custom", receive);
    watchKernel(model, gone, stop.signal);
    const clock = setInterval(tick, TICK_MS);
    stop.signal.addEventListener("abort", () => {
      model.off("msg:custom", receive);
      clearInterval(clock);
      cancelAnimationFrame(frame);
    });
    el.replaceChildren(parts.root);
    model.send({ type: "snapshot" });
    return () => stop.abort();
  },
};
