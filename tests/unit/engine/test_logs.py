from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowrra.engine.logs import HEAD_CHARACTERS, TAIL_CHARACTERS, BoundedLog

LIMIT = HEAD_CHARACTERS + TAIL_CHARACTERS


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 150_000)), max_size=12))
def test_a_flood_keeps_its_beginning_and_its_end_and_says_what_is_missing(parts: list[tuple[str, int]]) -> None:
    log, written = BoundedLog(), ""
    for letter, times in parts:
        log.append(letter * times)
        written += letter * times
    if len(written) <= LIMIT:
        assert log.text() == written
        return
    gap = f"\n… {len(written) - LIMIT} characters are not kept …\n"
    assert log.text() == written[:HEAD_CHARACTERS] + gap + written[-TAIL_CHARACTERS:]


def test_many_small_parts_are_bounded_too() -> None:
    log = BoundedLog()
    for number in range(100_000):
        log.append(f"{number}\n")
    text = log.text()
    assert text.startswith("0\n1\n2\n")
    assert text.endswith("99998\n99999\n")
    assert len(text) < LIMIT + 100
