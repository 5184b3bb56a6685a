from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from flowrra.core.records import Submission
from flowrra.core.seeds import Source, number_of, source_of

SEEDS = st.integers(0, 1 << 70) | st.text(max_size=12)


@given(SEEDS, st.integers(0, 1 << 20), st.sampled_from(["random", "numpy"]))
def test_a_stream_depends_on_seed_position_and_name_alone(seed: int | str, position: int, name: str) -> None:
    stream = Source(seed, position).stream(name)
    assert stream == Source(seed, position).stream(name)
    assert 0 <= stream < 1 << 128
    assert stream not in (Source(seed, position + 1).stream(name), Source(seed, position).stream(name + "2"))


@given(st.text(max_size=12), st.integers(0, 99))
def test_the_number_that_is_shown_draws_the_same_when_it_is_given(run_id: str, position: int) -> None:
    shown = number_of(run_id)
    assert 0 <= shown < 1 << 53
    assert Source(shown, position).stream("random") == Source(run_id, position).stream("random")


def test_runs_of_a_map_share_its_seed_and_differ_in_their_positions() -> None:
    def submission(number: int, **options: object) -> Submission:
        return Submission(f"ab-{number}", "f", "cpu", number, 0.0, 0.0, **options)  # type: ignore[arg-type]  # any option

    first, second = (submission(n, batch_id="ab-b1", position=n - 2) for n in (2, 3))
    assert source_of(first) == ("ab-b1", 0)
    assert source_of(second) == ("ab-b1", 1)
    assert source_of(first._replace(seed=7)) == (7, 0)
    assert source_of(submission(9)) == ("ab-9", 0)
