from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from flowrra_jupyter.magics import HelpShown, make_parser, parse


def asked(line: str) -> dict[str, object]:
    return vars(parse(make_parser(), line))


def test_an_empty_line_asks_for_the_view_of_the_app():
    assert asked("")["command"] is None


def test_start_binds_app_unless_told_otherwise():
    assert asked("start") == {"command": "start", "workers": None, "variable": "app"}
    assert asked("start --workers 4 --as jobs") == {"command": "start", "workers": 4, "variable": "jobs"}


def test_runs_are_filtered_by_the_words_of_the_views():
    assert asked("runs --status FAILED --limit 5") == {"command": "runs", "status": "failed", "limit": 5}


@pytest.mark.parametrize(
    ("line", "help_in_message"),
    [
        ("strat", "did you mean '%flowrra start'"),
        ("frobnicate", "there are: start, stop"),
        ("start --wrokers 2", "unrecognized arguments: --wrokers"),
        ("start --workers 0", "must be 1 or more"),
        ("start --workers many", "must be 1 or more, not 'many'"),
        ("start --as 1x", "'1x' is not a name"),
        ("cancel", "is required"),
        ("cancel abc --all", "not allowed with"),
        ("runs --status sleeping", "invalid choice: 'sleeping'"),
        ("show 'abc", "No closing quotation"),
        ("stop now", "unrecognized arguments: now"),
    ],
)
def test_a_wrong_line_is_a_usage_error_that_helps(line, help_in_message):
    with pytest.raises(UsageError, match=help_in_message):
        asked(line)


@pytest.mark.parametrize("line", ["--help", "start --help", "cancel -h"])
def test_help_is_shown_and_ends_nothing(line, capsys):
    with pytest.raises(HelpShown):
        asked(line)
    assert "usage: %flowrra" in capsys.readouterr().out
