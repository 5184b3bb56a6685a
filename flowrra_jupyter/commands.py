"""The sub-commands of ``%flowrra``: one table with their arguments and their manual pages."""

from __future__ import annotations

import argparse
import difflib
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple, NoReturn

from IPython.core.error import UsageError

from flowrra_jupyter.view_models import WORDS
from flowrra_jupyter.words import Binding, binding_of, split_words

DEFAULT_VARIABLE: Final = "app"
STATUSES: Final = {word: status for status, word in WORDS.items()}
ON_INTERRUPT: Final = ("keep", "own", "all")
_WIDTH: Final = 88


class Parser(argparse.ArgumentParser):
    """A parser for a line in a cell: it never ends the process, and prints nothing."""

    def error(self, message: str) -> NoReturn:
        name = self.prog.split()[-1]
        raise UsageError(f"{self.prog}: {message}; see %flowrra help {name}")


class Command(NamedTuple):
    """One sub-command."""

    name: str
    summary: str
    """What it does, in half a line."""
    details: str
    """What its page says besides, in paragraphs."""
    examples: Sequence[tuple[str, str]]
    """(line, what it does)"""
    arguments: Callable[[Parser], object] = lambda _: None
    has_cell: bool = False
    """It works on the cell below its line: ``%%flowrra``."""

    @property
    def magic(self) -> str:
        return "%%flowrra" if self.has_cell else "%flowrra"

    def parser(self) -> Parser:
        parser = Parser(prog=f"{self.magic} {self.name}", add_help=False, allow_abbrev=False)
        self.arguments(parser)
        parser.add_argument("-h", "--help", action="store_true", help="show this page")
        return parser

    def page(self) -> str:
        """Its manual page."""
        parser = self.parser()
        formatter = parser._get_formatter()  # noqa: SLF001 - what format_help() uses, without its headings
        for action in parser._actions:  # noqa: SLF001 - the same
            formatter.add_argument(action)
        usage = " ".join(parser.format_usage().split()).removeprefix("usage: ").replace(" [-h]", "")
        parts = [
            f"NAME\n    {self.magic} {self.name} - {self.summary}",
            f"SYNOPSIS\n    {usage}",
            "DESCRIPTION\n" + "\n\n".join(_indented(part) for part in self.details.strip().split("\n\n")),
            "ARGUMENTS\n" + textwrap.indent(textwrap.dedent(formatter.format_help()).strip("\n"), "    "),
            "EXAMPLES\n" + "\n".join(f"    {line}\n        {what}" for line, what in self.examples),
        ]
        return "\n\n".join(parts)


class Asked(NamedTuple):
    """A line, understood."""

    command: str | None
    """None: an empty line."""
    arguments: argparse.Namespace
    bindings: tuple[Binding, ...] = ()
    """``x=range(3)`` of ``%%flowrra map``."""
    wants_help: bool = False


def parse(line: str, *, has_cell: bool = False) -> Asked:
    """Understand what follows ``%flowrra``. Raises ``UsageError``, with the nearest sub-command if there is none."""
    magic = "%%flowrra" if has_cell else "%flowrra"
    try:
        words = split_words(line)
    except ValueError as error:
        raise UsageError(f"{magic}: {error}") from error
    if words and words[0] in ("-h", "--help"):
        return Asked("help", argparse.Namespace(topic=None))
    if not words and not has_cell:
        return Asked(None, argparse.Namespace())
    command = _command(magic, words, has_cell=has_cell)
    rest: Sequence[str] = words[1:]
    bindings: tuple[Binding, ...] = ()
    if command.name == "map":
        bindings = tuple(binding for word in rest if (binding := binding_of(word)) is not None)
        rest = [word for word in rest if binding_of(word) is None]
    if "--help" in rest or "-h" in rest:
        return Asked(command.name, argparse.Namespace(), wants_help=True)
    return Asked(command.name, command.parser().parse_args(rest), bindings)


def _command(magic: str, words: Sequence[str], *, has_cell: bool) -> Command:
    fitting = [name for name, command in COMMANDS.items() if command.has_cell == has_cell]
    if not words:
        raise UsageError(f"{magic}: say what to do with the cell: {', '.join(fitting)}; see %flowrra help")
    if words[0].startswith("-"):
        raise UsageError(f"{magic}: {words[0]} follows a sub-command: {', '.join(fitting)}; see %flowrra help")
    found = COMMANDS.get(words[0])
    if found is None:
        raise UsageError(f"{magic}: no sub-command {words[0]!r}; {_hint(words[0], fitting)}")
    if found.has_cell and not has_cell:
        raise UsageError(
            f"%flowrra {found.name} works on a cell: write it as %%flowrra {found.name}, with the code below"
        )
    if has_cell and not found.has_cell:
        raise UsageError(
            f"%%flowrra {found.name} takes no cell: write it in a line of its own, as %flowrra {found.name}"
        )
    return found


