// What one open view knows: the totals, a window of rows, the lanes. Frames are described in flowrra_jupyter/view_models.py.

/** @typedef {{key: number, label: string, task: string, args: string, word: string, stopping: boolean, attempt: number,
 *   attempts: number, due: number|null, started: number|null, seconds: number|null, fraction: number|null,
 *   message: string, error: string, memory: number|null, worker: string}} Row */
/** @typedef {{title: string, total: number, counts: Record<string, number>, share: number, elapsed: number,
 *   rate: number|null, left: number|null, live: boolean, several_tasks: boolean, lasting: boolean,
 *   workers: number|null, paused: boolean, speed_up: number|null, shared: number}} Head */
/** @typedef {[number, number, string, number, number, number, string]} Segment begin, duration, word, runs, failed, key, label */
/** @typedef {{name: string, first: number, segments: Segment[], now: {key: number, label: string, started: number}|null}} Lane */
/** @typedef {{first: number, matching: number, searched: number, held: boolean}} Place */
/** @typedef {{seq: number, whole: boolean, head: Head, rows: Row[], order?: number[], place: Place, lanes: Lane[],
 *   workers: string[]}} Frame */

const MINUTE = 60;

export class Known {
  seq = 0;
  /** @type {Head|null} */ head = null;
  /** @type {Map<number, Row>} */ rows = new Map();
  /** @type {number[]} */ order = [];
  /** @type {Place} */ place = { first: 0, matching: 0, searched: 1, held: false };
  /** @type {Map<string, Lane>} */ lanes = new Map();
  /** @type {string[]} */ workers = [];
  at = 0;

  /** Take a frame; false if one before it is missing. A whole one always fits.
   * @param {Frame} frame @param {number} now milliseconds */
  take(frame, now) {
    if (!frame.whole && frame.seq !== this.seq + 1) return false;
    if (frame.whole) {
      this.rows.clear();
      this.lanes.clear();
      this.order = [];
    }
    this.seq = frame.seq;
    this.head = frame.head;
    this.place = frame.place;
    this.at = now;
    for (const row of frame.rows) this.rows.set(row.key, row);
    if (frame.order) this.#reorder(frame.order);
    for (const lane of frame.lanes) this.#extend(lane);
    this.workers = frame.workers;
    return true;
  }

  /** @param {number[]} order */
  #reorder(order) {
    this.order = order;
    const kept = new Set(order);
    for (const key of this.rows.keys()) if (!kept.has(key)) this.rows.delete(key);
  }

  /** Put the segments of a lane after those that are known before them, and forget what is over a minute old.
   * @param {Lane} news */
  #extend(news) {
    const before = this.lanes.get(news.name);
    const kept = before ? before.segments.slice(0, Math.max(0, news.first - before.first)) : [];
    const first = kept.length && before ? before.first : news.first;
    const segments = [...kept, ...news.segments];
    const old = segments.findIndex(([begin, took]) => begin + took >= (this.head?.elapsed ?? 0) - MINUTE);
    const drop = old < 0 ? segments.length : old;
    this.lanes.set(news.name, { ...news, first: first + drop, segments: segments.slice(drop) });
  }

  /** Stop the clocks where they stand. @param {number} now milliseconds */
  freeze(now) {
    if (!this.head) return;
    this.head = { ...this.head, elapsed: this.elapsed(now), left: null, live: false };
  }

  /** Seconds since the first submission; time goes on without messages. @param {number} now milliseconds */
  elapsed(now) {
    if (!this.head) return 0;
    return this.head.elapsed + (this.head.live ? (now - this.at) / 1000 : 0);
  }

  /** How long the latest attempt of a row has taken. @param {Row} row @param {number} now milliseconds */
  seconds(row, now) {
    return row.started === null ? row.seconds : Math.max(0, this.elapsed(now) - row.started);
  }

  /** @param {number} now milliseconds */
  longest(now) {
    let longest = 0;
    for (const row of this.rows.values()) longest = Math.max(longest, this.seconds(row, now) ?? 0);
    return longest || 1;
  }
}
