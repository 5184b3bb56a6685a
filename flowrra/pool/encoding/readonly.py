"""Arrays that arrive so that nobody can write to them, however small they are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy


def reduce_readonly(array: numpy.ndarray[Any, Any]) -> tuple[Any, ...]:
    """How to pickle *array* so that it is rebuilt on a buffer, or with a flag, that refuses writing."""
    if not (array.flags.c_contiguous or array.flags.f_contiguous) and not array.dtype.hasobject:
        array = array.copy("C")
    view = array.view()
    view.flags.writeable = False
    reduced: Any = view.__reduce_ex__(5)
    if len(reduced) == 2:  # it is to be rebuilt on its buffer, which is read-only like the view
        return tuple(reduced)
    make, arguments, state = reduced[:3]  # an array of objects, or of a class derived from ndarray
    return make, arguments, state, None, None, set_state


def set_state(array: numpy.ndarray[Any, Any], state: Any) -> None:
    """Called by pickle, when the array has been made."""
    array.__setstate__(state)
    array.flags.writeable = False
