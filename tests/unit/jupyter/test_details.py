from __future__ import annotations

import linecache
from collections.abc import Iterator

import pytest
from IPython.core.formatters import DisplayFormatter

from flowrra import ErrorInfo, Flowrra
from flowrra_jupyter import previews
from flowrra_jupyter.details import OUTPUT_LIMIT, details_of, lines_of
from flowrra_jupyter.sources import source_of

CELL = "def draw(n):\n    rng = 1\n    raise ValueError(n)\n"
TRACEBACK = """Traceback (most recent call last):
  File "/tmp/ipykernel_7/9.py", line 3, in draw
    raise ValueError(n)
    ^^^^^^^^^^^^^^^^^^^
ValueError: 5

The above exception was the direct cause of the following exception:

Traceback (most recent call last):
  File "/srv/lib/simulate.py", line 70, in simulate
    draw(n)
    ~~~~^^^
RuntimeError: it failed
"""


@pytest.fixture
def cell() -> Iterator[None]:
    linecache.cache["/tmp/ipykernel_7/9.py"] = (len(CELL), None, CELL.splitlines(keepends=True), "")
    yield
    del linecache.cache["/tmp/ipykernel_7/9.py"]


def test_a_traceback_is_retold_with_the_lines_of_the_cell(cell):
    error = ErrorInfo("builtins.RuntimeError", "it failed", TRACEBACK)
    told = [
        (line["kind"], line["text"]) for line in lines_of(error, lambda file: "cell 4" if "ipykernel" in file else None)
    ]
    assert told == [
        ("error", "RuntimeError: it failed"),
        ("place", "cell 4, line 3, in draw"),
        ("code", "       2      rng = 1"),
        ("hit", "--->   3      raise ValueError(n)"),
        ("error", "ValueError: 5"),
        ("plain", "The above exception was the direct cause of the following exception:"),
        ("place", "/srv/lib/simulate.py, line 70, in simulate"),
        ("hit", "    draw(n)"),
    ]


def test_a_cell_that_the_kernel_forgot_is_named_without_lines():
    error = ErrorInfo("ValueError", "5", TRACEBACK.partition("\n\n")[0])
    told = [line["kind"] for line in lines_of(error, lambda _: "cell 4")]
    assert told == ["error", "place"]


def test_details_tell_arguments_attempts_output_and_where_it_ran():
    def flaky(seed: int) -> None:
        print("drawing", seed)
        raise OSError(f"reset {seed}")

    with Flowrra("study.ipynb", cpu_workers=1) as app:
        handle = app.task(cpu_bound=True, max_retries=1, retry_delay=0.01)(flaky).submit(7)
        handle.wait(20)
        source = source_of(handle)
        source.update()
        told = details_of(source, 0)
        assert told is not None
        assert told["word"] == "failed"
        assert told["args"] == "seed=7"
        assert told["output"] == "drawing 7\ndrawing 7"
        assert [(each["number"], each["word"], each["error"]) for each in told["attempts"]] == [
            (1, "failed", "OSError: reset 7"),
            (2, "failed", "OSError: reset 7"),
        ]
        facts = dict(told["facts"])
        assert facts["task"] == "flaky"
        assert facts["worker"].startswith("cpu-")
        assert not told["has_result"]
        assert details_of(source, 5) is None


def test_of_a_flood_of_output_the_end_is_shown():
    with Flowrra("study.ipynb", cpu_workers=1) as app:
        handle = app.task(cpu_bound=True, name="flood")(lambda: print("\n".join(map(str, range(100_000))))).submit()
        handle.wait(20)
        source = source_of(handle)
        source.update()
        told = details_of(source, 0)
        assert told is not None
        assert len(told["output"]) <= OUTPUT_LIMIT + 2
        assert told["output"].endswith("99999")


class Rich:
    def __init__(self, html: str = "", png: bytes = b"") -> None:
        self.html, self.png = html, png

    def __repr__(self) -> str:
        return "x" * 50_000

    def _repr_html_(self):
        return self.html or None

    def _repr_png_(self):
        return self.png or None


def test_a_result_is_previewed_as_the_front_end_would_show_it():
    shown, images = previews.preview(DisplayFormatter(), Rich("<b>bold</b>", b"\x89PNG"))
    assert shown["text/html"] == "<b>bold</b>"
    assert images == [b"\x89PNG"]
    assert len(shown["text/plain"]) < previews.TEXT_LIMIT + 100


def test_what_is_too_large_for_a_view_is_left_out():
    shown, images = previews.preview(DisplayFormatter(), Rich("h" * 500_000, b"p" * 5_000_000))
    assert set(shown) == {"text/plain"}
    assert images == []
