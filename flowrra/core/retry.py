"""Whether a failed attempt is followed by another, and when."""

from __future__ import annotations

from flowrra.core.records import Outcome, RetryPolicy
from flowrra.core.statuses import OutcomeKind

_NEVER_RETRIED = frozenset({OutcomeKind.RETURNED, OutcomeKind.CANCELLED, OutcomeKind.NOT_ENCODABLE})


def next_delay(policy: RetryPolicy, attempts: int, outcome: Outcome, chance: float) -> float | None:
    """Return the seconds to wait before the next attempt, or None if there is none.

    *attempts* have been made so far, the last one ended in *outcome*; *chance* in [0, 1) decides the jitter.
    """
    if attempts > policy.max_retries or outcome.kind in _NEVER_RETRIED:
        return None
    if not isinstance(outcome.exception, policy.retry_on):
        return None
    return delay_before_retry(policy, attempts, chance)


def delay_before_retry(policy: RetryPolicy, retry: int, chance: float) -> float:
    """Seconds before retry number *retry* (from 1): ``delay × backoff^(retry−1)``, at most ``max_delay``.

    ``jitter`` spreads it evenly over ±that share of itself, so that many runs that failed together do not come back
    together; ``max_delay`` holds after the jitter too.
    """
    limit = float("inf") if policy.max_delay is None else policy.max_delay
    try:
        delay = policy.delay * policy.backoff ** (retry - 1)
    except OverflowError:
        delay = limit if policy.delay else 0.0
    return min(limit, delay * (1 + policy.jitter * (2 * chance - 1)))
