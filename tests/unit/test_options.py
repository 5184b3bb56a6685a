from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra import InvalidOption, UnknownOption
from flowrra.core.records import Moment, RetryPolicy
from flowrra.options import Options

NOW = Moment(50.0, 1_700_000_000.0)
NAIVE = datetime(2030, 1, 1)  # noqa: DTZ001 - an instant without a zone is what is refused


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("cpu_bound", 1),
        ("executor", ""),
        ("executor", 3),
        ("priority", 1.5),
        ("priority", True),
        ("priority", "high"),
        ("max_retries", -1),
        ("max_retries", 1.0),
        ("max_retries", True),
        ("max_retries", None),
        ("retry_delay", -0.1),
        ("retry_delay", math.inf),
        ("retry_delay", math.nan),
        ("retry_delay", None),
        ("retry_backoff", 0.5),
        ("retry_backoff", -1),
        ("retry_max_delay", 0),
        ("retry_max_delay", -1),
        ("retry_jitter", 1.1),
        ("retry_jitter", -0.1),
        ("retry_on", "ValueError"),
        ("retry_on", ValueError()),
        ("retry_on", (ValueError, 3)),
        ("retry_on", int),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", "1s"),
        ("timeout", True),
        ("timeout", math.nan),
        ("memory_limit", 0),
        ("memory_limit", 1.5),
        ("memory_limit", "lots"),
        ("memory_limit", "-1GB"),
        ("memory_limit", ""),
        ("preview", "no"),
        ("delay", -1),
        ("delay", timedelta(seconds=1)),
        ("not_before", 5),
        ("not_before", NAIVE),
        ("deadline", 0),
        ("deadline", -3),
        ("deadline", NAIVE),
        ("deadline", "tomorrow"),
    ],
)
def test_a_value_that_makes_no_sense_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(InvalidOption, match=f"^{name}\\b"):
        Options().updated({name: value})


@pytest.mark.parametrize(
    ("typo", "meant"),
    [("max_retry", "max_retries"), ("cpubound", "cpu_bound"), ("time_out", "timeout"), ("Priority", "priority")],
)
def test_an_unknown_option_names_the_nearest_one(typo: str, meant: str) -> None:
    with pytest.raises(UnknownOption, match=f"{typo}.*did you mean '{meant}'"):
        Options().updated({typo: 1})


def test_an_option_like_no_other_is_answered_with_the_list() -> None:
    with pytest.raises(UnknownOption, match=r"known are: .*cpu_bound.*timeout"):
        Options().updated({"xyzzy": 1})


@pytest.mark.parametrize("name", ["cache", "serializer", "key", "on_interrupt"])
def test_what_is_not_built_is_not_known(name: str) -> None:
    with pytest.raises(UnknownOption):
        Options().updated({name: None})


def test_a_seed_may_come_from_numpy_and_be_longer_than_its_integers_but_not_without_end() -> None:
    assert Options().updated({"seed": np.int64(4)}).seed == 4
    assert type(Options().updated({"seed": np.int64(4)}).seed) is int
    assert Options().updated({"seed": (1 << 4096) - 1}).seed == (1 << 4096) - 1
    for wrong in (1 << 4096, -1, True, 1.0, "1", np.float64(1)):
        with pytest.raises(InvalidOption, match=r"^seed must be"):
            Options().updated({"seed": wrong})


def test_updating_leaves_the_original_alone() -> None:
    before = Options()
    assert before.updated({"priority": 3}).priority == 3
    assert before.priority == 0


@pytest.mark.parametrize(
    ("given", "limit"),
    [
        (1, 1),
        ("2GB", 2 * 10**9),
        ("512 MB", 512 * 10**6),
        ("1.5GiB", 3 * 2**29),
        ("10k", 10_000),
        ("7", 7),
        (None, None),
    ],
)
def test_a_size_is_a_number_of_bytes_or_a_text_with_a_unit(given: int | str | None, limit: int | None) -> None:
    assert Options().updated({"memory_limit": given}).memory_limit == limit


def test_the_retry_options_become_one_policy() -> None:
    options = Options().updated(
        {
            "max_retries": 5,
            "retry_delay": 2,
            "retry_backoff": 3,
            "retry_max_delay": 9,
            "retry_jitter": 0.5,
            "retry_on": OSError,
        }
    )
    assert options.retry_policy() == RetryPolicy(5, 2.0, 3.0, 9.0, 0.5, (OSError,))


@given(st.floats(1e-3, 1e6))
def test_a_delay_counts_from_now_on(delay: float) -> None:
    assert Options().updated({"delay": delay}).starts_at(NOW) == NOW.mono + delay
    assert Options().updated({"deadline": delay}).ends_by(NOW) == NOW.mono + delay


@given(st.floats(-1e6, 1e6), st.integers(-12, 12))
def test_an_instant_means_the_same_in_every_time_zone(seconds: float, zone: int) -> None:
    instant = datetime.fromtimestamp(NOW.wall, UTC) + timedelta(seconds=seconds)
    options = Options().updated(
        dict.fromkeys(("not_before", "deadline"), instant.astimezone(timezone(timedelta(hours=zone))))
    )
    assert options.starts_at(NOW) == pytest.approx(NOW.mono + seconds, abs=1e-5)
    assert options.ends_by(NOW) == pytest.approx(NOW.mono + seconds, abs=1e-5)


def test_the_later_of_delay_and_not_before_decides() -> None:
    soon = datetime.fromtimestamp(NOW.wall + 5, UTC)
    assert Options().updated({"delay": 9, "not_before": soon}).starts_at(NOW) == pytest.approx(NOW.mono + 9)
    assert Options().updated({"delay": 1, "not_before": soon}).starts_at(NOW) == pytest.approx(NOW.mono + 5)


def test_without_either_a_run_may_start_now_and_take_for_ever() -> None:
    assert Options().starts_at(NOW) is None
    assert Options().ends_by(NOW) is None
