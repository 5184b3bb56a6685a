from __future__ import annotations

import pytest
from IPython.core.error import UsageError

from flowrra_jupyter.commands import COMMANDS, listed, overview, page, parse, task_options
from flowrra_jupyter.words import Binding, split_words

LINE_COMMANDS = [name for name, command in COMMANDS.items() if not command.has_cell]


def asked(line: str) -> dict[str, object]:
    return {**vars(parse(line).arguments), "command": parse(line).command}


def test_an_empty_line_asks_for_the_view_of_the_app():
    assert asked("")["command"] is None


def test_start_binds_app_unless_told_otherwise():
    plain = asked("start")
    assert (plain["workers"], plain["variable"], plain["on_interrupt"]) == (None, "app", None)
    told = asked("start --workers 4 --as jobs --on-interrupt all")
    assert (told["workers"], told["variable"], told["on_interrupt"]) == (4, "jobs", "all")


def test_runs_are_filtered_by_the_words_of_the_views():
    told = asked("runs --status FAILED --limit 5")
    assert (told["status"], told["limit"]) == ("failed", 5)


@pytest.mark.parametrize(
    ("line", "help_in_message"),
    [
        ("strat", "did you mean '%flowrra start'"),
        ("frobnicate", "there are: start, stop"),
        ("--workers 2", "follows a sub-command"),
        ("run", "write it as %%flowrra run"),
        ("start --wrokers 2", "unrecognized arguments: --wrokers"),
        ("start --workers 0", "must be 1 or more"),
        ("start --workers many", "must be 1 or more, not 'many'"),
        ("start --as 1x", "'1x' is not a name"),
        ("start --on-interrupt maybe", "invalid choice: 'maybe'"),
        ("stop now", "unrecognized arguments: now"),
        ("status now", "unrecognized arguments: now"),
        ("runs --status sleeping", "invalid choice: 'sleeping'"),
        ("runs --limit -1", "'-1'|expected one argument"),
        ("show 'abc", "No closing quotation"),
        ("show a b", "unrecognized arguments: b"),
        ("logs", "required: id"),
        ("cancel a b", "unrecognized arguments: b"),
        ("retry", "is required"),
        ("retry abc --failed", "not allowed with"),
        ("pause a b", "unrecognized arguments: b"),
        ("resume --all", "unrecognized arguments: --all"),
        ("workers", "required: N"),
        ("workers none", "must be 1 or more, not 'none'"),
        ("help a b", "unrecognized arguments: b"),
    ],
)
def test_a_wrong_line_is_a_usage_error_that_helps(line, help_in_message):
    with pytest.raises(UsageError, match=help_in_message):
        parse(line)


@pytest.mark.parametrize(
    ("line", "help_in_message"),
    [
        ("", "say what to do with the cell: run, map, task"),
        ("status", "takes no cell"),
        ("mpa x=[1]", "did you mean '%%flowrra map'"),
        ("map x=(1,", "not a Python expression"),
        ("run -o 1x", "'1x' is not a name"),
        ("run --timeout soon", "not a number of seconds"),
        ("task", "required: NAME"),
        ("task f -p 1x", "'1x' is not a name"),
    ],
)
def test_a_wrong_line_above_a_cell_is_a_usage_error_too(line, help_in_message):
    with pytest.raises(UsageError, match=help_in_message):
        parse(line, has_cell=True)


def test_names_of_inputs_and_outputs_may_be_written_in_either_way():
    told = parse("run -i a b -i c,d -o e a --max-retries 2 --priority -3", has_cell=True).arguments
    assert listed(told.inputs) == ("a", "b", "c", "d")
    assert listed(told.outputs) == ("e", "a")
    assert task_options(told) == {"max_retries": 2, "priority": -3}
    assert listed(parse("run", has_cell=True).arguments.inputs) is None


def test_values_of_a_map_are_expressions_with_spaces():
    told = parse("map x=range(0, 3) name=['a b', \"c\"] -o out", has_cell=True)
    assert told.bindings == (Binding("x", "range(0, 3)"), Binding("name", "['a b', \"c\"]"))
    assert listed(told.arguments.outputs) == ("out",)


def test_parameters_of_a_task_have_expressions_as_defaults():
    told = parse("task f -p x -p y=(1, 2) -p z='a  b'", has_cell=True).arguments
    assert told.parameters == [Binding("x", ""), Binding("y", "(1, 2)"), Binding("z", "'a  b'")]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("", []),
        ("a 'b c' d", ["a", "b c", "d"]),
        ("x=1 if a else 2 -o b", ["x=1", "if", "a", "else", "2", "-o", "b"]),
        ("x={'k': 1} b", ["x={'k': 1}", "b"]),
        ("--k=v", ["--k=v"]),
    ],
)
def test_words(line, words):
    assert split_words(line) == words


@pytest.mark.parametrize("name", COMMANDS)
def test_every_sub_command_has_a_page_and_its_examples_are_right(name):
    command = COMMANDS[name]
    shown = page(name)
    for heading in ("NAME", "SYNOPSIS", "DESCRIPTION", "ARGUMENTS", "EXAMPLES"):
        assert f"{heading}\n" in shown
    assert command.summary in overview()
    assert max(map(len, shown.splitlines())) < 200
    for line, _ in command.examples:
        assert line.startswith(f"{command.magic} {name}")
        assert parse(line.removeprefix(command.magic), has_cell=command.has_cell).command == name


def test_help_is_asked_for_in_three_ways():
    assert parse("--help").command == "help"
    assert parse("help cancel").arguments.topic == "cancel"
    assert parse("cancel --help").wants_help
    assert parse("map -h", has_cell=True).wants_help
    with pytest.raises(UsageError, match="did you mean '%flowrra cancel'"):
        page("cancle")
