"""Cutting a worker's pipe into runs, and keeping each within bounds."""

from __future__ import annotations

import os

from hypothesis import given
from hypothesis import strategies as st

from flowrra.pool.process.counted_output import OutputReader, Tally
from flowrra.pool.process.output import HEAD, LAST_WORDS, TAIL, RunOutput, Stream, mark

TOKEN = b"0123456789abcdef"

texts = st.binary(max_size=40) | st.just(b"\0") | st.just(b"\0" + TOKEN[:5]) | st.just(b"a\0\0" + TOKEN)


@given(st.lists(texts, max_size=6), st.data())
def test_however_the_bytes_arrive_each_run_gets_its_own(runs: list[bytes], data: st.DataObject) -> None:
    whole = b"".join(text + mark(TOKEN, number) for number, text in enumerate(runs, start=1)) + b"rest"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    stream = Stream(TOKEN)
    for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True):
        stream.feed(whole[start:end])
    assert [run.number for run in stream.runs] == [*range(1, len(runs) + 1), 0]
    assert [run.finish() for run in stream.runs] == [*runs, b"rest"]


def test_beginning_and_end_of_long_output_are_kept_and_the_loss_is_told() -> None:
    run = RunOutput()
    run.add(b"a" * HEAD)
    assert run.take() == b"a" * HEAD
    run.add(b"b" * 1000)
    run.add(b"c" * TAIL)
    assert run.take() == b""
    assert run.finish() == b"\n[... 1000 bytes left out ...]\n" + b"c" * TAIL
    assert run.finish() == b""


def test_short_output_is_shown_as_it_comes() -> None:
    run = RunOutput()
    run.add(b"one ")
    assert run.take() == b"one "
    run.add(b"two")
    assert run.finish() == b"two"


def test_last_words_are_the_latest_bytes() -> None:
    run = RunOutput()
    run.add(b"x" * 10 * LAST_WORDS)
    run.add(b"the end")
    assert len(run.last_words) == LAST_WORDS
    assert run.last_words.endswith(b"xthe end")


def test_a_run_is_finished_when_both_pipes_are_and_the_next_one_is_not_mixed_in() -> None:
    tally = Tally()
    out, stdout = os.pipe()
    err, stderr = os.pipe()
    listener = OutputReader(TOKEN, out, err, tally)
    try:
        os.write(stdout, b"first" + mark(TOKEN, 1) + b"second")
        listener.read(out)
        assert list(listener.fresh()) == [(1, b"first")]
        assert list(listener.finished()) == []
        os.write(stderr, b"oh" + mark(TOKEN, 1))
        listener.read(err)
        assert list(listener.finished()) == [(1, [(2, b"oh")])]
        assert list(listener.fresh()) == [(1, b"second")]
        os.write(stderr, b"farewell")
        listener.read(err)
        assert listener.last_words() == b"farewell"
        assert listener.remains() == [(2, b"farewell")]
        assert tally.read() == (6, len(b"firstsecondohfarewell" + mark(TOKEN, 1) * 2))
    finally:
        for fd in (stdout, stderr):
            os.close(fd)
        listener.close()
