"""keras_prelu.cli.tables: names stay whole, and long tables are shortened."""

import click
from click.testing import CliRunner

from keras_prelu.cli.tables import print_table

LONG = "backbone_with_a_very_long_name/stage_3/block_17/inner_module/conv_and_activation_of_it"


def printed(rows, worst=None, verbose=False):
    @click.command()
    @click.option("--verbose", is_flag=True)
    def command(verbose):
        print_table("Title", ["path", "value", "why"], rows, right=["value"], worst=worst)

    return CliRunner().invoke(command, ["--verbose"] if verbose else []).output


def test_names_are_never_broken():
    reason = "its output is used in a place that relies on its range, such as a gate " * 3
    output = printed([[LONG + str(index), 123456.75, reason] for index in range(3)])
    for index in range(3):
        assert LONG + str(index) in output
    assert output.count("123456.75") == 3
    words = " ".join(output.split())
    assert words.count("such as a gate") + words.count("such as") >= 3


def test_long_tables_show_the_worst_rows_in_their_order_and_the_range_of_the_others():
    rows = [[f"layer_{index}", index / 10, "yes"] for index in range(20)]
    worst = [-((index - 10) ** 2) for index in range(20)]
    output = printed(rows, worst)
    assert [line.split()[0] for line in output.splitlines()[2:7]] == [
        f"layer_{index}" for index in (8, 9, 10, 11, 12)
    ]
    assert "… and 15 more: value 0 to 1.9. --verbose lists all." in output
    whole = printed(rows, worst, verbose=True)
    assert whole.count("layer_") == 20
    assert "more" not in whole


def test_nan_is_not_the_worst():
    rows = [[f"layer_{index}", index, ""] for index in range(20)]
    output = printed(rows, [float("nan")] * 10 + [None] * 5 + [1.0] * 5)
    assert all(f"layer_{index}" in output for index in range(15, 20))


def test_short_tables_are_whole():
    rows = [[f"layer_{index}", index, ""] for index in range(16)]
    assert printed(rows, [1.0] * 16).count("layer_") == 16


def test_lines_end_without_blanks():
    output = printed([["a", 1, "short"], ["b", 2, "a longer cell"], ["c", 3, ""]])
    assert "a longer cell" in output
    assert [line for line in output.splitlines() if line != line.rstrip()] == []


def test_a_table_without_rows_is_one_sentence():
    assert printed([]) == "Title: none.\n"
