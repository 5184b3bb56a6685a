"""The functions of ``numpy.random``, which share one ``RandomState``: seeded for a run by its first draw.

SciPy and scikit-learn hold that object itself, so it is the bit generator in it that is exchanged.
"""

from __future__ import annotations

import os
import threading
from typing import Any

from numpy.random import MT19937, mtrand

from flowrra.core.seeds import Source


def words_of(source: Source) -> list[int]:
    """What the shared ``RandomState`` is seeded with."""
    stream = source.stream("numpy")
    return [stream >> shift & 0xFFFF_FFFF for shift in (96, 64, 32, 0)]


class SharedRandomState:
    """Exchanges the bit generator of the shared ``RandomState`` for one that has the real one seeded and put back."""

    def __init__(self) -> None:
        self._source = Source(0)
        self._armed = self._unseeded = False
        self._lock = threading.RLock()
        self.state: Any = mtrand._rand  # noqa: SLF001 - what the functions are methods of
        self.real: Any = MT19937(0)
        self._stand_in = _StandIn(self)
        os.register_at_fork(after_in_child=self._renew_lock)

    def begin(self, source: Source) -> None:
        """The first draw from now on seeds it from *source*; next to nothing if none was made since the last call."""
        self._source = source
        # As in SharedRandom.begin; and the last run may have set a bit generator of its own.
        if not self._armed or mtrand.get_bit_generator() is not self._stand_in:
            with self._lock:
                self._unseeded = False  # being looked at by the next line is no draw
                mtrand.set_bit_generator(self._stand_in)
                self._armed = self._unseeded = True

    def make_ready(self) -> None:
        """Seed the generator and put it in place, unless that is done."""
        with self._lock:
            if self._unseeded:
                self._armed = False
                self.real._legacy_seeding(words_of(self._source))  # noqa: SLF001 - what numpy.random.seed() calls
                if mtrand.get_bit_generator() is self._stand_in:
                    mtrand.set_bit_generator(self.real)
                self._unseeded = False

    def _renew_lock(self) -> None:
        """Another thread may have held it when the process was forked."""
        self._lock = threading.RLock()


class SeededAtOnce:
    """For NumPy before 1.24, where the bit generator cannot be exchanged: each run pays for the seeding."""

    def begin(self, source: Source) -> None:
        mtrand.seed(words_of(source))


def shared_generator() -> SharedRandomState | SeededAtOnce:
    return SharedRandomState() if hasattr(mtrand, "set_bit_generator") else SeededAtOnce()


class _StandIn(MT19937):
    """Stands for the real bit generator, which whoever takes the lock or looks at the state here finds seeded.

    The ``RandomState`` copies what is in the capsule and takes the lock around every draw. What it copies is the real
    one's, so no draw goes through functions of ours, and the lock that threads meet at is one and the same throughout.
    """

    def __init__(self, owner: SharedRandomState) -> None:
        super().__init__(0)
        self._owner = owner
        self._gate = _Gate(owner)

    @property
    def lock(self) -> Any:  # type: ignore[override]  # NumPy's own code only reads it
        return self._gate

    @property
    def capsule(self) -> Any:
        return self._ready().capsule

    @property
    def ctypes(self) -> Any:
        return self._ready().ctypes

    @property
    def cffi(self) -> Any:
        return self._ready().cffi

    @property
    def state(self) -> Any:
        return self._ready().state

    @state.setter
    def state(self, state: Any) -> None:
        real = self._ready()
        if isinstance(state, dict) and "has_gauss" in state:
            # On its way from set_state(), which has set the spare normal number before: the exchange has dropped it.
            self._owner.state.set_state(state)
        else:
            real.state = state

    def random_raw(self, *args: Any, **kwargs: Any) -> Any:
        return self._ready().random_raw(*args, **kwargs)

    def jumped(self, *args: Any, **kwargs: Any) -> Any:
        return self._ready().jumped(*args, **kwargs)

    def _legacy_seeding(self, seed: Any) -> None:
        self._ready()._legacy_seeding(seed)  # noqa: SLF001 - this is that method

    def __reduce__(self) -> Any:
        return self._ready().__reduce__()

    def _ready(self) -> Any:
        self._owner.make_ready()
        return self._owner.real


class _Gate:
    """The real one's lock, behind the seeding, which takes that lock itself."""

    def __init__(self, owner: SharedRandomState) -> None:
        self._owner = owner

    def acquire(self, *args: Any, **kwargs: Any) -> bool:
        self._owner.make_ready()
        taken: bool = self._owner.real.lock.acquire(*args, **kwargs)
        return taken

    def release(self) -> None:
        self._owner.real.lock.release()

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()
