"""The random generators that a whole process shares, seeded for each run of a worker at its first draw.

They are those behind the functions of ``random`` and of ``numpy.random``, which scikit-learn and SciPy draw from, too.
Their first draw in a run goes through a hook that seeds them and then steps aside, so that a run which draws nothing
pays nothing, and one that draws pays once. Generators of other libraries are left alone.
"""

from __future__ import annotations

import ctypes
import os
import random
import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any

from flowrra.core.seeds import Source

_OWN_METHODS = ("random", "getrandbits")
"""What the other methods of ``random.Random`` draw with."""
_STATE_METHODS = ("seed", "getstate", "setstate")


class Draws:
    """Of one process. ``begin`` is called before each run; :meth:`install` once, before any user code is imported."""

    def __init__(self) -> None:
        self._source = Source(0)
        self._parts: list[_Stdlib | _NumPy] = []

    def install(self) -> None:
        # For an initializer, which draws before any run: all workers are forked from one state, and this is not in it.
        self._source = Source(os.urandom(8).hex())
        self._parts.append(_Stdlib(self._seed))
        self._parts[-1].arm()
        if not self._take_numpy():
            sys.meta_path.insert(0, _NumPyIsImported(self._take_numpy))

    def begin(self, source: Source) -> None:
        """A run that draws from *source* is about to be executed."""
        self._source = source
        for part in self._parts:
            if not part.armed:
                part.arm()

    def _seed(self, stream: str) -> int:
        return self._source.stream(stream)

    def _take_numpy(self) -> bool:
        mtrand = sys.modules.get("numpy.random.mtrand")
        if mtrand is None:
            return False
        self._parts.append(_NumPy(mtrand, self._seed))
        self._parts[-1].arm()
        return True


class _Stdlib:
    """The hidden instance behind the functions of :mod:`random`."""

    def __init__(self, seed: Callable[[str], int]) -> None:
        self.armed = False
        self._seed = seed
        self._instance: Any = random._inst  # noqa: SLF001 - there is no public way to it
        self._real = {name: getattr(self._instance, name) for name in (*_OWN_METHODS, *_STATE_METHODS)}
        self._hooks = {name: self._hook(name) for name in self._real}
        # Functions of the module: they are methods that were bound when it was imported, and never look again.
        for name, hook in self._hooks.items():
            setattr(random, name, hook)

    def arm(self) -> None:
        self.armed = True
        for name in _OWN_METHODS:
            setattr(self._instance, name, self._hooks[name])

    def _hook(self, name: str) -> Callable[..., Any]:
        real = self._real[name]

        def hook(*args: Any, **kwargs: Any) -> Any:
            if self.armed:
                self._disarm()
            return real(*args, **kwargs)

        hook.__name__, hook.__doc__ = name, real.__doc__
        hook.__module__, hook.__qualname__ = "random", name
        return hook

    def _disarm(self) -> None:
        self.armed = False
        for name in _OWN_METHODS:
            delattr(self._instance, name)
        self._real["seed"](self._seed("random"))


class _BitGenerator(ctypes.Structure):
    """``bitgen_t`` of NumPy's C interface (numpy/random/bitgen.h)."""

    _fields_ = (
        ("state", ctypes.c_void_p),
        ("next_uint64", ctypes.c_void_p),
        ("next_uint32", ctypes.c_void_p),
        ("next_double", ctypes.c_void_p),
        ("next_raw", ctypes.c_void_p),
    )


_NUMBERS = (
    ("next_uint64", ctypes.c_uint64),
    ("next_uint32", ctypes.c_uint32),
    ("next_double", ctypes.c_double),
    ("next_raw", ctypes.c_uint64),
)
_CAPSULE = b"BitGenerator"


