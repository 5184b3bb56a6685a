"""One measurement: ``python -m tests.benchmarks.child WORKLOAD CONTENDER [--quick]``, in a process of its own.

Being ``__main__`` there, the functions below are to the pools what the functions of a notebook or a script are. Each
imports what it needs, so that every library can carry it. Prints one line of JSON: the values measured and a remark, or
the failure.
"""

from __future__ import annotations

import os
import sys
from typing import Any

IMPORTS = "BENCHMARK_IMPORTS"
"""Set in the environment of a measurement whose program uses numpy and pandas; its worker processes inherit it."""

if os.environ.get(IMPORTS):
    import numpy as np
    import pandas as pd

table: Any = None
"""The global that a workload makes after the pool has started."""


def same(item: Any) -> Any:
    return item


def count_up(steps: int) -> tuple[int, float]:
    """Compute; return the result and the seconds it took here."""
    import time

    begun = time.perf_counter()
    total = 0
    for step in range(steps):
        total += step & 3
    return total, time.perf_counter() - begun


def total_of(index: int, array: Any) -> float:
    """Read all of it."""
    return float(array.sum()) + index


def row_sum(index: int) -> float:
    return float(table[index].sum())


def row_sum_of(index: int, table: Any) -> float:
    return float(table[index].sum())


def filled(index: int, length: int) -> Any:
    import numpy

    return numpy.full(length, float(index))


def frame_mean(number: int) -> float:
    return float(pd.DataFrame({"x": np.arange(number)})["x"].mean())


def rest_or_die(item: int, victim: int) -> int:
    import os
    import time

    time.sleep(0.02)
    if item == victim:
        os._exit(3)
    return item


def who(_item: int) -> tuple[int, float]:
    """Say which process runs this and when it began, on the clock that all processes share."""
    import os
    import time

    begun = time.monotonic()
    time.sleep(0.02)
    return os.getpid(), begun


def die(note: str) -> None:
    """Write the time into the file *note* and end this process as the kernel would."""
    import os
    import pathlib
    import signal
    import time

    pathlib.Path(note).write_text(repr(time.monotonic()))
    os.kill(os.getpid(), signal.SIGKILL)


def wait_for_file(path: str) -> None:
    import os
    import time

    while not os.path.exists(path):
        time.sleep(0.02)


async def same_soon(item: int) -> int:
    return item


def main() -> None:
    import json
    import traceback

    from tests.benchmarks.contenders import contender_class
    from tests.benchmarks.workloads import WORKLOADS
    from tests.benchmarks.workloads.measurement import Measurement

    name, contender, *flags = sys.argv[1:]
    workload = WORKLOADS[name]
    size = workload.quick if "--quick" in flags else workload.size
    measurement = Measurement(contender_class(contender), size, sys.modules["__main__"])
    try:
        answer = {"values": workload.measure(measurement), "remark": measurement.remark}
    except Exception as error:  # noqa: BLE001 - however a library fails is what the table tells
        traceback.print_exc()
        text = str(error).strip().splitlines()
        answer = {"failure": ": ".join([type(error).__name__, *text[:1]])[:120]}
    print(json.dumps(answer), flush=True)
    measurement.close()


if __name__ == "__main__":
    main()