def _hint(word: str, fitting: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    return f"did you mean '{COMMANDS[near[0]].magic} {near[0]}'?" if near else f"there are: {', '.join(fitting)}"


def overview() -> str:
    """All sub-commands, a line each."""
    width = max(map(len, COMMANDS)) + len("%%flowrra ")
    lines = [f"    {f'{command.magic} {command.name}':<{width}}  {command.summary}" for command in COMMANDS.values()]
    return "\n".join(
        [
            "flowrra in this notebook",
            "",
            f"    {'%flowrra':<{width}}  a live view of the app: what runs, waits and has ended",
            *lines,
            "",
            "%flowrra help <sub-command> shows its page. Press Tab for sub-commands, options, tasks and runs.",
        ]
    )


def page(topic: str | None) -> str:
    """The page of the sub-command *topic*, or with None of all. Raises ``UsageError``."""
    if topic is None:
        return overview()
    if topic not in COMMANDS:
        raise UsageError(f"%flowrra help: no sub-command {topic!r}; {_hint(topic, list(COMMANDS))}")
    return COMMANDS[topic].page()


def _indented(paragraph: str) -> str:
    return textwrap.fill(" ".join(paragraph.split()), _WIDTH, initial_indent="    ", subsequent_indent="    ")


# Kinds of arguments.


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"the number of workers must be 1 or more, not {text!r}")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 0 on")
    return int(text)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds") from None


def _variable(text: str) -> str:
    if not text.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not a name for a variable")
    return text


def _variables(text: str) -> tuple[str, ...]:
    return tuple(_variable(name) for name in text.split(",") if name)


def _parameter(text: str) -> Binding:
    found = binding_of(text)
    return Binding(_variable(text), "") if found is None else found


# Arguments of the sub-commands.


def _of_start(parser: Parser) -> None:
    parser.add_argument(
        "--workers", type=_workers, metavar="N", help="processes for CPU-bound tasks; default: one per core"
    )
    parser.add_argument(
        "--as", dest="variable", type=_variable, default=DEFAULT_VARIABLE, metavar="NAME",
        help="the variable that holds the app; default: app",
    )  # fmt: skip
    parser.add_argument(
        "--on-interrupt", choices=ON_INTERRUPT, help="what Stop does to the runs that a cell waits for; default: own"
    )


def _of_stop(parser: Parser) -> None:
    parser.add_argument("--drain", action="store_true", help="let accepted runs finish first")


def _of_runs(parser: Parser) -> None:
    parser.add_argument("--status", choices=sorted(STATUSES), type=str.lower, help="only those")
    parser.add_argument("--limit", type=_count, default=100, metavar="N", help="at most N; default: 100")


def _of_show(parser: Parser) -> None:
    parser.add_argument("id", nargs="?", help="the run's id, or its beginning; default: the whole app")


def _run_id(parser: Parser) -> None:
    parser.add_argument("id", help="the run's id, or its beginning")


def _of_cancel(parser: Parser) -> None:
    parser.add_argument("id", nargs="?", help="the run's id, or its beginning")
    parser.add_argument("--all", action="store_true", help="every run that is not done")
    parser.add_argument("--now", action="store_true", help="without the moment that a run has to clean up")


def _of_retry(parser: Parser) -> None:
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", help="the run's id, or its beginning")
    which.add_argument("--failed", action="store_true", help="every failed run that was not retried yet")


def _of_hold(parser: Parser) -> None:
    parser.add_argument("task", nargs="?", help="the name of a task; default: all")


def _of_workers(parser: Parser) -> None:
    parser.add_argument("number", type=_workers, metavar="N", help="1 or more")


def _of_help(parser: Parser) -> None:
    parser.add_argument("topic", nargs="?", metavar="SUB-COMMAND", help="default: an overview")


def _options_of_tasks(parser: Parser) -> None:
    parser.add_argument("--timeout", type=_seconds, metavar="S", help="seconds for one attempt")
    parser.add_argument("--max-retries", type=_count, metavar="N", help="further attempts after a failure")
    parser.add_argument("--priority", type=int, metavar="N", help="larger numbers first; default: 0")


