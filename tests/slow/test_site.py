"""The extensions of the documentation's site, in docs/_extensions."""

import importlib
from pathlib import Path

import click
import pytest

from keras_prelu.cli.main import COMMANDS, main


@pytest.fixture(autouse=True)
def extensions(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parents[2] / "docs" / "_extensions")


@pytest.mark.parametrize("name", COMMANDS)
def test_the_page_of_a_command_has_all_of_its_options(name):
    page = "\n".join(importlib.import_module("command_pages").page(name))
    command = main.get_command(click.Context(main), name)
    options = [each for each in command.params if isinstance(each, click.Option)]
    for option in options:
        (line,) = [
            line
            for line in page.splitlines()
            if line.startswith(".. option::") and option.opts[-1] in line.replace(",", "").split()
        ]
        assert all(spelling in line for spelling in [*option.opts, *option.secondary_opts])
    assert page.count(".. option::") == len(options)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("    alpha: Float. The slope.", "    alpha (Float): The slope."),
        ("    model: `keras.Model`. Built", "    model (`keras.Model`): Built"),
        ('    alpha: Float, "auto" or None. The', '    alpha (Float, "auto" or None): The'),
        ("    layers: Tuple of `LayerSlopes`.", "    layers (Tuple of `LayerSlopes`): "),
        ("    axes: Axes that share a slope. All.", "    axes: Axes that share a slope. All."),
        (
            "    data: `Samples` with labels that fit. X",
            "    data: `Samples` with labels that fit. X",
        ),
        ('    f: Str, `"module:function"`. It', '    f: Str, `"module:function"`. It'),
    ],
)
def test_types_of_arguments_are_set_apart(line, expected):
    assert importlib.import_module("typed_docstrings").with_type_apart(line) == expected
