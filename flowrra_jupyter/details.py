"""Everything about one run that fits a panel: its error with the lines of the cells, output, attempts, arguments."""

from __future__ import annotations

import linecache
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypedDict

from flowrra import ErrorInfo, Status, TaskResult, UnknownRun
from flowrra_jupyter.sources import Source
from flowrra_jupyter.view_models import TERMINAL, WORDS, said, tail

OUTPUT_LIMIT: Final = 20_000
"""Characters of a run's output that a view shows: the end."""
SHOWN_ATTEMPTS: Final = 20

Kind = Literal["plain", "place", "code", "hit", "error"]

_FRAME: Final = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+), in (?P<function>.*)')
_CELL: Final = re.compile(r"ipykernel_\d+[/\\]|<ipython-input-")


class Line(TypedDict):
    """A line of a traceback: what it says, and what it is."""

    text: str
    kind: Kind


class Details(TypedDict):
    """What the panel of one run shows."""

    key: int
    id: str
    label: str
    word: str
    error: list[Line]
    output: str
    attempts: list[dict[str, Any]]
    facts: list[list[str]]
    args: str
    has_result: bool
    over: bool
    can_retry: bool


def details_of(source: Source, key: int) -> Details | None:
    """The details of the run in that row, or None if it was forgotten."""
    try:
        handle = source.run(key)
    except UnknownRun:
        return None
    record = handle.info()
    failed = record.error if record.status in (Status.FAILED, Status.RETRYING) else None
    return Details(
        key=key,
        id=record.task_id,
        label=source.label(key),
        word=WORDS[record.status],
        error=[] if failed is None else list(lines_of(failed, cell_name)),
        output=tail(handle.logs, OUTPUT_LIMIT),
        attempts=_attempts(record),
        facts=_facts(record),
        args=record.args_preview,
        has_result=record.status is Status.SUCCESS,
        over=record.status in TERMINAL,
        can_retry=hasattr(handle, "retry"),
    )


def _attempts(record: TaskResult) -> list[dict[str, Any]]:
    """What became of each attempt, the latest of very many."""
    attempts = []
    for number in range(max(1, record.attempts - SHOWN_ATTEMPTS + 1), record.attempts + 1):
        error = record.errors[number - 1] if number <= len(record.errors) else None
        word = "failed" if error is not None else WORDS[record.status]
        attempts.append({"number": number, "word": word, "error": "" if error is None else said(error)})
    return attempts


def _facts(record: TaskResult) -> list[list[str]]:
    facts = [["run", record.task_id], ["task", record.task_name]]
    if record.batch_id is not None:
        facts.append(["batch", f"{record.batch_id}, item {record.index}"])
    facts.append(["submitted", _clock(record.submitted_at)])
    if record.started_at is not None:
        facts.append(["started", _clock(record.started_at)])
    if record.finished_at is not None:
        facts.append(["ended", _clock(record.finished_at)])
    if record.worker:
        facts.append(["worker", record.worker])
    return [*facts, ["random seed", str(record.seed)]]


def _clock(instant: Any) -> str:
    return f"{instant.astimezone():%Y-%m-%d %H:%M:%S}"


def cell_name(file: str) -> str | None:
    """Say which cell the code of *file* came from: ``cell 4``; None if it is a real file."""
    if not _CELL.search(file):
        return None
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        return None
    shell = get_ipython()
    named = None if shell is None else shell.compile.format_code_name(file)
    number = re.search(r"\[(\d+)\]", str(named[1])) if named else None
    return f"cell {number[1]}" if number else "a cell"


def lines_of(error: ErrorInfo, name_of: Callable[[str], str | None]) -> Iterator[Line]:
    """Retell a traceback: the error first, then where it came from, each frame of a cell with its own lines."""
    yield Line(text=said(error), kind="error")
    lines = tail(error.traceback).splitlines()
    last = max((number for number, line in enumerate(lines) if _FRAME.fullmatch(line)), default=-1)
    skip = False
    for number, line in enumerate(lines):
        frame = _FRAME.fullmatch(line)
        if frame is not None:
            name = name_of(frame["file"])
            skip = name is not None
            yield Line(text=f"{name or frame['file']}, line {frame['line']}, in {frame['function']}", kind="place")
            if skip:
                yield from _source(frame["file"], int(frame["line"]))
        elif line.startswith("    ") and set(line.strip()) <= set("^~"):
            continue
        elif line.startswith("    "):
            if not skip:
                yield Line(text=line, kind="hit" if number == last + 1 else "code")
        elif line.strip() and not line.startswith("Traceback") and number <= last:
            yield Line(text=line, kind="error" if number and not line.startswith(("The above", "During")) else "plain")


def _source(file: str, at: int) -> Iterator[Line]:
    """The line of a cell and the one before it; nothing if the kernel does not know the cell any more."""
    for number in (at - 1, at):
        text = linecache.getline(file, number).rstrip()
        if text:
            mark = "--->" if number == at else "    "
            yield Line(text=f"{mark} {number:>3}  {text}", kind="hit" if number == at else "code")