def _inputs(parser: Parser) -> None:
    parser.add_argument(
        "-i", dest="inputs", type=_variables, nargs="+", action="extend", metavar="NAME",
        help="variables that the cell gets; default: all that it reads",
    )  # fmt: skip


def _outputs(parser: Parser, text: str) -> None:
    parser.add_argument(
        "-o", dest="outputs", type=_variables, nargs="+", action="extend", default=[], metavar="NAME", help=text
    )


def _of_run(parser: Parser) -> None:
    _inputs(parser)
    _outputs(parser, "variables of the cell to be bound here when it is done")
    parser.add_argument("--name", type=_variable, metavar="NAME", help="what views call it; default: run_cell")
    _options_of_tasks(parser)


def _of_map(parser: Parser) -> None:
    parser.usage = (
        "%(prog)s NAME=VALUES [NAME=VALUES ...] [-i NAME ...] [-o NAME ...] [--name NAME] [--timeout S] "
        "[--max-retries N] [--priority N]"
    )
    _inputs(parser)
    _outputs(parser, "variables to be bound, when all is done, to lists in the order of the values")
    parser.add_argument("--name", type=_variable, metavar="NAME", help="what views call it; default: map_cell")
    _options_of_tasks(parser)


def _of_task(parser: Parser) -> None:
    parser.add_argument("name", type=_variable, metavar="NAME", help="of the task and of the variable that holds it")
    parser.add_argument(
        "-p", dest="parameters", type=_parameter, action="append", default=[], metavar="NAME[=VALUE]",
        help="a parameter, and its default if it has one",
    )  # fmt: skip
    _options_of_tasks(parser)


