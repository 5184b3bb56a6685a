"""Every public error. Each says what happened, to what, and what to do next; each pickles.

The facts an error was built from stay readable as attributes. Where a builtin fits, the class is also that
builtin, so that ``except TimeoutError`` and ``except TypeError`` keep working.
"""

from __future__ import annotations

import signal
from collections.abc import Sequence
from typing import Any, Self

_SHOWN = 4000
"""Characters of a lost worker's stderr that its error's message shows."""


class FlowrraError(Exception):
    """The base of all errors raised by flowrra itself; errors of a task's own code are passed on as they are."""

    def __reduce__(self) -> tuple[Any, ...]:
        # The constructors take facts, not the message, so the default (cls, args) would not rebuild them.
        return _rebuild, (type(self), self.args), self.__dict__


def _rebuild(cls: type[FlowrraError], args: tuple[object, ...]) -> FlowrraError:
    error = cls.__new__(cls)
    error.args = args
    return error


# Definitions and options.


class InvalidTask(FlowrraError, TypeError):
    """What was decorated or submitted cannot be a task, such as a generator, a class or a coroutine on the CPU pool."""


class UnknownOption(FlowrraError, TypeError):
    """An option that no part of flowrra knows; the message names the nearest known one."""


class InvalidOption(FlowrraError, ValueError):
    """A known option with a value that makes no sense, such as a negative ``max_retries``."""


class DuplicateTask(FlowrraError, ValueError):
    """Two different functions of an importable module want the same task name."""

    def __init__(self, name: str, module: str, other_module: str) -> None:
        self.name, self.module, self.other_module = name, module, other_module
        where = f"both in module {module!r}" if module == other_module else f"in {other_module!r} and in {module!r}"
        super().__init__(
            f"two functions are registered as the task {name!r}, {where}; give one of them another name: "
            f"@app.task(name=…)"
        )


# Life of the app.


class AppNotRunning(FlowrraError, RuntimeError):
    """Something was submitted to an app that has not been started, or has been stopped."""

    def __init__(self, app: str) -> None:
        self.app = app
        super().__init__(
            f"the app {app!r} is not running; enter it first ('async with app:' or 'with app:'), "
            "or in a notebook run '%load_ext flowrra_jupyter', which starts it when it is needed"
        )


class AppStopped(FlowrraError, RuntimeError):
    """The app was stopped before this run was done."""


class WouldDeadlock(FlowrraError, RuntimeError):
    """A blocking wait on the very thread whose event loop has to bring the answer."""

    def __init__(self, what: str) -> None:
        self.what = what
        super().__init__(
            f"{what} would wait for ever: it blocks the event loop that has to answer; use 'await' here, "
            "or call it from another thread"
        )


class NeedsAwait(WouldDeadlock):
    """A blocking wait that would have to pump a loop which cannot be pumped, such as uvloop's."""


class NotInWorker(FlowrraError, RuntimeError):
    """A task was submitted from inside a worker process, where there is no app."""

    def __init__(self, task: str) -> None:
        self.task = task
        super().__init__(
            f"the task {task!r} cannot be submitted from a worker process; call it as a plain function, "
            "or return what is to be done next and submit it where the app lives"
        )


class WorkerStartFailed(FlowrraError, RuntimeError):
    """No worker process could be started; the message carries what the process wrote before it ended."""


# How a run ends.


class TaskTimeout(FlowrraError, TimeoutError):
    """One attempt took longer than the task's ``timeout``; counted from its real start."""

    def __init__(self, task: str, run_id: str, timeout: float, attempt: int) -> None:
        self.task, self.run_id, self.timeout, self.attempt = task, run_id, timeout, attempt
        super().__init__(f"attempt {attempt} of run {run_id} ({task}) was stopped after its timeout of {timeout:g} s")


class DeadlineExceeded(FlowrraError, TimeoutError):
    """The run was not done by its ``deadline``, waiting and retries included."""

    def __init__(self, task: str, run_id: str) -> None:
        self.task, self.run_id = task, run_id
        super().__init__(f"run {run_id} ({task}) was not done by its deadline")


class TaskCancelled(FlowrraError):
    """The run was cancelled. Not a ``CancelledError``: awaiting it never looks like a cancellation of the waiter."""

    def __init__(self, task: str, run_id: str, reason: str = "cancel() was called") -> None:
        self.task, self.run_id, self.reason = task, run_id, reason
        super().__init__(f"run {run_id} ({task}) was cancelled: {reason}")


