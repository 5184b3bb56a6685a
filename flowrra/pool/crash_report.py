"""What a process that crashed in native code has written about itself, without frames that tell its user nothing."""

from __future__ import annotations

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

_FRAME = '  File "'
_PACKAGE = f"{_FRAME}{Path(__file__).parents[1]}{os.sep}"
_COMMAND = f'{_FRAME}<string>"'
"""The program that a worker was started with."""


def without_engine_frames(text: str) -> str:
    """Cut the stacks in *text* (as ``faulthandler`` writes them, latest call first) where the user's frames end.

    A stack that has no others is kept whole: then it is the engine that crashed.
    """
    return "".join(_shortened(text.splitlines(keepends=True)))


def _shortened(lines: list[str]) -> Iterator[str]:
    for is_stack, part in groupby(lines, key=lambda line: line.startswith(_FRAME)):
        frames = list(part)
        kept = len(frames)
        while is_stack and kept and frames[kept - 1].startswith((_PACKAGE, _COMMAND)):
            kept -= 1
        yield from frames[: kept or len(frames)]
