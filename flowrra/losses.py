"""What the end of an app may cost, and the warnings that say so."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from flowrra.core.tuples import NamedTuple
from flowrra.engine.run import Run

NAMED_IN_WARNING = 5


class RunsGivenUp(UserWarning):
    """An app was left or stopped before all of its runs were done; the message names them."""


class NotRecorded(UserWarning):
    """An app was left or stopped while its backend failed: handles have their outcomes, the backend has not."""


class Losses(NamedTuple):
    """What the end of an app, or of a block, has cost."""

    given_up: Sequence[Run] = ()
    """Runs that were cancelled although it was to drain."""
    not_recorded: int = 0
    """Outcomes that the backend did not take."""


def warn_of(losses: Losses) -> None:
    """Warn about what the end of an app, or of a block, has cost.

    Called by the method that the user has called, so that the warning points at the user's line.
    """
    if losses.not_recorded:
        warnings.warn(
            f"outcomes not recorded, because the backend failed until the end: {losses.not_recorded}; "
            "only their handles have them",
            NotRecorded,
            stacklevel=3,
        )
    if losses.given_up:
        warnings.warn(_given_up_in_words(losses.given_up), RunsGivenUp, stacklevel=3)


def _given_up_in_words(runs: Sequence[Run]) -> str:
    shown = ", ".join(f"{run.id} ({run.submission.task_name})" for run in runs[:NAMED_IN_WARNING])
    more = f" and {len(runs) - NAMED_IN_WARNING} more" if len(runs) > NAMED_IN_WARNING else ""
    not_begun = sum(run.record.attempt == 0 for run in runs)
    return (
        f"{len(runs)} runs were cancelled because the app was left or stopped, {not_begun} of them paused, not yet "
        f"due or still waiting: {shown}{more}"
    )
