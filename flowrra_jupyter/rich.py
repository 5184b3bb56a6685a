"""Frames as HTML and as plain text: what stays in a saved notebook, and what a front end without widgets shows.

The HTML is self-contained and escapes everything that came from a task. The look is in one style element; where a
viewer removes it (GitHub, an untrusted notebook), plain tables, bold words and ``details`` still tell the story.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from functools import cache
from html import escape
from pathlib import Path
from typing import Final

from flowrra import AppStats, TaskResult
from flowrra_jupyter.lanes import WINDOW, LaneChange
from flowrra_jupyter.view_models import WORDS, Frame, Head, Row, Word, head_of, row_of, tail

HTML_ROWS: Final = 60
TEXT_ROWS: Final = 12
STYLE: Final = Path(__file__).parent / "widgets" / "static" / "look.css"
SEGMENTS: Final[tuple[Word, ...]] = ("done", "failed", "cancelled", "retrying", "running")
CHIPS: Final[tuple[Word, ...]] = ("done", "running", "failed", "retrying", "cancelled", "pending")
COLUMNS: Final = ("#", "arguments", "status", "attempt", "time", "peak memory", "worker")
MOST_LANES: Final = 16
_INSTANT: Final = 0.1
_SHOWN_BYTES: Final = 1_000_000
_MINUTE: Final = 60
_HOUR: Final = 3600


def html(frame: Frame, rows: int = HTML_ROWS) -> str:
    """Draw *frame* with its first *rows* rows."""
    head = frame["head"]
    shown = frame["rows"][:rows]
    parts = (
        _head(head), _bar(head), _meta(head), _lanes(head, frame["lanes"]), _table(head, shown), _foot(head, len(shown))
    )  # fmt: skip
    body = "".join(parts)
    label = escape(f"{head['title']}, {plural(head['total'], 'run')}", quote=True)
    return f'<div class="flowrra" role="region" aria-label="{label}"><style>{_style()}</style>{body}</div>'


def text(frame: Frame, rows: int = TEXT_ROWS) -> str:
    """Draw *frame* for a terminal: the totals, and a line for each of its first *rows* rows."""
    head = frame["head"]
    counts = ", ".join(f"{count(head['counts'][word])} {word}" for word in CHIPS if word in head["counts"])
    lines = [f"{head['title']}: {plural(head['total'], 'run')}" + (f": {counts}" if counts else "")]
    if head["total"]:
        lines.append("  ".join(f"{before}{value}{after}" for before, value, after in _facts(head)))
    shown = frame["rows"][:rows]
    lines += _columns([_cells(head, row) for row in shown])
    return "\n".join([*lines, *([foot] if (foot := _showing(head, len(shown))) else [])])


def count(number: int) -> str:
    """Group thousands with a narrow no-break space."""
    return f"{number:,}".replace(",", "\u202f")


def plural(number: int, noun: str) -> str:
    """Return ``1 run``, ``2 runs``."""
    return f"{count(number)} {noun}{'' if number == 1 else 's'}"


def duration(seconds: float) -> str:
    """Say *seconds* as a person would: two significant parts."""
    if seconds < _INSTANT:
        return f"{1000 * seconds:.0f} ms"
    if seconds < _MINUTE:
        return f"{seconds:.1f} s"
    if seconds < _HOUR:
        return f"{int(seconds // _MINUTE)} min {int(seconds % _MINUTE)} s"
    return f"{int(seconds // _HOUR)} h {int(seconds % _HOUR // _MINUTE)} min"


def size(number: float) -> str:
    """Say a number of bytes."""
    for unit in ("B", "kB", "MB", "GB"):
        if number < 1000:
            return f"{number:.0f} {unit}"
        number /= 1000
    return f"{number:.1f} TB"


@cache
def _style() -> str:
    lines = (line.strip() for line in STYLE.read_text(encoding="utf-8").splitlines())
    return " ".join(line for line in lines if line and not line.startswith("/*"))


def _facts(head: Head) -> list[tuple[str, str, str]]:
    facts = [("", f"{100 * head['share']:.1f} %", "")]
    if head["rate"] and head["total"] > 1:
        facts.append(("", f"{head['rate']:.1f}", " runs/s"))
    facts.append(("elapsed ", duration(head["elapsed"]), ""))
    if head["left"] is not None:
        facts.append(("left ", duration(head["left"]), ""))
    if head["speed_up"] is not None:
        workers = f" on {head['workers']}" if head["workers"] else ""
        facts.append(("speed-up ", f"{head['speed_up']:.1f}×", workers))
    if head["shared"] >= _SHOWN_BYTES:
        facts.append(("shared ", size(head["shared"]), " once"))
    return facts


def _head(head: Head) -> str:
    chips = "".join(
        f'<span class="fl-chip" data-word="{word}"><span class="fl-dot">●</span> '
        f"<b>{count(head['counts'][word])}</b> {word}</span> "
        for word in CHIPS
        if word in head["counts"]
    )
    title = f'<b class="fl-title">{escape(head["title"])}</b>'
    total = f'<span class="fl-dim">{plural(head["total"], "run")}</span>'
    return f'<div class="fl-head">{title} {total} {chips}</div>'


def _bar(head: Head) -> str:
    widths = {word: _width(head, word) for word in SEGMENTS if word in head["counts"]}
    segments = "".join(f'<i data-word="{word}" style="width:{width:.2f}%"></i>' for word, width in widths.items())
    return f'<div class="fl-bar">{segments}</div>'


def _width(head: Head, word: Word) -> float:
    # A single run fills the bar as it reports; of many, the running ones take the place that they will have.
    alone = head["total"] == 1 and word == "running"
    return 100 * (head["share"] if alone else head["counts"][word] / head["total"])


def _meta(head: Head) -> str:
    if not head["total"]:
        return ""
    facts = " ".join(f"<span>{before}<b>{value}</b>{after}</span>" for before, value, after in _facts(head))
    return f'<div class="fl-meta">{facts}</div>'


def _lanes(head: Head, lanes: Sequence[LaneChange]) -> str:
    """The last minute of each worker that did anything; the axis ends where the view does."""
    if not lanes:
        return ""
    span = max(1.0, min(WINDOW, head["elapsed"]))
    shown = "".join(_lane(head, lane, span) for lane in lanes[:MOST_LANES])
    more = len(lanes) - MOST_LANES
    rest = f'<div class="fl-dim">{plural(more, "more worker")}</div>' if more > 0 else ""
    ticks = "".join(f"<span>{_tick(span, third)}</span>" for third in (3, 2, 1, 0))
    return f'<div class="fl-lanes">{shown}{rest}<div class="fl-axis"><span></span><div>{ticks}</div></div></div>'


def _tick(span: float, third: int) -> str:
    if not third:
        return "now"
    seconds = span * third / 3
    return f"−{seconds:.0f} s" if span >= 10 else f"−{seconds:.1f} s"


def _lane(head: Head, lane: LaneChange, span: float) -> str:
    begin = head["elapsed"] - span
    bars = [(start, took, word, runs) for start, took, word, runs, *_ in lane["segments"]]
    if lane["now"] is not None:
        bars.append((lane["now"]["started"], head["elapsed"] - lane["now"]["started"], "running", 1))
    drawn = "".join(
        f'<i data-word="{word}" style="left:{left:.2f}%;width:{width:.2f}%"></i>'
        for word, left, width in ((word, *_place(start, took, begin, span)) for start, took, word, _ in bars)
        if width > 0
    )
    label = f"worker {lane['name']}: {plural(sum(runs for *_, runs in bars), 'run')}"
    now = f"#{escape(lane['now']['label'])}" if lane["now"] is not None else ""
    return (
        f'<div class="fl-lane"><span>{escape(lane["name"])}</span><div class="fl-way" role="img" '
        f'aria-label="{escape(label, quote=True)}">{drawn}</div><span>{now}</span></div>'
    )


def _place(start: float, took: float, begin: float, span: float) -> tuple[float, float]:
    """(left, width) in percent of what lies inside of the lane; too little to be seen is made visible."""
    left, right = max(begin, start), min(begin + span, start + took)
    return 100 * (left - begin) / span, 100 * max(0.0, right - left) / span if right > left else 0.0


def _table(head: Head, rows: list[Row]) -> str:
    if not rows:
        return ""
    longest = max((_seconds(head, row) or 0.0 for row in rows), default=0.0)
    headings = "".join(f"<th{_css(name)}>{name}</th>" for name in COLUMNS)
    body = "".join(_row(head, row, longest) for row in rows)
    return (
        f'<div class="fl-scroll"><table class="fl-table"><thead><tr>{headings}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def _css(column: str) -> str:
    css = {"#": "fl-label", "attempt": "fl-right", "peak memory": "fl-right", "time": "fl-time"}.get(column)
    return f' class="{css}"' if css else ""


def _row(head: Head, row: Row, longest: float) -> str:
    label, args, status, attempt, time, _ = (escape(cell) for cell in _cells(head, row))
    detail = _detail(row, unfolded=head["total"] == 1)
    opening = '<tr class="fl-has-detail">' if detail else "<tr>"
    return (
        f'{opening}<td class="fl-label">{label}</td>'
        f'<td class="fl-args">{args}</td><td data-word="{row["word"]}"><span class="fl-dot">●</span> {status}</td>'
        f'<td class="fl-right">{attempt}</td><td class="fl-time">{_track(head, row, longest)}{time}</td>'
        f'<td class="fl-right">{"" if row["memory"] is None else size(row["memory"])}</td>'
        f'<td class="fl-worker">{escape(row["worker"])}</td></tr>{detail}'
    )


def _track(head: Head, row: Row, longest: float) -> str:
    seconds = _seconds(head, row)
    if seconds is None:
        return ""
    share = row["fraction"] if row["fraction"] is not None else seconds / (longest or 1.0)
    return f'<span class="fl-track"><i style="width:{100 * share:.0f}%"></i></span>'


def _detail(row: Row, *, unfolded: bool) -> str:
    if not row["error"]:
        return ""
    error, traceback = escape(row["error"]), escape(row.get("traceback", ""))
    if not traceback:
        inner = error
    else:
        opening = "<details open>" if unfolded else "<details>"
        inner = f'{opening}<summary>{error}</summary><pre class="fl-traceback">{traceback}</pre></details>'
    return f'<tr class="fl-detail"><td></td><td colspan="{len(COLUMNS) - 1}">{inner}</td></tr>'


def _seconds(head: Head, row: Row) -> float | None:
    return row["seconds"] if row["started"] is None else max(0.0, head["elapsed"] - row["started"])


def _cells(head: Head, row: Row) -> list[str]:
    seconds = _seconds(head, row)
    word = "stopping" if row["stopping"] else row["word"]
    return [
        row["label"],
        f"{row['task']}({row['args']})" if head["several_tasks"] else row["args"],
        f"{word} · {row['message']}" if row["message"] else word,
        attempt_of(row),
        "" if seconds is None else duration(seconds),
        row["error"],
    ]


def attempt_of(row: Row) -> str:
    """Say which attempt it is, and of how many where there may be several."""
    if not row["attempt"]:
        return ""
    return (
        f"{row['attempt']} of {row['attempts']}" if row["attempts"] > 1 and row["attempt"] > 1 else str(row["attempt"])
    )


def _columns(table: list[list[str]]) -> list[str]:
    if not table:
        return []
    align: list[Callable[[str, int], str]] = [str.rjust, str.ljust, str.ljust, str.rjust, str.rjust, str.ljust]
    clipped = [[_clip(cell, 48 if column == 1 else 72) for column, cell in enumerate(line)] for line in table]
    widths = [max(map(len, column)) for column in zip(*clipped, strict=True)]
    return [_line(line, widths, align) for line in clipped]


def _line(cells: list[str], widths: Iterable[int], align: Iterable[Callable[[str, int], str]]) -> str:
    padded = (pad(cell, width) for pad, cell, width in zip(align, cells, widths, strict=True))
    return ("  " + "  ".join(padded)).rstrip()


def _clip(cell: str, width: int) -> str:
    cell = " ".join(cell.split())
    return cell if len(cell) <= width else cell[: width - 1] + "…"


def _showing(head: Head, shown: int) -> str:
    return f"showing {count(shown)} of {plural(head['total'], 'run')}" if shown < head["total"] else ""


def _foot(head: Head, shown: int) -> str:
    showing = _showing(head, shown)
    return f'<div class="fl-foot">{showing}</div>' if showing else ""


def listing(records: Sequence[TaskResult]) -> Frame:
    """Return a frame of *records* as they are, for a table that does not move."""
    epoch = min((record.submitted_at for record in records), default=None)
    counts = Counter(record.status for record in records)
    ends = [record.finished_at for record in records if record.finished_at is not None]
    elapsed = (max(ends) - epoch).total_seconds() if ends and epoch is not None else 0.0
    rows = [] if epoch is None else [_listed(key, record, epoch) for key, record in enumerate(records)]
    head = head_of("runs", counts, (), elapsed=elapsed, rate=None, several_tasks=True)
    return Frame(head=head, rows=rows, lanes=[])


def _listed(key: int, record: TaskResult, epoch: datetime) -> Row:
    traceback = "" if record.error is None else tail(record.error.traceback)
    return {**row_of(key, record, None, epoch, by_index=False), "traceback": traceback}


def stats(facts: AppStats) -> str:
    """Say an app's numbers in a few lines."""
    counts = ", ".join(f"{count(facts.counts[s])} {word}" for s, word in WORDS.items() if facts.counts.get(s))
    lines = [f"{facts.name}: {'running' if facts.running else 'stopped'}; runs: {counts or 'none yet'}"]
    for name, described in facts.executors.items():
        lines.append(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in described.items()))
    if facts.lost_events:
        lines.append(f"  {plural(facts.lost_events, 'event')} dropped, because a subscriber was slow")
    return "\n".join(lines)
