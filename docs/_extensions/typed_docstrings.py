"""Types of arguments and attributes, as docstrings name them, set apart from the description.

A docstring has `name: Type. Description.`; napoleon reads `name (Type): Description.`
"""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

SECTIONS = ("Args:", "Attributes:")
TYPES = (
    "`|array|bool|boolean|callable|class|dict|float|frozen set|function|int|integer|iterable|keras"
    "|list|mapping|none|numpy|path|sequence|set|str|string|structure|tensor|tuple"
)
ENTRY = re.compile(
    rf"(?P<indent> +)(?P<name>\**\w+): (?P<type>(?=(?:{TYPES})(?:\b|\w*`))"
    r"[^.:]*(?:`[^`:]*`[^.:]*)*)\.(?: (?P<rest>.*))?",
    re.IGNORECASE,
)
DESCRIPTION = re.compile(r"\b(?:that|which|whose|as|for|like|it)\b")


def set_types_apart(
    _app: Sphinx, _what: str, _name: str, _obj: Any, _options: Any, lines: list[str]
) -> None:
    """Rewrite the entries of a docstring in place."""
    inside = False
    for number, line in enumerate(lines):
        if line.strip() in SECTIONS:
            inside = True
        elif line and not line.startswith(" "):
            inside = False
        elif inside:
            lines[number] = with_type_apart(line)


def with_type_apart(line: str) -> str:
    """Return the first line of an entry with its type in parentheses, if it names one."""
    entry = ENTRY.fullmatch(line)
    if entry is None or DESCRIPTION.search(entry["type"]):
        return line
    return f"{entry['indent']}{entry['name']} ({entry['type']}): {entry['rest'] or ''}"


def with_dashes(_app: Sphinx, document: nodes.document) -> None:
    """Put a dash between an argument and its description, where Sphinx puts two hyphens."""
    for text in list(document.findall(nodes.Text)):
        if text == " -- ":
            text.parent.replace(text, nodes.Text(" – "))


def setup(app: Sphinx) -> dict[str, bool]:
    app.connect("doctree-read", with_dashes)
    app.connect("autodoc-process-docstring", set_types_apart, priority=400)  # Before napoleon.
    return {"parallel_read_safe": True, "parallel_write_safe": True}