class TaskExit(FlowrraError):
    """The task's code asked the interpreter to end (``SystemExit``, ``KeyboardInterrupt``, ``GeneratorExit``).

    It is a failure of that run alone; passing the original on would end the program of whoever waits.
    """

    def __init__(self, task: str, run_id: str, exception: str) -> None:
        self.task, self.run_id, self.exception = task, run_id, exception
        super().__init__(f"run {run_id} ({task}) raised {exception}; it was kept from ending the process")


class WorkerLost(FlowrraError):
    """The process that ran this attempt ended, or was ended from outside, before it answered."""

    def __init__(
        self,
        task: str,
        run_id: str,
        *,
        pid: int,
        exit_code: int | None,
        attempt: int,
        stderr_tail: str = "",
        peak_memory: int | None = None,
        out_of_memory: bool = False,
    ) -> None:
        """*peak_memory*: the most private memory that the process was seen to use, in bytes; None if nobody looked."""
        self.task, self.run_id, self.pid, self.exit_code = task, run_id, pid, exit_code
        self.attempt, self.stderr_tail = attempt, stderr_tail
        self.peak_memory, self.out_of_memory = peak_memory, out_of_memory
        cause = "the kernel's out-of-memory killer" if out_of_memory else describe_exit(exit_code)
        used = f", private memory up to {format_bytes(peak_memory)}" if peak_memory else ""
        words = _last_words(stderr_tail)
        tail = f"; its last words on stderr:\n{words}" if words else ""
        super().__init__(
            f"worker {pid} ended ({cause}{used}) in attempt {attempt} of run {run_id} ({task}); "
            f"only this run is affected{tail}"
        )


class InitializerFailed(FlowrraError):
    """The app's ``initializer`` raised in the worker that was to run this; what it raised is the cause.

    The worker is kept and tries again with its next run.
    """

    def __init__(self, task: str, what: str) -> None:
        self.task, self.what = task, what
        super().__init__(
            f"the initializer of the workers failed before {task!r} could run: {what}; "
            "check that what it needs is there in a worker process"
        )


class MemoryLimitExceeded(MemoryError, FlowrraError):  # in this order it can be made without its constructor
    """A run used more private memory than its ``memory_limit``; its worker was ended and replaced.

    ``limit`` and ``peak`` in bytes. It is retried like any other error, as ``retry_on`` says.
    """

    def __init__(self, task: str, run_id: str, *, limit: int, peak: int, attempt: int) -> None:
        self.task, self.run_id, self.limit, self.peak, self.attempt = task, run_id, limit, peak, attempt
        super().__init__(
            f"attempt {attempt} of run {run_id} ({task}) used {format_bytes(peak)} of private memory, "
            f"its memory_limit is {format_bytes(limit)}; only this run is affected: "
            "have it work on less at a time, or raise memory_limit"
        )


class NotEncodable(FlowrraError, TypeError):
    """A function, an argument or a result cannot travel between processes.

    ``path`` leads to the culprit (``args[0]['db'].connection``), ``what`` is its type, ``reason`` the pickler's words.
    """

    def __init__(
        self,
        task: str,
        path: str,
        what: str,
        reason: str,
        remedy: str = "create it inside the task, or pass what it is made from (a path, a URL, an id)",
    ) -> None:
        self.task, self.path, self.what, self.reason = task, path, what, reason
        super().__init__(f"{path} of {task!r} cannot be sent to or from a worker process: {what} ({reason}); {remedy}")


class NoRoomForData(FlowrraError):
    """The large data of a submission cannot be kept: memory, disk or descriptors are used up. Nothing was submitted.

    ``need`` and ``free`` (memory) are bytes, ``place`` is the full folder, or empty; ``reason`` is the system's words.
    """

    def __init__(self, task: str, need: int, reason: str, place: str, free: int) -> None:
        self.task, self.need, self.reason, self.place, self.free = task, need, reason, place, free
        where = f"the folder {place}" if place else "shared memory"
        super().__init__(
            f"nothing of {task!r} was submitted: {format_bytes(need)} of its data do not fit into {where} ({reason}; "
            f"{format_bytes(free)} of memory are free); wait until runs that use other data are done, submit less at a "
            "time, or set FLOWRRA_SPILL to a folder with more room"
        )


