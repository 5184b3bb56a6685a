"""What a task or a submission can be told: the options, their defaults and what makes no sense.

Each option is checked where it is given, so that a typo is an error at the decorator and not a surprise at run time.
"""

from __future__ import annotations

import difflib
import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from typing import Any, SupportsIndex, TypedDict

from flowrra.core.records import Moment, RetryPolicy
from flowrra.core.statuses import Status
from flowrra.errors import InvalidOption, UnknownOption

_SEED_BITS = 4096
"""It travels with each run, and is shown."""


class TaskOptions(TypedDict, total=False):
    """Options of a task, for the decorator and for ``.options()``. Durations in seconds."""

    cpu_bound: bool
    executor: str | None
    priority: int
    max_retries: int
    retry_delay: float
    retry_backoff: float
    retry_max_delay: float | None
    retry_jitter: float
    retry_on: type[BaseException] | tuple[type[BaseException], ...]
    timeout: float | None
    memory_limit: int | str | None
    readonly: bool
    preview: bool


class SubmitOptions(TaskOptions, total=False):
    """Options of one submission: those of the task, when it may start and must be done, what it draws from."""

    delay: float
    not_before: datetime
    deadline: float | datetime | None
    seed: int | None


@dataclass(frozen=True, slots=True)
class Options:
    """All options with their defaults, checked."""

    cpu_bound: bool = False
    executor: str | None = None
    priority: int = 0
    max_retries: int = 0
    retry_delay: float = 1.0
    retry_backoff: float = 2.0
    retry_max_delay: float | None = None
    retry_jitter: float = 0.0
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    timeout: float | None = None
    memory_limit: int | None = None
    """Bytes of private memory."""
    readonly: bool = False
    preview: bool = True
    delay: float = 0.0
    not_before: datetime | None = None
    deadline: float | datetime | None = None
    seed: int | None = None
    """What the runs' random numbers come from; None: a seed of their own, which ``info()`` tells."""

    def updated(self, changes: Mapping[str, Any]) -> Options:
        """Return a copy with *changes*. Raises ``UnknownOption`` and ``InvalidOption``."""
        for name in changes:
            if name not in _NAMES:
                raise unknown_option(name, _NAMES)
        checked: dict[str, Any] = {name: _CHECKS[name](name, value) for name, value in changes.items()}
        return replace(self, **checked)

    def retry_policy(self) -> RetryPolicy:
        return RetryPolicy(
            self.max_retries,
            self.retry_delay,
            self.retry_backoff,
            self.retry_max_delay,
            self.retry_jitter,
            self.retry_on,
        )

    @property
    def is_timed(self) -> bool:
        """Whether :meth:`starts_at` or :meth:`ends_by` say anything."""
        return bool(self.delay) or self.not_before is not None or self.deadline is not None

    def starts_at(self, now: Moment) -> float | None:
        """The monotonic time before which the run must not start, or None."""
        if not self.delay and self.not_before is None:
            return None
        times = [now.mono + self.delay] if self.delay else []
        if self.not_before is not None:
            times.append(now.mono + self.not_before.timestamp() - now.wall)
        return max(times, default=None)

    def ends_by(self, now: Moment) -> float | None:
        """The monotonic time by which the run must be done, or None."""
        if self.deadline is None:
            return None
        if isinstance(self.deadline, datetime):
            return now.mono + self.deadline.timestamp() - now.wall
        return now.mono + self.deadline


def unknown_option(name: str, known: Iterable[str]) -> UnknownOption:
    """The error for an option nobody knows; names the nearest one."""
    near = difflib.get_close_matches(name, list(known), n=1)
    hint = f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(sorted(known))}"
    return UnknownOption(f"unknown option {name!r}; {hint}")


def not_of_a_task(name: str) -> UnknownOption:
    """The error for what a decorator does not take: options of one submission, and unknown ones."""
    if name in SubmitOptions.__annotations__:
        return UnknownOption(f"{name!r} is an option of one submission: task.options({name}=…).submit(…)")
    return unknown_option(name, TaskOptions.__annotations__)


def checked_status(status: object) -> Status:
    """A status given as such or as its name, in any case of letters. Raises ``InvalidOption``."""
    try:
        return Status(str(status).upper())
    except ValueError:
        raise InvalidOption(f"status is one of {', '.join(Status)}, not {status!r}") from None


def check_count(name: str, value: object) -> int:
    """A whole number ≥ 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise InvalidOption(f"{name} must be a whole number, 0 or more, not {value!r}")
    return value


def check_positive_count(name: str, value: object) -> int:
    """A whole number ≥ 1."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InvalidOption(f"{name} must be a whole number, 1 or more, not {value!r}")
    return value


