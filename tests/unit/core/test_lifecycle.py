from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from flowrra.core.lifecycle import Decision, Effect, Ended, Event, Started, StopRequested, advance
from flowrra.core.records import Outcome, RetryPolicy, RunRecord, Submission
from flowrra.core.statuses import TERMINAL, OutcomeKind, Status, StopReason
from flowrra.errors import AppStopped, DeadlineExceeded, InvalidTransition, TaskCancelled, TaskTimeout

NOW = 1000.0
FAILURE = Outcome(OutcomeKind.RAISED, exception=ValueError("no"))
VALUE = Outcome(OutcomeKind.RETURNED, 42)


def record(**options: object) -> RunRecord:
    return RunRecord(Submission("1-1", "f", "threads", 1, NOW, 1_700_000_000.0, **options))  # type: ignore[arg-type]  # any option


def after(state: RunRecord, *events: Event) -> Decision:
    decision = Decision(state, Effect.NOTHING)
    for event in events:
        decision = advance(decision.record, event, NOW)
    return decision


outcomes = st.sampled_from(
    [
        VALUE,
        FAILURE,
        Outcome(OutcomeKind.CANCELLED, exception=TaskCancelled("f", "1-1")),
        Outcome(OutcomeKind.WORKER_LOST, exception=OSError("gone")),
        Outcome(OutcomeKind.NOT_ENCODABLE, exception=TypeError("no")),
    ]
)
events = st.one_of(
    st.just(Started("w1")),
    st.builds(Ended, outcomes, st.floats(0, 1, exclude_max=True)),
    st.sampled_from([StopRequested(reason) for reason in StopReason]),
)


class AnyStory(RuleBasedStateMachine):
    """Any event in any status. What the engine knows beside the record is the model: who was asked to stop, and why."""

    @initialize(retries=st.integers(0, 3), timeout=st.booleans())
    def submit(self, retries: int, timeout: bool) -> None:
        self.record = record(retry=RetryPolicy(max_retries=retries), timeout=5.0 if timeout else None)
        self.accepted: StopReason | None = None
        self.requeued = 0

    @rule(event=events)
    def happens(self, event: Event) -> None:
        if event == StopRequested(StopReason.TIMEOUT) and self.record.submission.timeout is None:
            return
        before = self.record
        try:
            decision = advance(before, event, NOW)
        except InvalidTransition:
            assert before.status not in TERMINAL
            assert isinstance(event, Started) or event == StopRequested(StopReason.TIMEOUT)
            return
        self.record = decision.record
        if before.status in TERMINAL:
            assert decision == (before, Effect.NOTHING, None)
            return
        final = self.accepted in (StopReason.CANCEL, StopReason.SHUTDOWN)
        if isinstance(event, StopRequested) and event.reason is not StopReason.TIMEOUT and not final:
            self.accepted = event.reason
        self.check_effect(decision)

    def check_effect(self, decision: Decision) -> None:
        state, effect, outcome = decision
        assert (effect is Effect.SETTLE) == (state.status in TERMINAL) == (outcome is not None)
        assert (effect is Effect.REQUEUE) <= (state.status is Status.RETRYING)
        assert (effect is Effect.STOP) <= (state.status is Status.RUNNING and state.stopping is not None)
        if effect is Effect.REQUEUE:
            self.requeued += 1
            assert self.accepted is None, "a run that was asked to end for good is not tried again"
            assert state.ready_at is not None
            assert state.ready_at >= NOW

    @invariant()
    def no_more_attempts_than_allowed(self) -> None:
        assert self.record.attempt <= self.record.submission.retry.max_retries + 1
        assert self.requeued <= self.record.submission.retry.max_retries

    @invariant()
    def an_accepted_stop_is_kept(self) -> None:
        if self.record.status in TERMINAL and self.accepted is not None:
            expected = Status.FAILED if self.accepted is StopReason.DEADLINE else Status.CANCELLED
            assert self.record.status is expected

    @invariant()
    def instants_and_errors_fit_the_status(self) -> None:
        state = self.record
        assert (state.finished is not None) == (state.status in TERMINAL)
        assert (state.started is not None) == (state.attempt > 0)
        assert (state.ready_at is not None) <= (state.status is Status.RETRYING)
        assert (state.stopping is not None) <= (state.status is Status.RUNNING)
        if state.status in (Status.FAILED, Status.CANCELLED):
            assert state.errors
        if state.status is Status.RETRYING:
            assert len(state.errors) == state.attempt

    @precondition(lambda self: self.record.status is Status.PENDING)
    @invariant()
    def a_pending_run_has_not_begun(self) -> None:
        assert self.record.attempt == 0


