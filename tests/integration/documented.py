"""The examples of a Markdown page: found, and run as a reader would.

The ``python`` blocks of one page are run in order, in one fresh process, as parts of one program; ``await`` may stand
outside of functions. A section in which a block has a magic (``%…``) is a notebook: all its blocks are cells of one
real kernel. A block is left out only by a comment before it, with the reason: ``<!-- not run: needs a server -->``.

Run as a program it executes the blocks that it reads from standard input.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

_FENCE = re.compile(r"^(?P<indent> *)(?P<ticks>`{3,}|~{3,}) *(?P<language>[\w+-]*)")
_LEFT_OUT = re.compile(r"<!-- *not run: *(?P<reason>.*?) *-->")
_HEADING = re.compile(r"^#{1,6} ")


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    """Of its first line of code, from 1."""
    section: int
    code: str
    left_out: str | None = None
    """Why it is not run."""

    @property
    def has_magic(self) -> bool:
        return any(line.lstrip().startswith(("%", "!")) for line in self.code.splitlines())

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


@dataclass
class Page:
    path: Path
    blocks: list[Block] = field(default_factory=list)

    @property
    def program(self) -> list[Block]:
        return [block for block in self._run() if block.section not in self._notebooks()]

    @property
    def notebooks(self) -> list[list[Block]]:
        return [[block for block in self._run() if block.section == section] for section in sorted(self._notebooks())]

    @property
    def left_out(self) -> list[Block]:
        return [block for block in self.blocks if block.left_out is not None]

    def _run(self) -> list[Block]:
        return [block for block in self.blocks if block.left_out is None]

    def _notebooks(self) -> set[int]:
        return {block.section for block in self._run() if block.has_magic}


def read_page(path: Path) -> Page:
    """Find the blocks of *path*. Raises ``ValueError`` for a fence that is never closed, or a missing reason."""
    page, section, previous = Page(path), 0, ""
    lines = iter(enumerate(path.read_text(encoding="utf-8").splitlines(), start=1))
    for number, line in lines:
        section += bool(_HEADING.match(line))
        fence = _FENCE.match(line)
        if fence is not None:
            code = _until_closed(lines, fence, f"{path.name}:{number}")
            if fence["language"].lower() in ("python", "py", "ipython", "python3"):
                page.blocks.append(Block(path, number + 1, section, code, _reason(previous, f"{path.name}:{number}")))
        previous = line or previous
    return page


def _until_closed(lines: object, fence: re.Match[str], where: str) -> str:
    code: list[str] = []
    for _, line in lines:  # type: ignore[attr-defined]  # an iterator over numbered lines
        if line.strip().startswith(fence["ticks"]) and not line.strip().strip(fence["ticks"][0]):
            return "\n".join(code) + "\n"
        code.append(line.removeprefix(fence["indent"]))
    raise ValueError(f"{where}: the block is never closed")


def _reason(previous: str, where: str) -> str | None:
    left_out = _LEFT_OUT.search(previous)
    if left_out is None:
        return None
    if not left_out["reason"]:
        raise ValueError(f"{where}: a block that is not run needs a reason")
    return left_out["reason"]


def run_block(name: str, line: int, code: str, scope: dict[str, object]) -> None:
    """Execute one block so that a traceback names the page's own lines."""
    compiled = compile("\n" * (line - 1) + code, name, "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(compiled, scope))
    else:
        exec(compiled, scope)


if __name__ == "__main__":
    for part in json.load(sys.stdin):
        run_block(part["name"], part["line"], part["code"], globals())
