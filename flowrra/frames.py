"""Records as a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import TYPE_CHECKING, Any

from flowrra.errors import MissingDependency
from flowrra.results import TaskResult

if TYPE_CHECKING:
    import pandas


def frame_of(records: Sequence[TaskResult]) -> pandas.DataFrame:
    """Return *records* as a DataFrame; see :meth:`flowrra.Batch.to_frame`."""
    try:
        import pandas
    except ImportError:
        raise MissingDependency("to_frame()", "pandas") from None
    columns: dict[str, Any] = {
        field.name: [getattr(record, field.name) for record in records] for field in fields(TaskResult)
    }
    columns["status"] = [str(record.status) for record in records]
    columns["error"] = [None if record.error is None else str(record.error) for record in records]
    # As objects: a value may be an array, a table or a list, which pandas would take apart.
    results = pandas.Series([None] * len(records), dtype=object)
    for place, record in enumerate(records):
        results.iat[place] = record.result
    columns["result"] = results
    return pandas.DataFrame(columns).set_index("index")
