from __future__ import annotations

import ast

import pytest

import flowrra
from tests.architecture.sources import PRODUCT, imported_names, place, python_files

# Threads and processes of these libraries outlive their owner, or hold up the end of a kernel.
UNWANTED = {
    "concurrent.futures.ThreadPoolExecutor",
    "concurrent.futures.ProcessPoolExecutor",
    "concurrent.futures.thread",
    "concurrent.futures.process",
    "asyncio.to_thread",
}
UNWANTED_CALLS = {"to_thread", "run_in_executor", "ThreadPoolExecutor", "ProcessPoolExecutor"}


@pytest.mark.parametrize("name", flowrra.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(flowrra, name) is not None
    assert name in dir(flowrra)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_of_that_name"):
        _ = flowrra.nothing_of_that_name


def test_the_notebook_package_imports_public_names_only() -> None:
    public = {"flowrra", *(f"flowrra.{name}" for name in flowrra.__all__)}
    private = [
        f"{place(path, node)} imports {name}"
        for path in python_files("flowrra_jupyter")
        for name, node in imported_names(path)
        if name.partition(".")[0] == "flowrra" and name not in public
    ]
    assert private == []


def test_threads_and_processes_are_our_own() -> None:
    found = [
        f"{place(path, node)} imports {name}"
        for path in python_files(*PRODUCT)
        for name, node in imported_names(path)
        if name in UNWANTED or name.partition(".")[0] == "multiprocessing"
    ]
    found += [
        f"{place(path, node)} uses {node.attr}"
        for path in python_files(*PRODUCT)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in UNWANTED_CALLS
    ]
    assert found == []
