from __future__ import annotations

import pytest

from flowrra_jupyter.commands import COMMANDS
from flowrra_jupyter.completions import Known, candidates

KNOWN = Known(lambda: ["4f2a-17", "4f2a-18"], lambda: ["simulate"], lambda: ["alpha", "beta"])


@pytest.mark.parametrize(
    ("line", "expected", "begun"),
    [
        ("%flowrra sto", ["stop"], "sto"),
        ("%flowrra help l", ["logs"], "l"),
        ("%%flowrra t", ["task"], "t"),
        ("%flowrra r", ["runs", "retry", "resume"], "r"),
        ("  %flowrra  pause ", ["simulate", "--help"], ""),
        ("%flowrra logs 4f2a-17", ["4f2a-17"], "4f2a-17"),
        ("%flowrra logs 4f2a-17 ", ["--help"], ""),
        ("%flowrra cancel --n", ["--now"], "--n"),
        ("%flowrra runs --status r", ["retrying", "running"], "r"),
        ("%flowrra start --workers ", [], ""),
        ("%%flowrra run -i a", ["alpha"], "a"),
        ("%%flowrra run -i alpha b", ["beta"], "b"),
        ("%%flowrra run -o alpha --tim", ["--timeout"], "--tim"),
        ("%flowrra nothing ", [], ""),
        ("%flowrra run ", [], ""),
    ],
)
def test_what_can_follow(line, expected, begun):
    assert candidates(line, KNOWN) == (expected, begun)


def test_all_sub_commands_of_the_right_kind_can_follow_the_magic():
    found = candidates("%flowrra ", KNOWN)
    assert found is not None
    assert found[0] == [name for name, command in COMMANDS.items() if not command.has_cell]


@pytest.mark.parametrize("line", ["", "flowrra ", "%flowrrax ", "x = %time 1", "print('%flowrra ')"])
def test_other_lines_are_none_of_our_business(line):
    assert candidates(line, KNOWN) is None
