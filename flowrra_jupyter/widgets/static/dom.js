// Elements and words: what every other part is made of. The words are those of flowrra_jupyter/rich.py.

/** Make an element with attributes and children. Text from tasks only ever becomes text nodes.
 * @param {string} tag @param {Record<string, string>} attributes @param {...(Node|string)} children
 * @returns {any} */
export function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) if (value) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Set the text of *node*, if it is another one: what is the same need not be laid out again.
 * @param {Node} node @param {string} text */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** @param {number} number */
export const count = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, "\u202f");

/** @param {number} number @param {string} noun */
export const plural = (number, noun) => `${count(number)} ${noun}${number === 1 ? "" : "s"}`;

/** @param {number} seconds */
export function duration(seconds) {
  if (seconds < 0.1) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ${Math.floor(seconds % 60)} s`;
  return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
}

/** @param {number} bytes */
export function size(bytes) {
  for (const unit of ["B", "kB", "MB", "GB"]) {
    if (bytes < 1000) return `${bytes.toFixed(0)} ${unit}`;
    bytes /= 1000;
  }
  return `${bytes.toFixed(1)} TB`;
}

/** A dot in the colour of a status, and its word.
 * @param {string} word @param {...(Node|string)} rest */
export function chip(word, ...rest) {
  return make("span", { class: "fl-chip", "data-word": word }, make("span", { class: "fl-dot", "aria-hidden": "true" }, "●"), " ", ...rest);
}
