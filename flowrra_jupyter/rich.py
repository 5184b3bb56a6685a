"""Frames as HTML and as plain text: what stays in a saved notebook, and what a front end without widgets shows.

The HTML is self-contained and escapes everything that came from a task. The look is in one style element; where a
viewer removes it (GitHub, an untrusted notebook), plain tables, bold words and ``details`` still tell the story.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Final

from flowrra import AppStats, TaskResult
from flowrra_jupyter.view_models import WORDS, Frame, Head, Row, Word, by_id, head_of, row_of

HTML_ROWS: Final = 60
TEXT_ROWS: Final = 12
STYLE: Final = Path(__file__).parent / "widgets" / "static" / "board.css"
SEGMENTS: Final[tuple[Word, ...]] = ("done", "failed", "cancelled", "retrying", "running")
CHIPS: Final[tuple[Word, ...]] = ("done", "running", "failed", "retrying", "cancelled", "pending")
COLUMNS: Final = ("#", "arguments", "status", "attempt", "time")
_INSTANT: Final = 0.1
_MINUTE: Final = 60
_HOUR: Final = 3600


def html(frame: Frame, rows: int = HTML_ROWS) -> str:
    """Draw *frame* with its first *rows* rows."""
    head = frame["head"]
    shown = frame["rows"][:rows]
    body = "".join((_head(head), _bar(head), _meta(head), _table(head, shown), _foot(head, len(shown))))
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
    css = {"#": "fl-label", "attempt": "fl-right", "time": "fl-time"}.get(column)
    return f' class="{css}"' if css else ""


def _row(head: Head, row: Row, longest: float) -> str:
    label, args, status, attempt, time = (escape(cell) for cell in _cells(head, row)[:-1])
    detail = _detail(row, unfolded=head["total"] == 1)
    opening = '<tr class="fl-has-detail">' if detail else "<tr>"
    return (
        f'{opening}<td class="fl-label">{label}</td>'
        f'<td class="fl-args">{args}</td><td data-word="{row["word"]}"><span class="fl-dot">●</span> {status}</td>'
        f'<td class="fl-right">{attempt}</td><td class="fl-time">{_track(head, row, longest)}{time}</td></tr>{detail}'
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
    error, traceback = escape(row["error"]), escape(row["traceback"])
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
        str(row["attempt"]) if row["attempt"] else "",
        "" if seconds is None else duration(seconds),
        row["error"],
    ]


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
    rows = [] if epoch is None else [by_id(row_of(record, None, epoch)) for record in records]
    return Frame(head=head_of("runs", counts, rows, elapsed=elapsed, rate=None, several_tasks=True), rows=rows)


def stats(facts: AppStats) -> str:
    """Say an app's numbers in a few lines."""
    counts = ", ".join(f"{count(facts.counts[s])} {word}" for s, word in WORDS.items() if facts.counts.get(s))
    lines = [f"{facts.name}: {'running' if facts.running else 'stopped'}; runs: {counts or 'none yet'}"]
    for name, described in facts.executors.items():
        lines.append(f"  {name}: " + ", ".join(f"{key} {value}" for key, value in described.items()))
    if facts.lost_events:
        lines.append(f"  {plural(facts.lost_events, 'event')} dropped, because a subscriber was slow")
    return "\n".join(lines)
