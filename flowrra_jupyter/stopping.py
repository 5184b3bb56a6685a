"""What Stop says: what became of the runs that an interrupted cell has waited for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flowrra import Batch, Interrupted, TaskHandle
from flowrra_jupyter.rich import plural


def line_about(interrupted: Interrupted, namespace: Mapping[str, Any]) -> str | None:
    """Return the line that the cell shows; None if there is nothing to say. *namespace* has the user's variables."""
    parts = []
    if interrupted.cancelled:
        done = f", {interrupted.done} done" if interrupted.total > interrupted.cancelled else ""
        parts.append(f"{interrupted.cancelled} of {plural(interrupted.total, 'run')} cancelled{done}")
    if interrupted.going_on:
        total = sum(part.total for part in interrupted.going_on)
        done_of_them = sum(part.done for part in interrupted.going_on)
        rest = "it goes on" if total == 1 else "the rest goes on" if done_of_them else "all go on"
        what = "the run is not done" if total == 1 else f"{done_of_them} of {total} done"
        parts.append(f"{what}, {rest}; `{_how_to_stop(interrupted, namespace)}` stops it")
    return f"flowrra: {'; '.join(parts)}" if parts else None


def _how_to_stop(interrupted: Interrupted, namespace: Mapping[str, Any]) -> str:
    batches = {part.batch_id for part in interrupted.going_on}
    first = interrupted.going_on[0]
    if len(batches) == 1 and first.batch_id is not None:
        name = _name_of(namespace, Batch, first.batch_id)
        if name is not None:
            return f"{name}.cancel()"
    if len(interrupted.going_on) == 1 and first.total == 1:
        name = _name_of(namespace, TaskHandle, first.run_id)
        return f"{name}.cancel()" if name is not None else f"%flowrra cancel {first.run_id}"
    return "%flowrra cancel --all"


def _name_of(namespace: Mapping[str, Any], kind: type[Batch[Any] | TaskHandle[Any]], identity: str) -> str | None:
    """The variable that holds it; of several the one that comes first."""
    for name, value in list(namespace.items()):
        if not name.startswith("_") and isinstance(value, kind) and value.id == identity:
            return name
    return None