def _whole(name: str, value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise InvalidOption(f"{name} must be a whole number, not {value!r}")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise InvalidOption(f"{name} must be True or False, not {value!r}")
    return value


def _name_or_none(name: str, value: object) -> str | None:
    if value is not None and not (isinstance(value, str) and value):
        raise InvalidOption(f"{name} must be a name or None, not {value!r}")
    return value


def _seconds(name: str, value: object) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not math.isfinite(value) or value < 0:
        raise InvalidOption(f"{name} must be seconds, 0 or more, not {value!r}")
    return float(value)


def _positive_seconds_or_none(name: str, value: object) -> float | None:
    if value is None:
        return None
    if _seconds(name, value) == 0:
        raise InvalidOption(f"{name} must be more than 0 seconds, or None for no limit, not {value!r}")
    return float(value)  # type: ignore[arg-type]  # _seconds has checked that it is a number


def bytes_or_none(name: str, value: object) -> int | None:
    """A size: a number of bytes, or a text such as ``"512MB"``, ``"2GB"`` or ``"1.5GiB"``."""
    if value is None:
        return None
    if isinstance(value, str):
        number = value.strip().upper().removesuffix("B")
        factor = next((size for suffix, size in _SIZES.items() if number.endswith(suffix)), 1)
        try:
            size = float(number.rstrip("KMGTI ")) * factor
        except ValueError:
            size = math.nan
    else:
        size = float(value) if isinstance(value, int) and not isinstance(value, bool) else math.nan
    if not math.isfinite(size) or size < 1:
        raise InvalidOption(f"{name} must be a number of bytes, or a text such as '2GB' or '512MB', not {value!r}")
    return int(size)


def _growth(name: str, value: object) -> float:
    if _seconds(name, value) < 1:
        raise InvalidOption(f"{name} is what each wait is multiplied with, so it must be 1 or more, not {value!r}")
    return float(value)  # type: ignore[arg-type]  # _seconds has checked that it is a number


def _share(name: str, value: object) -> float:
    if _seconds(name, value) > 1:
        raise InvalidOption(f"{name} is a share of the wait, from 0 to 1, not {value!r}")
    return float(value)  # type: ignore[arg-type]  # _seconds has checked that it is a number


def _error_types(name: str, value: object) -> tuple[type[BaseException], ...]:
    types = value if isinstance(value, tuple) else (value,)
    if not all(isinstance(kind, type) and issubclass(kind, BaseException) for kind in types):
        raise InvalidOption(f"{name} must be an exception type or a tuple of them, not {value!r}")
    return types


def _instant(name: str, value: object) -> datetime:
    if not isinstance(value, datetime):
        raise InvalidOption(f"{name} must be a datetime, not {value!r}")
    if value.tzinfo is None:
        raise InvalidOption(
            f"{name} must say its time zone, but {value!r} does not; "
            "use datetime.now(UTC) + timedelta(…), or .astimezone() for local time"
        )
    return value.astimezone(UTC)


def _seed_or_none(name: str, value: object) -> int | None:
    if value is None:
        return None
    # Not int alone: seeds are drawn with NumPy, too.
    whole = isinstance(value, SupportsIndex) and not isinstance(value, bool)
    seed = check_count(name, operator.index(value) if whole else value)  # type: ignore[arg-type]  # asked in the line above
    if seed.bit_length() > _SEED_BITS:
        raise InvalidOption(f"{name} must be less than 2**{_SEED_BITS}, and this one has {seed.bit_length()} bits")
    return seed


def _instant_or_none(name: str, value: object) -> datetime | None:
    return None if value is None else _instant(name, value)


def _deadline(name: str, value: object) -> float | datetime | None:
    return _instant(name, value) if isinstance(value, datetime) else _positive_seconds_or_none(name, value)


_SIZES = {
    **{f"{unit}I": 1024**power for power, unit in enumerate("KMGT", start=1)},
    **{unit: 1000**power for power, unit in enumerate("KMGT", start=1)},
}
"""Without the B; the longer ones first, since a size is told by its end."""
_CHECKS = {
    "cpu_bound": _flag,
    "executor": _name_or_none,
    "priority": _whole,
    "max_retries": check_count,
    "retry_delay": _seconds,
    "retry_backoff": _growth,
    "retry_max_delay": _positive_seconds_or_none,
    "retry_jitter": _share,
    "retry_on": _error_types,
    "timeout": _positive_seconds_or_none,
    "memory_limit": bytes_or_none,
    "readonly": _flag,
    "preview": _flag,
    "delay": _seconds,
    "not_before": _instant_or_none,
    "deadline": _deadline,
    "seed": _seed_or_none,
}
_NAMES = frozenset(field.name for field in fields(Options))
