"""A page for each command, from Click's help, and a table of them all, in reference/commands."""

from __future__ import annotations

import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

import click
from sphinx.application import Sphinx

from keras_prelu.cli.main import COMMANDS, main
from keras_prelu.cli.options.calibration import CalibrationOptions
from keras_prelu.cli.options.conversion import ConversionOptions
from keras_prelu.cli.options.data import DataOptions
from keras_prelu.cli.options.session import SessionOptions
from keras_prelu.cli.options.training import TrainingOptions

FOLDER = Path("reference", "commands")
SHARED = "Options of every command"
GROUPS = {
    "Data": DataOptions,
    "Training": TrainingOptions,
    "Conversion": ConversionOptions,
    "Calibration": CalibrationOptions,
    SHARED: SessionOptions,
}
CODE = re.compile(
    r"`[^`]+`|(?<![\w-])--[a-z][\w-]*|\b(?:MODEL|DATA|OUTPUT|FILE|KERAS_BACKEND)\b(?:\.\w+)*"
    r"|\b[a-zA-Z]+:\w+(?:\[:SPLIT\])?"
)
"""Options, and names of models and data."""
TABLE = """\
| command | what it does |
|---|---|
{rows}

```{{toctree}}
:hidden:

{pages}
```
"""


def write_pages(app: Sphinx) -> None:
    """Write the pages and the table, those alone that have changed."""
    folder = Path(app.srcdir, FOLDER)
    folder.mkdir(exist_ok=True)
    for name in COMMANDS:
        _write(folder / f"{name}.rst", "\n".join(page(name)))
    rows = "\n".join(
        f"| [`{name}`](commands/{name}.rst) | {purpose} |" for name, purpose in COMMANDS.items()
    )
    pages = "\n".join(f"commands/{name}" for name in COMMANDS)
    _write(folder / "table.inc", TABLE.format(rows=rows, pages=pages))


def page(name: str) -> Iterator[str]:
    """Yield the lines of a command's page, in reStructuredText."""
    command = main.get_command(click.Context(main), name)
    assert command is not None
    context = click.Context(command, info_name=f"keras-prelu {name}")
    usage = " ".join([f"keras-prelu {name}", *command.collect_usage_pieces(context)])
    text, _, examples = inspect.cleandoc(command.help or "").partition("\b\n")
    yield from _section(name, "=")
    yield from (f".. program:: keras-prelu {name}", "")
    yield from _code(usage)
    yield from (_marked(text), "")
    if examples:
        title, _, lines = examples.partition("\n")
        yield from _section(title.removesuffix(":"), "-")
        yield from _code("\n".join(f"$ {line}" for line in textwrap.dedent(lines).splitlines()))
    for title, options in _grouped(command).items():
        yield from _section(title, "-")
        for option in options:
            declaration, explanation = option.get_help_record(context) or ("", "")
            yield from (f".. option:: {declaration.replace(' RANGE', '')}", "")
            yield from (textwrap.indent(_marked(explanation), "   "), "")


def _grouped(command: click.Command) -> dict[str, list[click.Option]]:
    """Return the options of a command by the group that they come from, its own first."""
    options = {each.name: each for each in command.params if isinstance(each, click.Option)}
    groups = {}
    for title, group in GROUPS.items():
        names = {field.name for field in dataclasses.fields(group)} & options.keys()
        if len(names) > len(dataclasses.fields(group)) // 2:  # Others only share some names.
            groups[title] = names
    groups[SHARED].add("config")
    of_its_own = options.keys() - set().union(*groups.values())
    return {
        title: [option for name, option in options.items() if name in names]
        for title, names in {"Options": of_its_own, **groups}.items()
        if names & options.keys()
    }


def _marked(text: str) -> str:
    """Return text of a help with options and placeholders marked as code."""
    return CODE.sub(lambda match: f"``{match[0].strip('`')}``", text).replace("*", r"\*")


def _section(title: str, underline: str) -> Iterator[str]:
    yield from (title, underline * len(title), "")


def _code(text: str) -> Iterator[str]:
    yield from (".. code-block:: console", "", textwrap.indent(text, "   "), "")


def _write(path: Path, text: str) -> None:
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("builder-inited", write_pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
