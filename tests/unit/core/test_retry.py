from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowrra.core.records import Outcome, RetryPolicy
from flowrra.core.retry import delay_before_retry, next_delay
from flowrra.core.statuses import OutcomeKind
from flowrra.errors import NotEncodable, TaskTimeout, WorkerLost

seconds = st.floats(0, 1e6, allow_nan=False)
growth = st.floats(1, 10)
policies = st.builds(
    RetryPolicy,
    max_retries=st.integers(0, 50),
    delay=seconds,
    backoff=growth,
    max_delay=st.none() | st.floats(1e-3, 1e6),
    jitter=st.floats(0, 1),
    retry_on=st.just((Exception,)),
)
chances = st.floats(0, 1, exclude_max=True)


def failed(error: BaseException, kind: OutcomeKind = OutcomeKind.RAISED) -> Outcome:
    return Outcome(kind, exception=error)


def test_five_retries_of_two_seconds_wait_2_4_8_16_32_and_then_no_more() -> None:
    policy = RetryPolicy(max_retries=5, delay=2.0)
    waits = [next_delay(policy, attempts, failed(ValueError()), 0.5) for attempts in range(1, 7)]
    assert waits == [2.0, 4.0, 8.0, 16.0, 32.0, None]


@given(policies, st.integers(1, 40))
def test_without_jitter_waits_never_shrink(policy: RetryPolicy, retry: int) -> None:
    # 0.5 is the middle of the jitter's range: no change.
    assert delay_before_retry(policy, retry, 0.5) <= delay_before_retry(policy, retry + 1, 0.5) * (1 + 1e-12)


@given(policies, st.integers(1, 5_000), chances)
def test_no_wait_is_negative_longer_than_the_maximum_or_not_a_number(
    policy: RetryPolicy, retry: int, chance: float
) -> None:
    delay = delay_before_retry(policy, retry, chance)
    assert delay >= 0
    assert not math.isnan(delay)
    if policy.max_delay is not None:
        assert delay <= policy.max_delay


@given(policies, st.integers(1, 20), chances)
def test_jitter_stays_within_its_share_of_the_wait(policy: RetryPolicy, retry: int, chance: float) -> None:
    plain = policy.delay * policy.backoff ** (retry - 1)
    limit = math.inf if policy.max_delay is None else policy.max_delay
    delay = delay_before_retry(policy, retry, chance)
    assert delay <= min(limit, plain * (1 + policy.jitter) * (1 + 1e-12))
    assert delay >= min(limit, plain * (1 - policy.jitter)) * (1 - 1e-12)


@pytest.mark.parametrize("retry", [1, 100, 5_000])
def test_no_delay_stays_no_delay_however_many_retries(retry: int) -> None:
    assert delay_before_retry(RetryPolicy(max_retries=10_000, delay=0.0), retry, 0.9) == 0.0


def test_a_wait_too_large_for_a_float_is_the_maximum() -> None:
    assert delay_before_retry(RetryPolicy(max_retries=9_999, delay=1.0, max_delay=60.0), 9_999, 0.5) == 60.0


@given(policies, st.integers(1, 60), chances)
def test_there_are_exactly_as_many_retries_as_allowed(policy: RetryPolicy, attempts: int, chance: float) -> None:
    retried = next_delay(policy, attempts, failed(OSError()), chance) is not None
    assert retried == (attempts <= policy.max_retries)


@pytest.mark.parametrize(
    ("outcome", "retried"),
    [
        (failed(TaskTimeout("f", "1", 1.0, 1), OutcomeKind.TIMED_OUT), True),
        (failed(WorkerLost("f", "1", pid=1, exit_code=-9, attempt=1), OutcomeKind.WORKER_LOST), True),
        (failed(NotEncodable("f", "args[0]", "lock", "no"), OutcomeKind.NOT_ENCODABLE), False),
        (failed(ValueError(), OutcomeKind.CANCELLED), False),
        (Outcome(OutcomeKind.RETURNED, 1), False),
        (failed(KeyboardInterrupt()), False),
    ],
)
def test_what_kind_of_outcome_is_retried(outcome: Outcome, retried: bool) -> None:
    assert (next_delay(RetryPolicy(max_retries=1), 1, outcome, 0.5) is not None) == retried


def test_only_errors_named_in_retry_on_are_retried() -> None:
    policy = RetryPolicy(max_retries=1, retry_on=(OSError, KeyError))
    assert next_delay(policy, 1, failed(FileNotFoundError()), 0.5) == 1.0
    assert next_delay(policy, 1, failed(ValueError()), 0.5) is None
