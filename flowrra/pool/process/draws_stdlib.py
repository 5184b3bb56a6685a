"""The functions of the module ``random``, which share one hidden generator: seeded for a run by its first draw."""

from __future__ import annotations

import functools
import os
import random
import threading
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any

from flowrra.core.seeds import Source

_DRAWS = ("random", "getrandbits")
"""What all other methods of ``random.Random`` draw with."""
_STATE = ("seed", "getstate", "setstate")


class SharedRandom:
    """Stands before the hidden generator for good, so that functions imported by name are served as well.

    Before what draws there is a ``partial`` whose function is exchanged in place: it costs a draw 2 ns, a function
    written in Python would cost 10 to 50.
    """

    def __init__(self, module: ModuleType = random) -> None:
        self._hidden = hidden = module._inst  # noqa: SLF001 - there is no public way to it
        self._source = Source(0)
        self._armed = self._unseeded = False
        self._lock = threading.RLock()
        self._seed = hidden.seed
        self._real = {name: getattr(hidden, name) for name in _DRAWS}
        self._first = {name: _FirstDraw(self, name) for name in _DRAWS}
        self._gates = {name: functools.partial(real) for name, real in self._real.items()}
        for name, gate in self._gates.items():
            functools.update_wrapper(gate, self._real[name])
        stands: dict[str, Any] = {
            **self._gates,
            **{name: self._seeded_before(getattr(hidden, name)) for name in _STATE},
        }
        for name, function in stands.items():
            setattr(hidden, name, function)
            setattr(module, name, function)
        # After the module's own handler, which gives a forked process numbers of its own.
        os.register_at_fork(after_in_child=self._leave_alone)

    def begin(self, source: Source) -> None:
        """The first draw from now on seeds it from *source*; only noted if none was made since the last call."""
        self._source = source
        # A thread that an earlier run has left may be seeding: it disarms before it reads the source, so it has either
        # read this one or is waited for.
        if not self._armed:
            with self._lock:
                self._lead_to(self._first)
                self._hidden.gauss_next = None  # gauss() would return it without a draw
                self._armed = self._unseeded = True

    def make_ready(self) -> None:
        """Seed the generator, unless that is done."""
        with self._lock:
            if self._unseeded:
                self._armed = False
                self._seed(self._source.stream("random"))
                self._lead_to(self._real)
                self._unseeded = False

    def draw(self, name: str, args: tuple[Any, ...]) -> Any:
        self.make_ready()
        return self._real[name](*args)

    def _lead_to(self, functions: Mapping[str, Callable[..., Any]]) -> None:
        for name, gate in self._gates.items():
            gate.__setstate__((functions[name], (), {}, gate.__dict__))  # type: ignore[attr-defined]  # as unpickling does

    def _seeded_before(self, method: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(method)
        def called(*args: Any, **kwargs: Any) -> Any:
            self.make_ready()
            return method(*args, **kwargs)

        return called

    def _leave_alone(self) -> None:
        """A forked process has been seeded by the operating system; another thread may have held the lock."""
        self._lock = threading.RLock()
        self._lead_to(self._real)
        self._armed = self._unseeded = False


class _FirstDraw:
    """Where a gate leads until the first draw."""

    def __init__(self, shared: SharedRandom, name: str) -> None:
        self._shared, self._name = shared, name

    def __call__(self, *args: Any) -> Any:
        return self._shared.draw(self._name, args)

    def __reduce__(self) -> tuple[Any, ...]:
        return _function_of_module, (self._name,)


def _function_of_module(name: str) -> Any:
    """Rebuild a function of ``random`` that was pickled before its first draw."""
    return getattr(random, name)
