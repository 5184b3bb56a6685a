"""Splitting what follows a magic's name into words."""

from __future__ import annotations

import ast
import re
import shlex
from typing import Final, NamedTuple

_BINDING: Final = re.compile(r"([^\W\d]\w*)=(?!=)")


class Binding(NamedTuple):
    """``name=expression``."""

    name: str
    expression: str


def split_words(line: str) -> list[str]:
    """Split *line* as a shell does, but keep ``name=expression`` as it is, with its spaces and quotes.

    An expression ends where it is complete. Raises ``ValueError`` if it, or a quotation, never is.
    """
    words: list[str] = []
    pieces = list(re.finditer(r"\S+", line))
    at = 0
    while at < len(pieces):
        start = pieces[at].start()
        found = _BINDING.match(line, start)
        if found is None:
            ends = [piece.end() for piece in pieces[at:] if _closes(line[start : piece.end()])]
            if not ends:
                raise ValueError(f"No closing quotation in {line[start:]}")
            words += shlex.split(line[start : ends[0]])
        else:
            ends = [piece.end() for piece in pieces[at:] if _is_expression(line[found.end() : piece.end()])]
            if not ends:
                raise ValueError(f"{line[found.end() :]!r} is not a Python expression")
            words.append(line[start : ends[0]])
        at = next((index for index, piece in enumerate(pieces) if piece.start() >= ends[0]), len(pieces))
    return words


def binding_of(word: str) -> Binding | None:
    """``name=expression`` in two parts; None if *word* is something else."""
    found = _BINDING.match(word)
    return None if found is None else Binding(found[1], word[found.end() :])


def _closes(text: str) -> bool:
    try:
        return bool(shlex.split(text)) or not text
    except ValueError:
        return False


def _is_expression(text: str) -> bool:
    try:
        ast.parse(text, mode="eval")
    except SyntaxError:
        return False
    return True
