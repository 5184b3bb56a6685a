from __future__ import annotations

import pytest

from flowrra_jupyter.doctor import GB, Machine, front_end, read_machine, resources, subshells, versions, worker

FINE = {"ipykernel": "7.4.0", "ipywidgets": "8.1.9", "anywidget": "0.11.0", "nest-asyncio2": "1.7.4"}


def troubles(findings) -> dict[str, str]:
    return {finding.what: finding.todo for finding in findings if finding.todo}


def test_versions_that_are_too_old_or_missing_are_told_with_the_remedy():
    assert troubles(versions(FINE)) == {}
    told = troubles(versions({**FINE, "ipykernel": "7.0.1", "anywidget": None}))
    assert "7.1 or later: pip install -U ipykernel" in told["ipykernel"]
    assert "pip install 'flowrra[jupyter]'" in told["anywidget"]
    assert troubles(versions({**FINE, "ipykernel": "8.0.0a1"})) == {}


@pytest.mark.parametrize(
    ("environment", "colab", "has_kernel", "said"),
    [
        ({}, False, False, "a terminal"),
        ({}, True, True, "Colab"),
        ({"VSCODE_PID": "1"}, False, True, "VS Code"),
        ({"JPY_SESSION_NAME": "a.ipynb"}, False, True, "a.ipynb"),
        ({}, False, True, "without a Jupyter server"),
    ],
)
def test_the_front_end_is_told_by_its_traces(environment, colab, has_kernel, said):
    assert said in front_end(environment, colab=colab, has_kernel=has_kernel).said


def test_without_subshells_it_says_what_that_means():
    assert subshells(are_there=True).todo == ""
    assert "pip install -U ipykernel" in subshells(are_there=False).todo


def test_little_memory_and_disk_are_told_with_the_remedy():
    fine = Machine(8, 4, 10 * GB, 16 * GB, "/tmp", 50 * GB)
    assert troubles(resources(fine)) == {}
    told = troubles(resources(fine._replace(memory_free=GB // 2, spill_free=GB // 2)))
    assert "%flowrra workers 1" in told["memory"]
    assert "FLOWRRA_SPILL" in told["spill folder"]
    assert "limited to 16.0 GB" in str(resources(fine)[1])


def test_the_machine_is_read():
    machine = read_machine()
    assert 1 <= machine.usable_cores <= machine.cores
    assert machine.memory_free > 0


def test_no_worker_is_tried_without_a_running_app():
    assert "not tried" in worker(None).said
