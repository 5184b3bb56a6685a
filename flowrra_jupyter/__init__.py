"""flowrra in a notebook: ``%load_ext flowrra_jupyter``, then ``%flowrra start``.

Runs, batches and the app show themselves as live views; coroutine tasks run in the kernel's own loop; when the kernel
ends, everything that was started ends with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowrra import Flowrra

__all__ = ["app", "load_ipython_extension", "unload_ipython_extension"]


def app(workers: int | None = None, name: str | None = None) -> Flowrra:
    """Return this kernel's running app, as ``%flowrra start`` does, without binding it to a variable.

    Args:
        workers: Processes for CPU-bound tasks. Another number than the present app has makes a new app, which takes
            over the workers; tasks defined with the old app stay with it.
        name: The namespace of its tasks; by default the notebook's path.

    Raises:
        RuntimeError: Outside IPython.
    """
    from IPython.core.getipython import get_ipython

    from flowrra_jupyter import extension

    shell = get_ipython()
    if shell is None:
        raise RuntimeError(
            "flowrra_jupyter.app() needs IPython or a notebook; in a program use 'with Flowrra() as app:'"
        )
    return extension.load(shell).app(workers, name)


def load_ipython_extension(shell: Any) -> None:
    """``%load_ext flowrra_jupyter``. May be repeated."""
    from flowrra_jupyter import extension

    extension.load(shell)


def unload_ipython_extension(_shell: Any) -> None:
    """``%unload_ext flowrra_jupyter``. The app goes on; views stay as they are."""
    from flowrra_jupyter import extension

    extension.unload()
