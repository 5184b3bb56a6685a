"""Contenders that get it wrong, to see that the suite notices: ``--contenders tests.benchmarks.liars:WrongOnce``."""

from __future__ import annotations

import os
import time
from typing import Any

from tests.benchmarks.contenders.base import Function, Pool, Wait


class Here(Pool):
    """Calls the function at once, in this process."""

    title = "a plain call"

    def submit(self, function: Function, *args: Any) -> Wait:
        value = function(*args)
        return lambda _: value


class WrongOnce(Here):
    title = "one wrong result"

    def submit(self, function: Function, *args: Any) -> Wait:
        return (lambda _: "something else") if args == (199,) else super().submit(function, *args)


class Missing(Here):
    title = "one result too few"

    def singles(self, function: Function, items: Any) -> list[Any]:
        return super().singles(function, items)[:199]


class NoneAtAll(Here):
    title = "never an answer"

    def submit(self, function: Function, *args: Any) -> Wait:
        time.sleep(60)
        return super().submit(function, *args)


class Gone(Here):
    title = "ends its program"

    def submit(self, function: Function, *args: Any) -> Wait:
        os._exit(7)


class Unheard(Here):
    title = "is not installed"
    needs = ("no-such-distribution",)
