"""Systems with a server of their own, on this machine: Dask, Ray, ipyparallel."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterable, Sequence
from typing import Any

from tests.benchmarks.contenders.base import Function, Pool, Wait, chunks, run_chunk


class Dask(Pool):
    title = "Dask LocalCluster"
    needs = ("distributed",)
    how = (
        "2 processes of 1 thread, no dashboard; `submit(pure=False)` and one `gather`; large data by "
        "`scatter(broadcast=True)`; tiny items in 8 tasks of one numpy chunk each, because lists cost it far more"
    )
    shares = True

    def __init__(self, workers: int) -> None:
        import logging

        from distributed import Client, LocalCluster

        super().__init__(workers)
        cluster = LocalCluster(
            n_workers=workers, threads_per_worker=1, dashboard_address=None, silence_logs=logging.CRITICAL
        )
        self._cluster, self._client = cluster, Client(cluster)

    @classmethod
    def load(cls) -> None:
        import distributed

        assert distributed

    def submit(self, function: Function, *args: Any) -> Wait:
        return self._client.submit(function, *args, pure=False).result

    def singles(self, function: Function, items: Iterable[Any]) -> list[Any]:
        return self._client.gather([self._client.submit(function, item, pure=False) for item in items])

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        import numpy

        parts = chunks(numpy.asarray(items), 4 * self.workers)
        futures = [self._client.submit(_run_numbers, function, part, pure=False) for part in parts]
        return [item for part in self._client.gather(futures) for item in part.tolist()]

    def hold(self, array: Any) -> Any:
        return self._client.scatter(array, broadcast=True)

    def each_with(self, function: Function, count: int, held: Any) -> list[Any]:
        return self._client.gather([self._client.submit(function, i, held, pure=False) for i in range(count)])

    def with_global(self, tasks: Any, count: int) -> list[Any]:
        return self.each_with(tasks.row_sum_of, count, self.hold(tasks.table))

    def results(self, function: Function, count: int, *args: Any) -> list[Any]:
        return self._client.gather([self._client.submit(function, i, *args, pure=False) for i in range(count)])

    def close(self) -> None:
        self._client.close()
        self._cluster.close()


def _run_numbers(function: Function, items: Any) -> Any:
    import numpy

    return numpy.asarray(run_chunk(function, items.tolist()))


class Ray(Pool):
    title = "Ray"
    needs = ("ray",)
    how = (
        "`init(num_cpus=2)`, no dashboard; a remote function made once, one `get` of all; large data by `put`; tiny "
        "items in 8 tasks of one list each; `max_retries=0`, so that a crash is told"
    )
    shares = True

    def __init__(self, workers: int) -> None:
        import ray

        super().__init__(workers)
        self._ray: Any = ray
        ray.init(
            address="local", num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="critical",
            _temp_dir=os.path.join(tempfile.gettempdir(), "ray"),
        )  # fmt: skip
        self._remote: dict[Function, Any] = {}

    @classmethod
    def load(cls) -> None:
        import ray

        assert ray

    def _start(self, function: Function, *args: Any) -> Any:
        remote = self._remote.get(function)
        if remote is None:
            remote = self._remote[function] = self._ray.remote(max_retries=0)(function)
        return remote.remote(*args)

    def submit(self, function: Function, *args: Any) -> Wait:
        reference = self._start(function, *args)
        return lambda timeout: self._ray.get(reference, timeout=timeout)

    def singles(self, function: Function, items: Iterable[Any]) -> list[Any]:
        return self._ray.get([self._start(function, item) for item in items])

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        started = [self._start(run_chunk, function, list(part)) for part in chunks(items, 4 * self.workers)]
        return [item for part in self._ray.get(started) for item in part]

    def hold(self, array: Any) -> Any:
        return self._ray.put(array)

    def each_with(self, function: Function, count: int, held: Any) -> list[Any]:
        return self._ray.get([self._start(function, index, held) for index in range(count)])

    def with_global(self, tasks: Any, count: int) -> list[Any]:
        return self.each_with(tasks.row_sum_of, count, self.hold(tasks.table))

    def results(self, function: Function, count: int, *args: Any) -> list[Any]:
        return self._ray.get([self._start(function, index, *args) for index in range(count)])

    def close(self) -> None:
        self._ray.shutdown()


class Ipyparallel(Pool):
    title = "ipyparallel"
    needs = ("ipyparallel",)
    how = (
        "`Cluster(n=2)`; single calls on a load-balanced view, tiny items by the direct view's `map_sync`, "
        "large data by its `push`"
    )
    shares = True

    def __init__(self, workers: int) -> None:
        import logging

        import ipyparallel

        super().__init__(workers)
        self._cluster = ipyparallel.Cluster(n=workers, log_level=logging.CRITICAL)
        self._client = self._cluster.start_and_connect_sync()
        self._direct = self._client[:]
        self._balanced = self._client.load_balanced_view()

    @classmethod
    def load(cls) -> None:
        import ipyparallel

        assert ipyparallel

    def submit(self, function: Function, *args: Any) -> Wait:
        return self._balanced.apply_async(function, *args).get

    def many(self, function: Function, items: Sequence[Any]) -> list[Any]:
        return self._direct.map_sync(function, items)

    def hold(self, array: Any) -> Any:
        import ipyparallel

        self._direct.push({"pushed": array}, block=True)
        return ipyparallel.Reference("pushed")

    def with_global(self, tasks: Any, count: int) -> list[Any]:
        # The function of a cell finds its globals in the engine's namespace.
        self._direct.push({"table": tasks.table}, block=True)
        return self.singles(tasks.row_sum, range(count))

    def close(self) -> None:
        self._client.close()
        self._cluster.stop_cluster_sync()
