from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.jupyter.driver import Kernel


@pytest.fixture
def kernel() -> Iterator[Kernel]:
    """A fresh kernel in an empty folder of its own."""
    with Kernel() as kernel:
        yield kernel


@pytest.fixture
def kernel_with_extension(kernel: Kernel) -> Kernel:
    """A fresh kernel in which ``%load_ext flowrra_jupyter`` was run."""
    kernel.run("%load_ext flowrra_jupyter")
    return kernel
