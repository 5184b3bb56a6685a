"""What is said between the engine, the zygote and the workers.

Messages are flat tuples of builtin values, written with :mod:`marshal`: both ends are the same interpreter, and reading
one never runs user code. Each travels as one packet of a SOCK_SEQPACKET socket, so that a message and the descriptors
passed with it arrive together or not at all.
"""

from __future__ import annotations

import marshal
from typing import Any

from flowrra.core.tuples import NamedTuple

PACKET = 128 * 1024
"""No message is larger, in bytes; whatever could be travels in a memory segment."""

Table = tuple[tuple[int, int], ...]
"""(offset, length) of each part of a segment."""

Places = tuple[tuple[int, int, int], ...]
"""(number of a slab, offset, length) of each part of a value."""


# From the engine to the zygote.


class Fork(NamedTuple):
    """Start a worker; with its ends of the queue, supplies and answers sockets."""

    worker: int


class Preload(NamedTuple):
    """Import these modules once there is nothing else to do, so that later workers have them."""

    modules: tuple[str, ...]
    now: bool
    """Before anything else, unless there are workers to be heard meanwhile: the first of them will need them."""


class Watch(NamedTuple):
    """Measure the memory of workers that execute runs, from now on or (``on=False``) no more."""

    on: bool


class Quit(NamedTuple):
    """End every worker and yourself."""


# From the zygote to the engine.


class Ready(NamedTuple):
    """The zygote listens."""

    pid: int


class Forked(NamedTuple):
    """A worker runs; with its pidfd."""

    worker: int
    pid: int


class ForkFailed(NamedTuple):
    worker: int
    reason: str


class Ended(NamedTuple):
    """A worker is gone, and so is whatever it had started. Follows all of its output."""

    worker: int
    exit_code: int
    """Negative: the signal that ended it."""
    stderr_tail: bytes
    peak: int
    """Private memory of its latest run, in bytes, as far as it was measured; 0: not."""
    exceeded: tuple[int, int]
    """(run, limit) for whose memory it was ended; (0, 0): not for that."""
    out_of_memory: bool
    """The kernel ended it for want of memory, as far as can be told."""


class Output(NamedTuple):
    """A worker wrote *data* since the last report."""

    worker: int
    stream: int
    """1: stdout, 2: stderr."""
    data: bytes


class Boundary(NamedTuple):
    """All output of run *number* has been reported."""

    worker: int
    number: int


class Preloaded(NamedTuple):
    """Importing *module* has been tried; ``threads`` > 1: it left a thread behind."""

    module: str
    threads: int


# From the engine to a worker.


class RunHeader(NamedTuple):
    """One run of a :class:`RunGroup`."""

    number: int
    """Names the attempt within this pool."""
    run_id: str
    attempt: int
    deadline: float | None
    kind: int
    head: bytes
    places: Places
    seed: int | str
    """With *position*: what it draws from."""
    position: int


class RunGroup(NamedTuple):
    """Execute runs, one after the other; the number of the first one names the group.

    Goes into the queue, after the slabs in which the large parts of arguments are.
    """

    task_name: str
    function: bytes
    """Digest of a supply."""
    constants: bytes
    """Digest of a supply, or empty."""
    surroundings: int
    memory_limit: int
    """Bytes; 0: none."""
    readonly: bool
    """Large buffers cannot be written to."""
    supplies: int
    """Messages that were put into the supplies before this: what it needs is among them."""
    runs: tuple[tuple[int, str, int, float | None, int, bytes, Places, int | str, int], ...]
    """Fields of :class:`RunHeader`."""


class SpanGroup(NamedTuple):
    """Execute neighbours of one map. Their numbers follow each other, and so do the numbers in their ids."""

    task_name: str
    function: bytes
    constants: bytes
    surroundings: int
    memory_limit: int
    readonly: bool
    supplies: int
    number: int
    length: int
    prefix: str
    first_id: int
    deadline: float | None
    seed: int | str
    position: int
    """Of the first one."""
    pieces: tuple[bytes, ...]
    """Arguments; see ``encoding.maps``."""


class Stop(NamedTuple):
    """Raise inside run *number*, if it is still the one that runs. Goes into the (emptied) queue, before the signal."""

    number: int


class Dismiss(NamedTuple):
    """End by yourself. For a worker that was spawned; one that was forked finds its queue closed."""


class Supply(NamedTuple):
    """A function or the constants of a map, to be kept under its digest. Goes into the supplies."""

    digest: bytes
    reusable: bool
    """Nothing a run could change is captured: load once, call often."""
    sources: tuple[tuple[str, str], ...]
    """(file name, text) of the cells it was defined in."""
    kind: int
    head: bytes
    places: Places


class Setup(NamedTuple):
    """Comes first of all into the supplies, after the supply that ``initializer`` names, if it is not empty."""

    nice: int
    cores: int
    """That all workers share."""
    initializer: bytes
    """Digest of the supply to call before the first run."""


class Forget(NamedTuple):
    """Drop a supply."""

    digest: bytes


class SlabSupply(NamedTuple):
    """A slab; with its descriptor. Goes into the supplies, before what has parts in it."""

    slab: int
    size: int


class ForgetSlab(NamedTuple):
    """Drop a slab, and say so."""

    slab: int


class SurroundingsSupply(NamedTuple):
    """Surroundings under their number. Goes into the supplies."""

    number: int
    kind: int
    head: bytes
    table: Table


# From a worker to the engine.


class Report(NamedTuple):
    """What has ended in a group since the last report; with the segment of the one entry that speaks of one."""

    group: int
    """Number of its first run."""
    first: int
    """Index of the first entry in its group."""
    length: int
    starts: bytes
    """Instants (monotonic clock, doubles) at which each began, and the one at which the last ended."""
    entries: bytes
    """See ``transport.page``."""
    over: bool
    """Whatever of the group is not reported by now has not begun, and will not begin here."""
    imported: tuple[str, ...]
    """Modules worth preloading that have been imported since the last report."""


class SlabDropped(NamedTuple):
    """Follows each :class:`ForgetSlab`."""

    slab: int
    clean: bool
    """Nothing in the worker, nor in a process that it has started, can look into the slab any more."""


class Imported(NamedTuple):
    """A file of the user's own is about to be read, to be imported."""

    path: str
    modified: int
    """Nanoseconds."""
    size: int
    inode: int


class Progressed(NamedTuple):
    number: int
    done: float
    total: float | None
    text: str


Message = (
    Fork | Preload | Watch | Quit
    | Ready | Forked | ForkFailed | Ended | Output | Boundary | Preloaded
    | RunGroup | SpanGroup | Stop | Dismiss | Supply | Setup | Forget | SurroundingsSupply | SlabSupply | ForgetSlab
    | Report | Progressed | Imported | SlabDropped
)  # fmt: skip

_KINDS: tuple[type[Any], ...] = (
    Fork, Preload, Watch, Quit,
    Ready, Forked, ForkFailed, Ended, Output, Boundary, Preloaded,
    RunGroup, SpanGroup, Stop, Dismiss, Supply, Setup, Forget, SurroundingsSupply, SlabSupply, ForgetSlab,
    Report, Progressed, Imported, SlabDropped,
)  # fmt: skip
_TAGS = {kind: tag for tag, kind in enumerate(_KINDS)}


def pack(message: Message) -> bytes:
    return marshal.dumps((_TAGS[type(message)], *message))


def unpack(data: bytes | memoryview) -> Message:
    tag, *fields = marshal.loads(data)
    message: Message = _KINDS[tag](*fields)
    return message