TestAnyStory = AnyStory.TestCase
TestAnyStory.settings = settings(max_examples=60, stateful_step_count=20)


def test_a_run_that_succeeds() -> None:
    state, effect, outcome = after(record(), Started("w1"), Ended(VALUE))
    assert (state.status, effect, outcome) == (Status.SUCCESS, Effect.SETTLE, VALUE)
    assert (state.attempt, state.worker, state.finished, state.errors) == (1, "w1", NOW, ())


def test_a_failure_with_retries_left_waits_for_its_time() -> None:
    state, effect, _ = after(record(retry=RetryPolicy(1, delay=3.0)), Started(), Ended(FAILURE))
    assert (state.status, effect, state.ready_at) == (Status.RETRYING, Effect.REQUEUE, NOW + 3.0)


def test_an_attempt_that_ended_before_it_began_counts() -> None:
    lost = Outcome(OutcomeKind.WORKER_LOST, exception=OSError("gone"))
    state, effect, _ = after(record(retry=RetryPolicy(1)), Ended(lost), Ended(lost))
    assert (state.status, effect, state.attempt) == (Status.FAILED, Effect.SETTLE, 2)


@pytest.mark.parametrize("outcome", [VALUE, FAILURE], ids=["returned", "raised"])
@pytest.mark.parametrize(
    ("reason", "status", "error"),
    [
        (StopReason.CANCEL, Status.CANCELLED, TaskCancelled),
        (StopReason.SHUTDOWN, Status.CANCELLED, AppStopped),
        (StopReason.DEADLINE, Status.FAILED, DeadlineExceeded),
        (StopReason.TIMEOUT, Status.FAILED, TaskTimeout),
    ],
)
def test_why_it_was_stopped_decides_and_not_how_the_attempt_ended(
    outcome: Outcome, reason: StopReason, status: Status, error: type[Exception]
) -> None:
    state, effect, settled = after(record(timeout=5.0), Started(), StopRequested(reason, "said so"), Ended(outcome))
    assert (state.status, effect) == (status, Effect.SETTLE)
    assert settled is not None
    assert isinstance(settled.exception, error)
    assert state.errors[-1].type == error.__name__


def test_a_timed_out_attempt_is_retried() -> None:
    story = Started(), StopRequested(StopReason.TIMEOUT), Ended(FAILURE)
    state, effect, _ = after(record(timeout=5.0, retry=RetryPolicy(1)), *story)
    assert (state.status, effect, state.stopping) == (Status.RETRYING, Effect.REQUEUE, None)
    assert state.errors[-1].type == "TaskTimeout"


@pytest.mark.parametrize("order", [1, -1])
def test_a_deadline_wins_over_a_timeout_whichever_comes_first(order: int) -> None:
    both = [StopRequested(StopReason.DEADLINE), StopRequested(StopReason.TIMEOUT)][::order]
    state, _, settled = after(record(timeout=5.0, retry=RetryPolicy(3)), Started(), *both, Ended(FAILURE))
    assert state.status is Status.FAILED
    assert settled is not None
    assert isinstance(settled.exception, DeadlineExceeded)


@given(st.sampled_from([StopReason.CANCEL, StopReason.SHUTDOWN, StopReason.DEADLINE]), st.booleans())
def test_a_run_that_waits_is_stopped_at_once(reason: StopReason, retrying: bool) -> None:
    waiting = after(record(retry=RetryPolicy(1)), Started(), Ended(FAILURE)).record if retrying else record()
    state, effect, _ = after(waiting, StopRequested(reason))
    assert effect is Effect.SETTLE
    assert state.status is (Status.FAILED if reason is StopReason.DEADLINE else Status.CANCELLED)


@pytest.mark.parametrize(
    ("events", "culprit"),
    [
        ((Started(), Started()), "Started"),
        ((StopRequested(StopReason.TIMEOUT),), "StopRequested"),
    ],
)
def test_what_cannot_happen_is_refused_with_a_name(events: tuple[Event, ...], culprit: str) -> None:
    with pytest.raises(InvalidTransition, match=culprit) as refused:
        after(record(timeout=1.0), *events)
    assert refused.value.run_id == "1-1"


def test_a_late_answer_changes_nothing() -> None:
    over = after(record(), StopRequested(StopReason.CANCEL)).record
    assert after(over, Ended(VALUE)) == (over, Effect.NOTHING, None)
    assert after(over, Started()) == (over, Effect.NOTHING, None)


def test_the_reason_given_is_what_the_error_says() -> None:
    _, _, settled = after(record(), StopRequested(StopReason.CANCEL, "the block raised"))
    assert settled is not None
    assert "the block raised" in str(settled.exception)