_TABLE: Final = (
    Command(
        "start",
        "make or reuse this kernel's app and bind it to a variable",
        """Starts the app that runs tasks of this notebook and binds it to the variable 'app'. Run again it finds the
        same app; with another number of workers it changes that number while they work. A variable that holds
        something else is left alone.

        With --on-interrupt own, Stop (Interrupt) cancels those runs that the interrupted cell has submitted and begun
        to wait for; 'keep' cancels nothing, 'all' cancels every run that is not done.""",
        [
            ("%flowrra start --workers 4", "Four processes for CPU-bound tasks."),
            ("%flowrra start --as jobs --on-interrupt keep", "Bind it to 'jobs'; Stop ends only the waiting."),
        ],
        _of_start,
    ),
    Command(
        "stop",
        "stop the app and cancel what is not done",
        """Ends the workers. Finished runs still answer, unfinished ones are cancelled, or with --drain finished first.
        The next submission, or '%flowrra start', starts the app again.""",
        [("%flowrra stop --drain", "Wait for what was submitted, then stop.")],
        _of_stop,
    ),
    Command(
        "status",
        "what the app is doing, in numbers",
        "Runs by status since the start, what each executor is busy with, and what is paused.",
        [("%flowrra status", "Show the numbers as they are now.")],
    ),
    Command(
        "runs",
        "the latest runs as a table",
        "Newest first, with their ids, which the other sub-commands take.",
        [("%flowrra runs --status failed --limit 20", "The latest twenty failures.")],
        _of_runs,
    ),
    Command(
        "show",
        "a live view of one run, or of the app",
        "The view moves until what it shows is done, and stays in the saved notebook as it was then.",
        [("%flowrra show 4f2a-17", "The run of that id."), ("%flowrra show", "Everything.")],
        _of_show,
    ),
    Command(
        "logs",
        "what a run has printed",
        """What a run in a worker process has written to stdout and stderr, so far or, if it is done, altogether. Of a
        flood the beginning and the end are kept; of a run that has succeeded only as long as a variable of the
        notebook holds its handle or batch. Coroutines and threads print into the cell that submitted them.""",
        [("%flowrra logs 4f2a-17", "Print its output below the cell.")],
        _run_id,
    ),
    Command(
        "cancel",
        "cancel one run, or all",
        """A run that waits is cancelled at once, a coroutine at its next await. A function in a worker process gets a
        moment to clean up, then its process is replaced; with --now it does not get the moment, also if it was
        cancelled before. A function on a thread cannot be stopped: its answer is dropped. '--now' without an id means
        all runs that are being cancelled already.""",
        [
            ("%flowrra cancel 4f2a-17", "Cancel that run."),
            ("%flowrra cancel --all", "Cancel everything that is not done."),
            ("%flowrra cancel --now", "Do not wait for runs that take their time to clean up."),
        ],
        _of_cancel,
    ),
    Command(
        "retry",
        "submit a failed or cancelled run again",
        """The new run has the same code, arguments, options and seed, and takes the place of the old one in its batch.
        To run edited code, submit the task again instead.""",
        [("%flowrra retry 4f2a-17", "That run."), ("%flowrra retry --failed", "All that have failed.")],
        _of_retry,
    ),
    Command(
        "pause",
        "start no more runs, of one task or at all",
        "What has begun goes on; what is submitted waits until '%flowrra resume'.",
        [("%flowrra pause simulate", "Hold back the task 'simulate'."), ("%flowrra pause", "Hold back everything.")],
        _of_hold,
    ),
    Command(
        "resume",
        "undo a pause",
        "Of one task, or without a name of everything.",
        [("%flowrra resume simulate", "Let the task 'simulate' go on.")],
        _of_hold,
    ),
    Command(
        "workers",
        "change the number of worker processes",
        """New ones start at once. Those that are too many finish what they execute; what waits for them goes to the
        others.""",
        [("%flowrra workers 2", "Leave the other cores to something else.")],
        _of_workers,
    ),
    Command(
        "debug",
        "run a failed run again here, under the debugger",
        """Calls the function with the same arguments in the kernel. When it raises, the debugger opens where it did:
        'u' and 'd' go up and down the stack, 'p x' prints, 'q' leaves. The function sees this process, not a worker:
        its own memory, the notebook's working directory, random numbers that are not those of the run.""",
        [("%flowrra debug 4f2a-17", "Find out why that run has failed.")],
        _run_id,
    ),
    Command(
        "doctor",
        "look for what may be wrong here, and say what to do",
        """Checks versions, the kernel and its front end, cores, memory and shared memory, and whether a worker process
        starts and answers. Paste its output into a bug report.""",
        [("%flowrra doctor", "A line per check; a line with '!' says what to do.")],
    ),
    Command(
        "run",
        "run the cell once, in a worker process",
        """The kernel stays free. The variables that the cell reads are sent along, as they are now; what it assigns
        stays there, but for those named with -o, which are bound here when it is done. If such a variable was assigned
        meanwhile it is left alone, and the value is in handle.outputs. The result is the value of the last expression.

        A cell with 'await' runs in the kernel's own event loop instead, with the variables themselves. Open files,
        connections, generators and the like cannot be sent: make them in the cell.""",
        [
            ("%%flowrra run -o model", "Fit a model in the cell; 'model' is bound when it is done."),
            ("%%flowrra run -i data -o train test", "Send 'data' alone, whatever else the cell reads."),
        ],
        _of_run,
        has_cell=True,
    ),
    Command(
        "map",
        "run the cell once per value, in worker processes",
        """Each NAME=VALUES gives the cell a variable, and VALUES is any Python expression that can be gone through;
        several are gone through together and must be equally long. Other variables are sent once for all. The results
        are the values of the last expression, in order. With -o their list is bound when all is done: that of the
        variable of that name, or if the cell assigns none, of the results.""",
        [
            ("%%flowrra map x=range(100) -o squares", "The cell 'x ** 2', a hundred times."),
            ("%%flowrra map path=paths seed=range(len(paths))", "Two variables, in step."),
        ],
        _of_map,
        has_cell=True,
    ),
    Command(
        "task",
        "make a task of the cell",
        """The cell becomes the body of a function, its last expression the result; other variables are looked up when
        the task is submitted. It runs in a worker process, or if there is an 'await' in it, in the kernel's event
        loop.""",
        [
            ("%%flowrra task simulate -p seed -p steps=1000", "Then: simulate.map(range(100), steps=50)"),
            ("%%flowrra task fetch -p url --max-retries 3", "The cell awaits; up to four attempts."),
        ],
        _of_task,
        has_cell=True,
    ),
    Command(
        "help",
        "this overview, or the page of a sub-command",
        "The same as --help after the sub-command.",
        [("%flowrra help cancel", "How to cancel.")],
        _of_help,
    ),
)
COMMANDS: Final[Mapping[str, Command]] = {command.name: command for command in _TABLE}


def task_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of a task among *arguments*, those that were given."""
    given = {name: getattr(arguments, name) for name in ("timeout", "max_retries", "priority")}
    return {name: value for name, value in given.items() if value is not None}


def listed(groups: Sequence[tuple[str, ...]] | None) -> tuple[str, ...] | None:
    """The names in ``-i a b -i c,d``, each once."""
    return None if groups is None else tuple(dict.fromkeys(name for group in groups for name in group))
