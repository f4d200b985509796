"""What messages tell users to type: each command is one that Click parses, each option exists."""

import ast
import importlib
import re
import shlex
from pathlib import Path

import click
import keras
import pytest
from click.testing import CliRunner

import keras_prelu as kp
from keras_prelu.cli.main import COMMANDS, main

PACKAGE = Path(kp.__file__).parent
PLACEHOLDER = "VALUE"
SUGGESTED = re.compile(
    rf"keras-prelu ({'|'.join(COMMANDS)})\b((?: (?:--?[a-z][a-z-]*|[\w./:=-]*[\w=-]))*)"
    r"(?=[.,;:)`]|\s*$|\s*\n|\s+#)"
)
MENTIONED = re.compile(rf"keras-prelu (?:{'|'.join(COMMANDS)})\b")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
OF_OTHER_PROGRAMS = {"--upgrade", "--part"}
IN_PARENTHESES = re.compile(r"(?<= )\(([a-z_]+)\)")
OF_PYTHON = {"layers.py", "site.py", "recurrent.py"}
"""Modules whose messages no command prints, or with a suggestion below them (`inspect`)."""


def texts():
    """Yield the strings of the package, with a placeholder for each value that is formatted."""
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts.update(map(id, node.values))
                yield path, "".join(getattr(part, "value", PLACEHOLDER) for part in constants(node))
            elif isinstance(node, ast.Constant) and id(node) not in parts:
                yield path, str(node.value)


def constants(text):
    """Return the parts of an f-string, with None in place of those that are formatted."""
    return [part if isinstance(part, ast.Constant) else None for part in text.values]


TEXTS = list(texts())


def command(name):
    return importlib.import_module(f"keras_prelu.cli.commands.{name}").command


def suggestions():
    """Return the commands with arguments in messages, and those in the examples of the help."""
    found = {}
    for path, text in TEXTS:
        for match in SUGGESTED.finditer(text):
            if match[2]:
                found[match[0]] = path.name
    return found


def parse(line):
    name, *arguments = shlex.split(line)[1:]
    command(name).make_context(name, arguments, parent=click.Context(main, info_name="keras-prelu"))


@pytest.mark.parametrize("line", suggestions())
def test_suggested_commands_are_complete(line):
    parse(line)


def test_suggestions_are_found():
    """Those that are known to be there, and no command with options that the pattern misses."""
    assert "keras-prelu diagnose MODEL --data DATA --trial" in suggestions()
    assert "keras-prelu convert VALUE --activations smooth --data DATA" in suggestions()
    missed = [
        text[match.start() : match.end() + 60]
        for path, text in TEXTS
        for match in MENTIONED.finditer(text)
        if not SUGGESTED.match(text, match.start())
    ]
    # A name of a command in a sentence has no options.
    assert [text for text in missed if OPTION.search(text.split(". ")[0])] == []


@pytest.mark.parametrize(
    "line", ["keras-prelu diagnose --trial", "keras-prelu convert m --slope 1"]
)
def test_incomplete_commands_are_noticed(line):
    with pytest.raises(click.UsageError):
        parse(line)


def test_options_in_messages_exist():
    known = {
        option
        for name in COMMANDS
        for parameter in command(name).params
        for option in (*parameter.opts, *parameter.secondary_opts)
    }
    known |= {"--help", "--version", *OF_OTHER_PROGRAMS}
    unknown = {
        (path.name, option) for path, text in TEXTS for option in set(OPTION.findall(text)) - known
    }
    assert unknown == set()


def test_arguments_in_messages_have_their_option_beside_them():
    """Such as "smaller slopes (alpha, --alpha)"."""
    names = {
        parameter.name.removesuffix("_")
        for name in ("convert", "finetune", "calibrate")
        for parameter in command(name).params
        if isinstance(parameter, click.Option)
    }
    bare = {
        (path.name, match[0])
        for path, text in TEXTS
        for match in IN_PARENTHESES.finditer(text)
        if match[1] in names and path.name not in OF_PYTHON
    }
    assert bare == set()


def run(line, folder):
    words = shlex.split(line.replace("DATA", str(folder / "samples.npz")))
    result = CliRunner().invoke(main, words[1:])
    assert result.exit_code == 0, result.output


@pytest.mark.usefixtures("folder")
def test_what_inspect_suggests_runs_also_for_names_with_blanks(folder):
    kp.load_model("relu.keras").save("my model.keras")
    inputs = keras.Input((8, 8, 1))
    gate = keras.layers.ReLU(max_value=1.0, name="my gate")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, keras.layers.Multiply()([gate, gate])).save("gate.keras")
    smooth = keras.layers.Dense(2, activation="gelu")(keras.layers.Flatten()(inputs))
    keras.Model(inputs, smooth).save("my smooth.keras")
    for name in ("my model.keras", "gate.keras", "my smooth.keras"):
        output = CliRunner().invoke(main, ["inspect", name]).stdout
        (line,) = re.findall(r"keras-prelu convert .*", output)
        run(line, folder)
