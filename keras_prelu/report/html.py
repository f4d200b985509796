"""The page: one HTML file that needs nothing else, for the screen in light and dark and for
paper."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import matplotlib
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from keras_prelu.io.atomic import atomic_write_text
from keras_prelu.report import figures
from keras_prelu.report.content import Report

__all__ = ["render", "write"]

_INK = "#010203"  # a colour that nothing else has, for what takes the page's


@dataclass(frozen=True)
class Plot:
    """A figure with the table of what it shows.

    Attributes:
        title: Heading.
        text: What it shows, for those who see it and those who don't.
        svg: The figure.
        columns: Of the table.
        rows: Of the table.
    """

    title: str
    text: str
    svg: Markup
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def write(report: Report, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a report as one HTML file.

    Args:
        report: As `gather` returns it.
        path: Where to.
        force: Whether an existing file is replaced. Defaults to False.

    Raises:
        FileError: The file exists, or can't be written.

    Example:

    >>> keras_prelu.report.html.write(keras_prelu.report.gather(converted, original, (x_test,
    ...     y_test)), "report.html")
    """
    atomic_write_text(path, render(report), overwrite=force)


def render(report: Report) -> str:
    """The page's text."""
    environment = Environment(
        loader=PackageLoader("keras_prelu.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    return environment.get_template("report.html").render(
        report=report, sentences=report.sentences, plots=_plots(report)
    )


def _plots(report: Report) -> list[Plot]:
    diagnoses = {network.name: network.diagnosis for network in report.networks}
    found = [
        Plot(
            "Slopes",
            "The negative slopes of each PReLU layer: their mean, and the range from the smallest"
            " to the largest.",
            _svg(lambda: figures.slopes_figure(report.slopes)),
            ("layer", "slopes", "mean", "smallest", "largest"),
            tuple(
                (
                    layer.path,
                    str(layer.count),
                    _number(layer.mean),
                    _number(layer.minimum),
                    _number(layer.maximum),
                )
                for layer in report.slopes
            ),
        ),
        Plot(
            "Dead units",
            "The share of units at each rectifier whose pre-activation is positive on no sample."
            " Under ReLU they get no gradient.",
            _svg(lambda: figures.units_figure(diagnoses)),
            ("network", "site", "units", "dead", "nearly dead", "negative pre-activations"),
            tuple(
                (
                    name,
                    site.path,
                    str(site.units),
                    str(site.dead),
                    str(site.nearly_dead),
                    f"{100 * site.negative:.1f} %",
                )
                for name, diagnosis in diagnoses.items()
                for site in diagnosis.units
            ),
        ),
        Plot(
            "What the conversion changed",
            "What reaches each linear layer, converted against original: linear CKA and explained"
            " variance, 1 where equal.",
            _svg(lambda: figures.similarity_figure(report.similarity)),
            ("layer", "CKA", "explained variance"),
            tuple(
                (layer.path, _number(layer.cka), _number(layer.explained))
                for layer in report.similarity
            ),
        ),
        Plot(
            "Signal by depth",
            "Second moments of what the linear layers put out, and of the gradients there of a"
            " random projection of the outputs.",
            _svg(lambda: figures.signal_figure(diagnoses)),
            ("network", "layer", "second moment", "gain", "predicted gain", "gradient"),
            tuple(
                (
                    name,
                    layer.path,
                    *(
                        _number(value)
                        for value in (layer.moment, layer.gain, layer.predicted, layer.gradient)
                    ),
                )
                for name, diagnosis in diagnoses.items()
                for layer in diagnosis.signal
            ),
        ),
    ]
    calibration = report.calibration
    if calibration is not None and any(
        layer.error_after is not None for layer in calibration.layers
    ):
        found.insert(
            2,
            Plot(
                "Calibration",
                "The error of each layer's output before and after its refit, on"
                f" {calibration.held_out} held-out samples; of the model's outputs"
                f" {_number(calibration.error_before)} before and"
                f" {_number(calibration.error_after)} after.",
                _svg(lambda: figures.calibration_figure(calibration)),
                ("layer", "kind", "error before", "error after", "action"),
                tuple(
                    (
                        layer.path,
                        layer.layer,
                        _number(layer.error_before),
                        _number(layer.error_after),
                        layer.action,
                    )
                    for layer in calibration.layers
                ),
            ),
        )
    return found


def _svg(draw: Callable[[], Figure]) -> Markup:
    """A figure as SVG for a page: text stays text, and what is black takes the page's colour."""
    ink = dict.fromkeys(
        ("text.color", "axes.edgecolor", "axes.labelcolor", "xtick.color", "ytick.color"), _INK
    )
    settings: dict[str, Any] = {
        "svg.fonttype": "none",
        "svg.hashsalt": "keras_prelu",
        "font.family": "sans-serif",
        **ink,
    }
    file = io.StringIO()
    with matplotlib.rc_context(settings):
        draw().savefig(
            file,
            format="svg",
            transparent=True,
            metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")),
        )
    text = file.getvalue()
    text = text[text.index("<svg") :].replace(_INK, "currentColor")
    # Of fixed size it would not fit a narrow screen; and its own description is no better than the
    # page's.
    tag, rest = text.split(">", 1)
    tag = re.sub(r' (?:width|height)="[^"]*"', "", tag)
    return Markup(f'{tag} aria-hidden="true" focusable="false">{rest}')


def _number(value: float | None) -> str:
    return "–" if value is None or value != value else f"{value:.3g}"