class NotDecodable(NotEncodable):
    """A function, an argument or a result was sent but could not be rebuilt on the other side."""

    def __init__(self, task: str, path: str, what: str, reason: str) -> None:
        super().__init__(task, path, what, reason)
        message = (
            f"{path} of {task!r} arrived but could not be rebuilt: {what} ({reason}); "
            "check that its module can be imported there and that its __reduce__ or __setstate__ works"
        )
        self.args = (message,)


class HandleNotAllowed(FlowrraError, TypeError):
    """A handle or batch was captured or passed where only plain values can go."""

    def __init__(self, task: str, path: str) -> None:
        self.task, self.path = task, path
        super().__init__(
            f"{path} of {task!r} is a handle; it stands for a run of this process and has no meaning inside a task: "
            "pass its value (handle.result() or await handle)"
        )


class InvalidTransition(FlowrraError, RuntimeError):
    """A status change that the lifecycle does not know. A defect of flowrra or of an executor, never of a task."""

    def __init__(self, run_id: str, status: str, event: str, story: Sequence[str] = ()) -> None:
        self.run_id, self.status, self.event, self.story = run_id, status, event, tuple(story)
        told = "\n  ".join(("; what happened to it:", *self.story)) if self.story else ""
        super().__init__(f"run {run_id} is {status} and cannot take {event}{told}")


# Waiting and reading.


class WaitTimeout(FlowrraError, TimeoutError):
    """The wait ended, not the run: it goes on and can be waited for again."""

    def __init__(self, what: str, timeout: float) -> None:
        self.what, self.timeout = what, timeout
        super().__init__(f"{what} was not done within {timeout:g} s; it goes on, wait again or cancel() it")


class UnknownRun(FlowrraError, LookupError):
    """No record of that id; it never existed here, or it is older than what the backend keeps."""

    def __init__(self, run_id: str) -> None:
        self.run_id = run_id
        super().__init__(f"no run {run_id!r} is known here; it was never submitted to this app, or its record is gone")


class ResultGone(FlowrraError, LookupError):
    """The run is done, but its value is no longer kept."""

    def __init__(self, run_id: str, why: str) -> None:
        self.run_id = run_id
        super().__init__(f"the value of run {run_id} is gone: {why}; keep a handle for as long as you need its value")


class RemoteTraceback(Exception):
    """The traceback of an error that was raised in another process, as text; set as that error's cause."""

    def __init__(self, text: str) -> None:
        self.text = text
        super().__init__(text)

    def __str__(self) -> str:
        return f"\n{self.text.rstrip()}"


class RemoteError(FlowrraError):
    """Stands for an exception of a task that could not be rebuilt here: its type, message and traceback as text."""

    def __init__(self, type_name: str, message: str, traceback: str) -> None:
        self.type_name, self.message, self.traceback = type_name, message, traceback
        super().__init__(f"{type_name}: {message}")

    @classmethod
    def of(cls, type_name: str, message: str, traceback: str) -> Self:
        error = cls(type_name, message, traceback)
        error.__cause__ = RemoteTraceback(traceback)
        return error


def format_bytes(size: float) -> str:
    """*size* in the largest unit of which it has at least one: ``1.5 GB``, powers of ten."""
    units = ["GB", "MB", "kB", "bytes"]
    while size >= 1000 and len(units) > 1:
        size /= 1000
        units.pop()
    return f"{size:.3g} {units[-1]}" if size < 1000 else f"{size:.0f} {units[-1]}"


def _last_words(stderr_tail: str) -> str:
    """The part of *stderr_tail* that a message shows: what a crash in native code has left, else the end."""
    words = stderr_tail.strip()
    if len(words) <= _SHOWN:
        return words
    crash = words.rfind("Fatal Python error")
    return f"{words[crash : crash + _SHOWN]}\n…" if crash >= 0 else f"…\n{words[-_SHOWN:]}"


def describe_exit(code: int | None) -> str:
    """Say in words how a process ended: *code* as ``os.waitstatus_to_exitcode`` gives it, negative for a signal."""
    if code is None:
        return "exit code unknown"
    if code >= 0:
        return f"exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = {"SIGKILL": ", often the out-of-memory killer", "SIGSEGV": ", a crash in native code"}.get(name, "")
    return f"killed by {name}{hint}"
