"""What can follow in a ``%flowrra`` line."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from IPython.core.completer import SimpleCompletion, context_matcher

from flowrra_jupyter.commands import COMMANDS

_LINE: Final = re.compile(r"^\s*(%%?)flowrra(\s.*|)$")


class Known(NamedTuple):
    """What there is to be named; asked only if it is needed."""

    run_ids: Callable[[], Iterable[str]]
    tasks: Callable[[], Iterable[str]]
    variables: Callable[[], Iterable[str]]


def candidates(line: str, known: Known) -> tuple[list[str], str] | None:
    """Return what *line*, up to the cursor, can go on with, and what of it is there; None if it is no line of ours."""
    found = _LINE.match(line)
    if found is None or (found[2] == "" and not line.endswith("flowrra")):
        return None
    words = found[2].split()
    begun = words.pop() if words and not line[-1].isspace() else ""
    has_cell = found[1] == "%%"
    if not words:
        fitting: Iterable[str] = [name for name, command in COMMANDS.items() if command.has_cell == has_cell]
    elif words[0] in COMMANDS and COMMANDS[words[0]].has_cell == has_cell:
        fitting = _after(words[0], words[1:], begun, known)
    else:
        fitting = []
    return [each for each in fitting if each.startswith(begun)], begun


def _after(command: str, words: Sequence[str], begun: str, known: Known) -> Iterable[str]:
    actions = COMMANDS[command].parser()._actions  # noqa: SLF001 - argparse offers no other way to ask
    by_option = {option: action for action in actions for option in action.option_strings}
    last = by_option.get(words[-1]) if words else None
    if last is not None and last.nargs != 0:
        return _values(last, known)
    options = [option for option in by_option if option.startswith("--") or begun.startswith(option)]
    many = next((by_option[word] for word in reversed(words) if word in by_option), None)
    if many is not None and many.nargs == "+":
        return [*_values(many, known), *options]
    positional = [action for action in actions if not action.option_strings]
    taken = sum(not word.startswith("-") for word in words)
    values = [] if begun.startswith("-") or taken >= len(positional) else list(_values(positional[taken], known))
    return [*values, *options]


def _values(action: argparse.Action, known: Known) -> Iterable[str]:
    if action.choices is not None:
        return map(str, action.choices)
    by_meaning: dict[str, Callable[[], Iterable[str]]] = {
        "id": known.run_ids,
        "task": known.tasks,
        "topic": lambda: COMMANDS,
        "inputs": known.variables,
        "outputs": known.variables,
        "variable": known.variables,
    }
    return by_meaning.get(action.dest, list)()


def make_matcher(known: Known) -> Any:
    """Return a matcher for ``shell.Completer.custom_matchers``. In lines of ours there are no other completions."""

    @context_matcher()  # type: ignore[untyped-decorator]  # IPython has no types for it
    def flowrra_matcher(context: Any) -> dict[str, Any]:
        found = candidates(context.line_with_cursor[: context.cursor_position], known)
        if found is None:
            return {"completions": [], "suppress": False}
        texts, begun = found
        completions = [SimpleCompletion(text, type="flowrra") for text in texts]
        return {"completions": completions, "suppress": True, "matched_fragment": begun, "ordered": True}

    return flowrra_matcher
