"""What cells define runs in worker processes as it would in the cell."""

from __future__ import annotations

import pytest

from tests.jupyter.driver import Kernel

pytestmark = [pytest.mark.kernel, pytest.mark.timeout(120)]


@pytest.fixture
def notebook(kernel_with_extension: Kernel) -> Kernel:
    kernel_with_extension.run("%flowrra start --workers 2\nimport asyncio, os, sys, time")
    return kernel_with_extension


def value(kernel: Kernel, expression: str) -> str:
    """Evaluate *expression* in a cell; its repr tells the value of anything simple."""
    return kernel.run(expression, timeout=60).text


def test_every_kind_of_callable_runs_in_another_process(notebook: Kernel) -> None:
    notebook.run(
        "import pandas as pd\n"
        "class Model:\n"
        "    scale = 3\n"
        "    def __init__(self, bias): self.bias = bias\n"
        "    def predict(self, x): return x + self.bias, os.getpid()\n"
        "    @classmethod\n"
        "    def scaled(cls, x): return x * cls.scale, os.getpid()\n"
        "    @staticmethod\n"
        "    def halved(x): return x / 2, os.getpid()\n"
        "def plain(x): return x + 1, os.getpid()\n"
        "def over(frame):\n"
        "    def total(x): return int(frame['v'].sum()) + x, os.getpid()\n"
        "    return total\n"
        "model = Model(10)\n"
        "forms = {\n"
        "    'function': plain, 'lambda': lambda x: (x - 1, os.getpid()), 'method': model.predict,\n"
        "    'classmethod': Model.scaled, 'staticmethod': Model.halved,\n"
        "    'closure': over(pd.DataFrame({'v': range(10)})),\n"
        "}\n"
        "handles = {name: app.task(cpu_bound=True, name=name)(form).submit(4) for name, form in forms.items()}\n"
        "results = {name: handle.result(30) for name, handle in handles.items()}"
    )
    assert value(notebook, "{name: got for name, (got, _) in results.items()}") == (
        "{'function': 5,\n 'lambda': 3,\n 'method': 14,\n 'classmethod': 12,\n 'staticmethod': 2.0,\n 'closure': 49}"
    )
    assert value(notebook, "os.getpid() in {pid for _, pid in results.values()}") == "False"


def test_a_task_calls_another_one_and_itself_as_plain_functions(notebook: Kernel) -> None:
    notebook.run(
        "@app.task(cpu_bound=True)\n"
        "def square(x): return x * x\n"
        "@app.task(cpu_bound=True)\n"
        "def factorial(n): return 1 if n < 2 else n * factorial(n - 1)\n"
        "@app.task(cpu_bound=True)\n"
        "def both(x): return square(x) + factorial(x)"
    )
    assert value(notebook, "both.submit(5).result(30), factorial.submit(10).result(30)") == "(145, 3628800)"


def test_a_redefinition_is_for_later_submissions_and_only_for_those(notebook: Kernel) -> None:
    define = "@app.task(cpu_bound=True)\ndef which(delay):\n    import time; time.sleep(delay)\n    return {!r}"
    notebook.run(define.format("old"))
    notebook.run("before = which.map([0.3] * 6)")
    notebook.run(define.format("new"))
    notebook.run("after = which.map([0] * 2)")
    assert value(notebook, "before.result(timeout=30), after.result(timeout=30)") == (
        "(['old', 'old', 'old', 'old', 'old', 'old'], ['new', 'new'])"
    )


def test_a_dataclass_of_a_cell_comes_back_as_that_class(notebook: Kernel) -> None:
    notebook.run(
        "from dataclasses import dataclass\n"
        "@dataclass\n"
        "class Point:\n"
        "    x: int\n"
        "    def norm(self): return abs(self.x)\n"
        "@app.task(cpu_bound=True)\n"
        "def mirrored(point): return Point(-point.x)"
    )
    assert value(notebook, "p = mirrored.submit(Point(3)).result(30); (type(p) is Point, p, p.norm())") == (
        "(True, Point(x=-3), 3)"
    )


def test_a_run_sees_the_folder_path_and_environment_of_its_submission(notebook: Kernel) -> None:
    notebook.run(
        "@app.task(cpu_bound=True)\n"
        "def surroundings():\n"
        "    import importlib.util, os, sys\n"
        "    found = importlib.util.find_spec('only_there') is not None\n"
        "    return os.path.basename(os.getcwd()), found, os.environ.get('TOLD')\n"
        "start = os.path.basename(os.getcwd()); first = surroundings.submit().result(30)"
    )
    assert value(notebook, "first == (start, False, None)") == "True"
    notebook.run("os.mkdir('inner'); open('inner/only_there.py', 'w').close()")
    notebook.run("%cd -q inner\nsys.path.insert(0, os.getcwd()); os.environ['TOLD'] = 'yes'")
    assert value(notebook, "surroundings.submit().result(30)") == "('inner', True, 'yes')"
    notebook.run("%cd -q ..\nsys.path.pop(0); del os.environ['TOLD']")
    assert value(notebook, "surroundings.submit().result(30) == first") == "True"


def test_the_traceback_of_a_failure_shows_the_lines_of_the_cell(notebook: Kernel) -> None:
    failed = notebook.run(
        "@app.task(cpu_bound=True)\n"
        "def check(n):\n"
        "    if n < 0:\n"
        "        raise ValueError(f'n must be positive, got {n}')  # the line to see\n"
        "check.submit(-1).result(30)",
        check=False,
    )
    assert failed.error is not None
    assert (failed.error.name, failed.error.value) == ("ValueError", "n must be positive, got -1")
    shown = notebook.run("h = check.submit(-3); h.wait(30); print(h.info().error.traceback)").stdout
    assert "# the line to see" in shown
    assert "flowrra" not in shown
