"""What a workload gets: the contender, the size, the functions of the program; and how it checks results."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any, cast

from tests.benchmarks.contenders.base import Contender, Pool

WORKERS = 2


class WrongResult(Exception):
    """The contender returned something else than the plain call."""


@dataclass
class Measurement:
    contender: type[Contender]
    size: int
    tasks: ModuleType
    remark: str = ""
    """What the figures do not tell."""
    _opened: list[Contender] = field(default_factory=list)

    def open(self) -> Pool:
        """A pool that has just been made; closed when the measurement has been printed."""
        pool = self.contender(WORKERS)
        self._opened.append(pool)
        return cast("Pool", pool)

    def warm(self) -> Pool:
        """A pool whose workers have all started."""
        pool = self.open()
        expect(pool.singles(self.tasks.same, range(8 * WORKERS)), list(range(8 * WORKERS)))
        return pool

    def folder(self) -> Path:
        """A folder that goes away with the measurement."""
        return Path(tempfile.mkdtemp())

    def close(self) -> None:
        for contender in self._opened:
            contender.close()


def expect(got: Any, expected: Any) -> None:
    if got == expected:
        return
    if isinstance(got, list) and len(got) == len(expected):
        at = next(index for index, value in enumerate(got) if value != expected[index])
        raise WrongResult(f"result {at} of {len(got)} is {_short(got[at])}, not {_short(expected[at])}")
    raise WrongResult(f"{_short(got)}, not {_short(expected)}")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 40 else f"{text[:37]}…"
