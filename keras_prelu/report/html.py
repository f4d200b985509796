"""A report as one HTML file without scripts or requests, for the screen, dark mode and print."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from keras_prelu.io.atomic import atomic_write_text
from keras_prelu.report import figures
from keras_prelu.report.content import Report
from keras_prelu.report.sections import format_number, sections

__all__ = ["render", "write"]

_INK = "#010203"
"""A colour that nothing else has, for what takes the colour of the page's text."""


def write(report: Report, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a report as one HTML file.

    Args:
        report: `Report`, as `gather` returns it.
        path: String or path-like. The file.
        force: Boolean. Whether to replace an existing file. Defaults to False.

    Raises:
        FileError: If the file exists, or can't be written.

    Example:

    >>> report = keras_prelu.report.gather(converted, model, (x_test, y_test))
    >>> keras_prelu.report.html.write(report, "report.html")
    """
    atomic_write_text(path, render(report), overwrite=force)


def render(report: Report) -> str:
    """Return the page of a report as HTML."""
    environment = Environment(
        loader=PackageLoader("keras_prelu.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = format_number
    return environment.get_template("report.html").render(
        report=report,
        sections=[
            (
                section,
                None if section.draw is None else _svg(section.draw),
                None if section.draw is None else _svg(section.draw, narrow=True),
            )
            for section in sections(report)
        ],
    )


def _svg(draw: Callable[[], Figure], *, narrow: bool = False) -> Markup:
    """Return a figure as SVG for a page: text stays text, and black becomes the text colour.

    Args:
        draw: Function that returns the figure.
        narrow: Boolean. Whether the figure is for a narrow screen. Defaults to False.
    """
    ink = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    )
    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        # What is hidden can't be referred to, so the two versions of a figure need other names.
        "svg.hashsalt": f"keras_prelu{' narrow' if narrow else ''}",
        "font.family": "sans-serif",
        **ink,
    }
    file = io.StringIO()
    with matplotlib.rc_context(settings):
        figure = draw()
        if narrow:
            figures.make_narrow(figure)
        figure.savefig(
            file,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    # With a fixed size the figure would not fit a narrow screen. It is hidden from screen readers,
    # which read the caption and the table instead.
    tag, rest = text.split(">", 1)
    tag = re.sub(r' (?:width|height)="[^"]*"', "", tag)
    return Markup(f'{tag} aria-hidden="true" focusable="false">{rest}')
