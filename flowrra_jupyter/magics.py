"""``%flowrra``: parses one line and makes one call of the session."""

from __future__ import annotations

import argparse
import difflib
import shlex
from collections.abc import Callable
from typing import Any, Final, NoReturn

from IPython.core.error import UsageError
from IPython.core.magic import Magics, line_magic, magics_class

from flowrra import FlowrraError
from flowrra_jupyter.session import DEFAULT_VARIABLE, Session
from flowrra_jupyter.view_models import WORDS

STATUSES: Final = {word: status for status, word in WORDS.items()}


class HelpShown(Exception):
    """``--help`` was answered; there is nothing to do."""


class Parser(argparse.ArgumentParser):
    """A parser for a line in a cell: it never ends the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{self.prog}: {message}; see {self.prog} --help")

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        raise HelpShown(message or str(status))


def _workers(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"the number of workers must be 1 or more, not {text!r}")
    return int(text)


def _variable(text: str) -> str:
    if not text.isidentifier():
        raise argparse.ArgumentTypeError(f"{text!r} is not a name for a variable")
    return text


def make_parser() -> Parser:
    """Return the parser of everything that may follow ``%flowrra``."""
    parser = Parser(prog="%flowrra", description="Without a sub-command: a live view of the app.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", parser_class=Parser)

    start = commands.add_parser("start", help="make or reuse the kernel's app and bind it to a variable")
    start.add_argument("--workers", type=_workers, metavar="N", help="processes for CPU-bound tasks; one per core")
    start.add_argument("--as", dest="variable", type=_variable, default=DEFAULT_VARIABLE, metavar="NAME")

    stop = commands.add_parser("stop", help="stop the app and cancel what is not done")
    stop.add_argument("--drain", action="store_true", help="let accepted runs finish first")

    commands.add_parser("status", help="what the app is doing, in numbers")

    runs = commands.add_parser("runs", help="the latest runs as a table")
    runs.add_argument("--status", choices=sorted(STATUSES), type=str.lower)
    runs.add_argument("--limit", type=int, default=100, metavar="N")

    show = commands.add_parser("show", help="a live view of one run, or of the app")
    show.add_argument("id", nargs="?", help="the run's id, or its beginning")

    cancel = commands.add_parser("cancel", help="cancel one run, or all")
    which = cancel.add_mutually_exclusive_group(required=True)
    which.add_argument("id", nargs="?", help="the run's id, or its beginning")
    which.add_argument("--all", action="store_true")
    return parser


@magics_class
class FlowrraMagics(Magics):
    """Registered by ``%load_ext flowrra_jupyter``."""

    def __init__(self, session: Session) -> None:
        super().__init__(session.shell)
        self._session = session
        self._parser = make_parser()

    @line_magic
    def flowrra(self, line: str) -> Any:
        """Orchestrate tasks: ``%flowrra start|stop|status|runs|show|cancel``; ``--help`` after any of them."""
        try:
            asked = parse(self._parser, line)
        except HelpShown:
            return None
        commands: dict[str | None, Callable[[argparse.Namespace], Any]] = {
            None: self._show_app,
            "start": self._start,
            "stop": lambda asked: print(self._session.stop(drain=asked.drain)),  # noqa: T201 - said in the cell
            "status": lambda _: self._session.status(),
            "runs": lambda asked: self._session.runs(STATUSES.get(asked.status), asked.limit),
            "show": lambda asked: self._session.find(asked.id) if asked.id else self._session.current(),
            "cancel": lambda asked: self._session.cancel(asked.id),
        }
        try:
            return commands[asked.command](asked)
        except FlowrraError as error:
            # Said in one line: the way through the magic to it helps nobody.
            raise UsageError(f"%flowrra: {error}") from error

    def _show_app(self, _: argparse.Namespace) -> Any:
        return self._session.current()

    def _start(self, asked: argparse.Namespace) -> None:
        print(self._session.start(asked.workers, asked.variable))  # noqa: T201 - one line, said in the cell


def parse(parser: Parser, line: str) -> argparse.Namespace:
    """Parse *line*. Raises ``UsageError`` with the nearest sub-command if there is none of that name."""
    try:
        words = shlex.split(line)
    except ValueError as unbalanced:
        raise UsageError(f"%flowrra: {unbalanced}") from unbalanced
    if words and not words[0].startswith("-"):
        _check_command(words[0])
    return parser.parse_args(words)


COMMANDS: Final = ("start", "stop", "status", "runs", "show", "cancel")


def _check_command(word: str) -> None:
    if word in COMMANDS:
        return
    near = difflib.get_close_matches(word, COMMANDS, n=1)
    hint = f"did you mean '%flowrra {near[0]}'?" if near else f"there are: {', '.join(COMMANDS)}"
    raise UsageError(f"%flowrra: no sub-command {word!r}; {hint}")