class _NumPy:
    """The legacy generator behind the functions of ``numpy.random``.

    Others hold the very object, so it stays; what is exchanged is the bit generator in it. The hook is one whose C
    functions lead here. NumPy copies the pointers to them into the object and reads them there for every number, so a
    draw that is filling an array goes on with the real generator from its second number on.
    """

    def __init__(self, mtrand: ModuleType, seed: Callable[[str], int]) -> None:
        self.armed = False
        self._seed = seed
        self._exchange = mtrand.set_bit_generator
        kind = sys.modules["numpy.random"].MT19937
        self._real = kind(0)
        self._numbers = _BitGenerator.from_buffer_copy(_memory_of(self._real.capsule))
        self._functions = [self._function(name, result) for name, result in _NUMBERS]
        self._struct = _BitGenerator(None, *(ctypes.cast(each, ctypes.c_void_p).value for each in self._functions))
        self._hook = _hook_class(kind)(self, _capsule_of(self._struct))

    def arm(self) -> None:
        self.armed = True
        self._exchange(self._hook)

    def real(self) -> Any:
        """The real generator, seeded for the run and from now on the one that is drawn from."""
        if self.armed:
            self.armed = False
            stream = self._seed("numpy")
            self._real._legacy_seeding([stream >> shift & 0xFFFF_FFFF for shift in (96, 64, 32, 0)])  # noqa: SLF001 - what numpy.random.seed() calls
            self._exchange(self._real)
        return self._real

    def _function(self, name: str, result: Any) -> Any:
        signature = ctypes.CFUNCTYPE(result, ctypes.c_void_p)
        next_number = signature(getattr(self._numbers, name))

        def first(_: int) -> Any:
            self.real()
            return next_number(self._numbers.state)

        return signature(first)


def _hook_class(kind: type[Any]) -> Callable[[_NumPy, Any], Any]:
    class Hook(kind):  # type: ignore[misc]  # of NumPy's own kind: numpy.random.seed() asks for that
        """Looks like the generator that it stands for; whoever asks for its state gets that of the real one."""

        def __init__(self, owner: _NumPy, capsule: Any) -> None:
            super().__init__(0)
            self._owner, self._own_capsule = owner, capsule

        @property
        def capsule(self) -> Any:
            return self._own_capsule

        @property
        def state(self) -> Any:
            return self._owner.real().state

        @state.setter
        def state(self, state: Any) -> None:
            self._owner.real().state = state

        def _legacy_seeding(self, seed: Any) -> None:
            self._owner.real()._legacy_seeding(seed)  # noqa: SLF001 - this is that method

        def __reduce__(self) -> Any:
            return self._owner.real().__reduce__()

    return Hook


def _memory_of(capsule: Any) -> Any:
    get = ctypes.pythonapi.PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, (ctypes.py_object, ctypes.c_char_p)
    return (ctypes.c_char * ctypes.sizeof(_BitGenerator)).from_address(get(capsule, _CAPSULE))


def _capsule_of(struct: ctypes.Structure) -> Any:
    make = ctypes.pythonapi.PyCapsule_New
    make.restype, make.argtypes = ctypes.py_object, (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)
    return make(ctypes.addressof(struct), _CAPSULE, None)


class _NumPyIsImported:
    """Notices that a run imports ``numpy.random``, whose draws in this very run are to be seeded, and steps aside."""

    def __init__(self, tell: Callable[[], object]) -> None:
        self._tell = tell

    def find_spec(self, name: str, path: Any, target: ModuleType | None = None) -> Any:
        if name != "numpy.random":
            return None
        sys.meta_path.remove(self)
        for finder in sys.meta_path:
            spec = finder.find_spec(name, path, target)
            if spec is not None and spec.loader is not None:
                self._watch(spec.loader)
                return spec
        return None

    def _watch(self, loader: Any) -> None:
        execute = loader.exec_module

        def execute_and_tell(module: ModuleType) -> None:
            execute(module)
            self._tell()

        loader.exec_module = execute_and_tell


draws = Draws()
"""Of this process, if it is a worker."""
