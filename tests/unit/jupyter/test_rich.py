from __future__ import annotations

from html.parser import HTMLParser

import pytest

from flowrra import Status
from flowrra_jupyter import rich
from tests.unit.jupyter.builders import failure, frame, record, row

COUNTS = {Status.SUCCESS: 612, Status.RUNNING: 4, Status.FAILED: 3, Status.PENDING: 381}


class Outline(HTMLParser):
    """Tags as they open and close, and the text outside of style elements."""

    VOID = frozenset({"br", "img", "hr", "input"})

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(markup)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())


def test_the_html_is_well_formed_and_brings_everything_it_needs():
    markup = rich.html(frame([row(Status.FAILED, 1, error=failure()), row(Status.RUNNING, 2)], COUNTS))
    outline = Outline(markup)
    assert outline.open == []
    assert not {"script", "link", "img", "iframe"} & set(outline.tags)
    assert "http" not in markup
    assert "@import" not in markup


def test_without_its_style_the_html_still_says_what_runs_and_what_failed_and_why():
    shown = Outline(rich.html(frame([row(Status.FAILED, 381, error=failure("n must be positive"))], COUNTS))).text
    assert "simulate 1 000 runs" in shown
    assert "612 done" in shown
    assert "4 running" in shown
    assert "3 failed" in shown
    assert "seed=381" in shown
    assert "ValueError: n must be positive" in shown
    assert "Traceback: here" in shown


@pytest.mark.parametrize("field", ["args_preview", "task_name", "message", "traceback"])
def test_what_comes_from_a_task_is_never_markup(field):
    evil = "<img src=x onerror=alert(1)>\"'&"
    changes = {field: evil} if field in ("args_preview", "task_name") else {}
    message, traceback = (evil if field == name else "x" for name in ("message", "traceback"))
    shown = frame([row(Status.FAILED, error=failure(message, traceback), **changes)], title=evil, several_tasks=True)
    markup = rich.html(shown)
    assert "<img" not in markup
    assert Outline(markup).open == []


def test_more_rows_than_fit_are_announced():
    rows = [row(Status.SUCCESS, index) for index in range(100)]
    assert "showing 60 of 100 runs" in Outline(rich.html(frame(rows))).text
    assert "showing 12 of 100 runs" in rich.text(frame(rows))
    assert "showing" not in rich.html(frame(rows[:3]))


def test_text_is_made_of_aligned_lines_for_a_terminal():
    shown = rich.text(
        frame(
            [row(Status.RUNNING, 7, args_preview="seed=7"), row(Status.FAILED, 12, error=failure("bad"))],
            {Status.RUNNING: 1, Status.FAILED: 1},
            elapsed=9.0,
        )
    )
    assert shown.splitlines() == [
        "simulate: 2 runs: 1 running, 1 failed",
        "50.0 %  elapsed 9.0 s",
        "   7  seed=7   running  1  8.0 s",
        "  12  seed=12  failed   1  2.0 s  ValueError: bad",
    ]


def test_lanes_show_the_last_minute_and_end_where_the_view_does():
    lane = {
        "name": "w1",
        "first": 0,
        "segments": [[0.0, 30.0, "done", 4, 0, 0, "0"], [90.0, 10.0, "failed", 1, 1, 7, "7"]],
        "now": None,
    }
    markup = rich.html(frame([row()], elapsed=100.0, lanes=[lane]))
    assert 'data-word="failed" style="left:83.33%;width:16.67%"' in markup
    assert markup.count('data-word="done" style="left') == 0, "it ended before the minute began"
    assert "−60 s" in Outline(markup).text
    assert 'aria-label="worker w1: 5 runs"' in markup


def test_facts_tell_the_speed_up_and_what_is_shared():
    shown = Outline(rich.html(frame([row()] * 2, busy=38.0, workers=4, shared=212_000_000))).text
    assert "speed-up 3.8× on 4" in shown
    assert "shared 212 MB once" in shown


def test_a_later_attempt_is_told_with_how_many_there_may_be():
    shown = rich.text(frame([row(attempts=2, max_attempts=6), row(index=1, max_attempts=6)]))
    assert "2 of 6" in shown
    assert "1 of 6" not in shown


def test_an_empty_batch_is_shown_as_one():
    empty = frame([])
    assert rich.text(empty) == "simulate: 0 runs"
    assert "0 runs" in Outline(rich.html(empty)).text


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.04, "40 ms"), (59.94, "59.9 s"), (125, "2 min 5 s"), (3 * 3600 + 65, "3 h 1 min")]
)
def test_durations_are_said_as_a_person_would(seconds, words):
    assert rich.duration(seconds) == words


def test_thousands_are_grouped():
    assert rich.plural(1_234_567, "run") == "1\u202f234\u202f567 runs"
    assert rich.plural(1, "run") == "1 run"


def test_a_listing_tells_which_task_each_run_is_of():
    listed = rich.listing([record(Status.SUCCESS, 1), record(Status.FAILED, 2, error=failure("bad"))])
    shown = rich.text(listed)
    assert "simulate(seed=1)" in shown
    assert "ValueError: bad" in shown
    assert rich.text(rich.listing([])) == "runs: 0 runs"


def test_the_traceback_of_a_single_run_is_unfolded():
    failed = row(Status.FAILED, error=failure())
    assert "<details open>" in rich.html(frame([failed], {Status.FAILED: 1}))
    assert "<details>" in rich.html(frame([failed], {Status.FAILED: 2}))
