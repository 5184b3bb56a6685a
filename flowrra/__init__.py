"""Task orchestration for Python programs and the notebook you are already in.

The public names, found on first use: importing flowrra loads next to nothing, so that a worker process starts quickly
and a program pays only for what it uses.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "flowrra.app": ("Flowrra", "app_of"),
    "flowrra.batch": ("Batch",),
    "flowrra.core.records": ("ErrorInfo",),
    "flowrra.core.statuses": ("Status",),
    "flowrra.errors": (
        "AppNotRunning",
        "AppStopped",
        "ArgumentsGone",
        "DeadlineExceeded",
        "DuplicateTask",
        "FlowrraError",
        "HandleNotAllowed",
        "InitializerFailed",
        "InvalidOption",
        "InvalidTask",
        "InvalidTransition",
        "MemoryLimitExceeded",
        "MissingDependency",
        "NeedsAwait",
        "NoRoomForData",
        "NotDecodable",
        "NotEncodable",
        "NotInWorker",
        "NotRetryable",
        "RemoteError",
        "RemoteTraceback",
        "ResultGone",
        "TaskCancelled",
        "TaskExit",
        "TaskTimeout",
        "UnknownOption",
        "UnknownRun",
        "WaitTimeout",
        "WorkerLost",
        "WorkerStartFailed",
        "WouldDeadlock",
    ),
    "flowrra.events": ("RunEvent",),
    "flowrra.handle": ("TaskHandle",),
    "flowrra.hosting": ("current_host", "set_host"),
    "flowrra.interfaces": ("Host",),
    "flowrra.losses": ("NotRecorded", "RunsGivenUp"),
    "flowrra.results": ("AppStats", "TaskResult"),
    "flowrra.running": ("NotInTask", "RunContext", "current_run", "progress"),
    "flowrra.tables": ("STATUSES", "Changes", "RunTable", "table_of"),
    "flowrra.task": ("CoroutineTask", "Task"),
    "flowrra.waiting": ("as_completed", "wait"),
    "flowrra.waits": ("Interrupted", "Waits"),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}

__all__ = sorted([*_HOME_OF, "__version__"])  # noqa: PLE0605 - one list, above


def __getattr__(name: str) -> Any:
    module = _HOME_OF.get(name)
    if module is None:
        raise AttributeError(f"module 'flowrra' has no attribute {name!r}")
    value = getattr(importlib.import_module(module), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


if TYPE_CHECKING:
    from flowrra.app import Flowrra as Flowrra
    from flowrra.app import app_of as app_of
    from flowrra.batch import Batch as Batch
    from flowrra.core.records import ErrorInfo as ErrorInfo
    from flowrra.core.statuses import Status as Status
    from flowrra.errors import AppNotRunning as AppNotRunning
    from flowrra.errors import AppStopped as AppStopped
    from flowrra.errors import ArgumentsGone as ArgumentsGone
    from flowrra.errors import DeadlineExceeded as DeadlineExceeded
    from flowrra.errors import DuplicateTask as DuplicateTask
    from flowrra.errors import FlowrraError as FlowrraError
    from flowrra.errors import HandleNotAllowed as HandleNotAllowed
    from flowrra.errors import InvalidOption as InvalidOption
    from flowrra.errors import InvalidTask as InvalidTask
    from flowrra.errors import InvalidTransition as InvalidTransition
    from flowrra.errors import MissingDependency as MissingDependency
    from flowrra.errors import NeedsAwait as NeedsAwait
    from flowrra.errors import NoRoomForData as NoRoomForData
    from flowrra.errors import NotDecodable as NotDecodable
    from flowrra.errors import NotEncodable as NotEncodable
    from flowrra.errors import NotInWorker as NotInWorker
    from flowrra.errors import NotRetryable as NotRetryable
    from flowrra.errors import RemoteError as RemoteError
    from flowrra.errors import RemoteTraceback as RemoteTraceback
    from flowrra.errors import ResultGone as ResultGone
    from flowrra.errors import TaskCancelled as TaskCancelled
    from flowrra.errors import TaskExit as TaskExit
    from flowrra.errors import TaskTimeout as TaskTimeout
    from flowrra.errors import UnknownOption as UnknownOption
    from flowrra.errors import UnknownRun as UnknownRun
    from flowrra.errors import WaitTimeout as WaitTimeout
    from flowrra.errors import WorkerLost as WorkerLost
    from flowrra.errors import WorkerStartFailed as WorkerStartFailed
    from flowrra.errors import WouldDeadlock as WouldDeadlock
    from flowrra.events import RunEvent as RunEvent
    from flowrra.handle import TaskHandle as TaskHandle
    from flowrra.hosting import current_host as current_host
    from flowrra.hosting import set_host as set_host
    from flowrra.interfaces import Host as Host
    from flowrra.losses import NotRecorded as NotRecorded
    from flowrra.losses import RunsGivenUp as RunsGivenUp
    from flowrra.results import AppStats as AppStats
    from flowrra.results import TaskResult as TaskResult
    from flowrra.running import NotInTask as NotInTask
    from flowrra.running import RunContext as RunContext
    from flowrra.running import current_run as current_run
    from flowrra.running import progress as progress
    from flowrra.tables import STATUSES as STATUSES
    from flowrra.tables import Changes as Changes
    from flowrra.tables import RunTable as RunTable
    from flowrra.tables import table_of as table_of
    from flowrra.task import CoroutineTask as CoroutineTask
    from flowrra.task import Task as Task
    from flowrra.waiting import as_completed as as_completed
    from flowrra.waiting import wait as wait
    from flowrra.waits import Interrupted as Interrupted
    from flowrra.waits import Waits as Waits
