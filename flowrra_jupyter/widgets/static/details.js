// The panel of one run: its error with the lines of the cells, output, attempts, arguments, and its result on request.
import { chip, make, plural, say } from "./dom.js";

const SAFE = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:";

/** One panel. `send` takes messages for the kernel, `close` is called when the person is done with it. */
export class Details {
  constructor(key, send, close) {
    this.key = key;
    this.send = send;
    this.tabs = make("div", { class: "fl-tabs", role: "tablist", "aria-label": "details" });
    this.retry = make("button", { type: "button", hidden: "hidden" }, "Retry");
    this.cancel = make("button", { type: "button", class: "fl-cancel", hidden: "hidden" }, "Cancel");
    const shut = make("button", { type: "button", "aria-label": "Close details", title: "Close (Esc)" }, "×");
    this.body = make("div", { class: "fl-panel-body", role: "tabpanel", tabindex: "0" }, make("span", { class: "fl-dim" }, "…"));
    this.root = make(
      "div", { class: "fl-panel", role: "region", "aria-label": "details of the run" },
      make("div", { class: "fl-panel-head" }, this.tabs, make("div", { class: "fl-actions" }, this.retry, this.cancel, shut)),
      this.body,
    );
    this.retry.addEventListener("click", () => send({ type: "retry", key }));
    this.cancel.addEventListener("click", () => send({ type: "cancel", key }));
    shut.addEventListener("click", close);
    /** @type {string|null} */ this.tab = null;
    this.result = null;
  }

  /** @param {any} told details, or null if the run was forgotten */
  take(told) {
    if (!told) {
      this.body.replaceChildren("This run is no longer kept.");
      return;
    }
    this.told = told;
    this.root.setAttribute("aria-label", `details of run ${told.label}`);
    this.cancel.hidden = told.over;
    this.retry.hidden = !(told.can_retry && told.over && told.word !== "done");
    const lines = told.output ? told.output.split("\n").length - (told.output.endsWith("\n") ? 1 : 0) : 0;
    /** @type {[string, string][]} */
    const tabs = [];
    if (told.error.length) tabs.push(["error", "Error"]);
    if (told.has_result) tabs.push(["result", "Result"]);
    tabs.push(["output", lines ? `Output ${plural(lines, "line")}` : "Output"]);
    tabs.push(["attempts", `Attempts ${told.attempts.length || ""}`.trim()]);
    tabs.push(["arguments", "Arguments"]);
    if (!tabs.some(([name]) => name === this.tab)) this.tab = tabs[0][0];
    this.#drawTabs(tabs);
    this.#drawBody();
  }

  #drawTabs(tabs) {
    const words = JSON.stringify([tabs, this.tab]);
    if (words === this.drawn) return;
    const focused = this.tabs.contains(document.activeElement);
    this.drawn = words;
    const nodes = tabs.map(([name, title]) => {
      const on = name === this.tab;
      const node = make("button", { type: "button", role: "tab", "aria-selected": String(on), tabindex: on ? "0" : "-1" }, title);
      node.addEventListener("click", () => this.#choose(name, tabs));
      node.addEventListener("keydown", (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        event.preventDefault();
        event.stopPropagation();
        const at = tabs.findIndex((tab) => tab[0] === this.tab);
        this.#choose(tabs[(at + step + tabs.length) % tabs.length][0], tabs);
      });
      return node;
    });
    this.tabs.replaceChildren(...nodes);
    if (focused) this.tabs.querySelector('[aria-selected="true"]')?.focus();
  }

  #choose(name, tabs) {
    this.tab = name;
    this.#drawTabs(tabs);
    this.#drawBody(true);
    this.tabs.querySelector('[aria-selected="true"]')?.focus();
    this.root.dispatchEvent(new Event("fl-resized", { bubbles: true }));
  }

  #drawBody(anew = false) {
    const told = this.told;
    const words = this.tab === "result" ? `result ${this.result !== null}` : JSON.stringify([this.tab, told[{ error: "error", output: "output", attempts: "attempts" }[this.tab] ?? "facts"]]);
    if (words === this.shown && !anew) return;
    this.shown = words;
    if (this.tab === "error") this.body.replaceChildren(errorOf(told.error));
    else if (this.tab === "output") this.#drawOutput(told.output);
    else if (this.tab === "attempts") this.body.replaceChildren(...told.attempts.map(attemptOf));
    else if (this.tab === "arguments") this.body.replaceChildren(make("pre", {}, told.args || "none"), listOf(told.facts));
    else this.#drawResult();
  }

  #drawOutput(output) {
    const below = this.body.scrollTop + this.body.clientHeight >= this.body.scrollHeight - 4;
    this.body.replaceChildren(output ? make("pre", {}, output) : make("span", { class: "fl-dim" }, "This run has written nothing."));
    // Whoever reads the end follows it.
    if (below) this.body.scrollTop = this.body.scrollHeight;
  }

  #drawResult() {
    if (this.result) {
      this.body.replaceChildren(this.result);
      return;
    }
    this.body.replaceChildren(make("span", { class: "fl-dim" }, "…"));
    this.send({ type: "result", key: this.key });
  }

  /** The kernel has made the preview. @param {Record<string, string>} bundle @param {DataView[]} buffers */
  takeResult(bundle, buffers) {
    this.result = resultOf(bundle, buffers, () => this.root.dispatchEvent(new Event("fl-resized", { bubbles: true })));
    if (this.tab === "result") this.#drawBody(true);
  }
}

function errorOf(lines) {
  return make("pre", { class: "fl-error" }, ...lines.map(({ text, kind }) => make("span", { class: `fl-line-${kind}` }, `${text}\n`)));
}

function attemptOf({ number, word, error }) {
  return make("div", { class: "fl-attempt-line" }, make("span", { class: "fl-dim" }, `${number}`), " ", chip(word, word), error ? ` ${error}` : "");
}

function listOf(facts) {
  return make("dl", {}, ...facts.flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}

/** Markup that a value has made of itself only ever appears in a frame without scripts, or as an image. */
function resultOf(bundle, buffers, resized) {
  if ("image/png" in bundle && buffers.length) return image(new Blob([buffers[0]], { type: "image/png" }), resized);
  if (bundle["image/svg+xml"]) return image(new Blob([bundle["image/svg+xml"]], { type: "image/svg+xml" }), resized);
  if (bundle["text/html"]) return frameOf(bundle["text/html"], resized);
  return make("pre", {}, bundle["text/plain"] ?? "");
}

function image(blob, resized) {
  const address = URL.createObjectURL(blob);
  const node = make("img", { class: "fl-image", alt: "the result", src: address });
  node.addEventListener("load", () => {
    URL.revokeObjectURL(address);
    resized();
  });
  return node;
}

function frameOf(markup, resized) {
  // Of the page's origin, so that its height can be read; without allow-scripts nothing in it can act.
  const frame = make("iframe", { class: "fl-frame", sandbox: "allow-same-origin", title: "the result" });
  frame.addEventListener("load", () => {
    const page = frame.contentDocument;
    const style = getComputedStyle(frame);
    page.body.style.cssText = `margin: 0; color: ${style.color}; font: 12px ${style.fontFamily}; background: transparent`;
    frame.style.height = `${Math.min(400, page.documentElement.scrollHeight + 4)}px`;
    resized();
  });
  frame.srcdoc = `<!doctype html><meta http-equiv="Content-Security-Policy" content="${SAFE}"><meta charset="utf-8">
<style>table{border-collapse:collapse}th,td{padding:2px 8px;text-align:right;border-bottom:1px solid #8884}</style>${markup}`;
  return frame;
}
