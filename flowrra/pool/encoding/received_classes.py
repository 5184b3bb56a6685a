"""Classes that a worker has received by value and that must arrive as the originals when it sends them back.

cloudpickle gives a class that it pickles by value a number by which the process it came from recognises it. But it also
sends the whole class back, and on arrival writes the copy's attributes over the original's, whose methods would from
then on use the copy's globals. So a worker sends such a class as its number; a copy goes along, for the case that
nobody there holds the class any longer.
"""

from __future__ import annotations

import pickle
import sys
import weakref
from typing import Any


class ReceivedClasses:
    """The classes that one worker has received by value."""

    def __init__(self) -> None:
        self._pickles: weakref.WeakKeyDictionary[type, bytes] = weakref.WeakKeyDictionary()
        self._counted = 0

    def note_new(self) -> None:
        """Remember what has just been loaded. To be called after each load and before user code makes classes."""
        cloudpickle = sys.modules.get("cloudpickle.cloudpickle")
        if cloudpickle is None:  # not loaded, so nothing has come by value
            return
        numbers = _class_numbers(cloudpickle)
        if len(numbers) != self._counted:
            for kind in list(numbers):
                self._pickles.setdefault(kind, b"")
            self._counted = len(numbers)

    def reduce(self, kind: type) -> tuple[Any, ...] | None:
        """How to pickle *kind*; None if it did not come from another process."""
        copy = self._pickles.get(kind)
        if copy is None:
            return None
        cloudpickle = sys.modules["cloudpickle.cloudpickle"]
        if not copy:
            copy = self._pickles[kind] = cloudpickle.dumps(kind, protocol=5)
        return original_of, (_class_numbers(cloudpickle)[kind], copy)


def original_of(number: str, copy: bytes) -> Any:
    """The class that left under *number*; rebuilt if nobody here holds it any longer."""
    cloudpickle = sys.modules.get("cloudpickle.cloudpickle")
    home = None if cloudpickle is None else _classes_by_number(cloudpickle).get(number)
    return home if home is not None else pickle.loads(copy)


def _class_numbers(cloudpickle: Any) -> weakref.WeakKeyDictionary[type, str]:
    numbers: weakref.WeakKeyDictionary[type, str]
    numbers = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_CLASS  # noqa: SLF001 - cloudpickle offers no other way to ask
    return numbers


def _classes_by_number(cloudpickle: Any) -> weakref.WeakValueDictionary[str, type]:
    classes: weakref.WeakValueDictionary[str, type]
    classes = cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID  # noqa: SLF001 - as above
    return classes


received_classes = ReceivedClasses()
"""Of this process, which is a worker; elsewhere it stays empty."""
