"""The sections of a report's page that have a figure: title, caption, figure and table.

Their titles, captions and column headings are defined only here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

from matplotlib.figure import Figure

from keras_prelu.calibration.records import Calibration
from keras_prelu.report import figures
from keras_prelu.report.content import Report

__all__ = ["Section", "Table", "format_number", "sections"]

Columns = Mapping[str, Callable[[Any], Any]]
"""By heading, what gets the value of a cell from the item that a row shows."""


@dataclass(frozen=True)
class Table:
    """A table of text.

    Attributes:
        columns: Tuple of strings. The headings.
        rows: Tuple of tuples of strings.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Section:
    """A figure with its caption and a table of its values.

    Attributes:
        title: String. The heading.
        caption: String. A description of the figure, also for those who don't see it.
        draw: Callable. Takes no arguments and returns the matplotlib figure.
        table: `Table`. The values in the figure.
    """

    title: str
    caption: str
    draw: Callable[[], Figure]
    table: Table


def sections(report: Report) -> list[Section]:
    """Return the sections of a report in the order of the page."""
    calibration = report.calibration
    return [
        _slopes(report),
        _dead_units(report),
        *([] if calibration is None or not _refitted(calibration) else [_calibration(calibration)]),
        _similarity(report),
        _signal(report),
    ]


def format_number(value: float | None) -> str:
    """Return a number with three significant digits; "–" for None and NaN."""
    return "–" if value is None or value != value else f"{value:.3g}"


def _slopes(report: Report) -> Section:
    columns: Columns = {
        "layer": attrgetter("path"),
        "slopes": attrgetter("count"),
        "mean": attrgetter("mean"),
        "smallest": attrgetter("minimum"),
        "largest": attrgetter("maximum"),
    }
    return Section(
        title="Slopes",
        caption=(
            "The negative slopes of each PReLU layer: their mean, and the range from the smallest"
            " to the largest."
        ),
        draw=lambda: figures.slopes_figure(report.slopes),
        table=_table(columns, report.slopes),
    )


def _dead_units(report: Report) -> Section:
    columns: Columns = {
        "site": attrgetter("path"),
        "units": attrgetter("units"),
        "dead": attrgetter("dead"),
        "nearly dead": attrgetter("nearly_dead"),
        "negative pre-activations": lambda site: (
            f"{100 * site.negative:.1f} %" if site.seen else "not seen"
        ),
    }
    return Section(
        title="Dead units",
        caption=(
            "The share of units at each rectifier whose pre-activation is positive on no sample."
            " Under ReLU they get no gradient."
        ),
        draw=lambda: figures.units_figure(_diagnoses(report)),
        table=_table_by_network(report, attrgetter("units"), columns),
    )


def _similarity(report: Report) -> Section:
    columns: Columns = {
        "layer": attrgetter("path"),
        "CKA": attrgetter("cka"),
        "explained variance": attrgetter("explained"),
    }
    return Section(
        title="What the conversion changed",
        caption=(
            "The inputs of each linear layer in the converted network compared with the original:"
            " linear CKA and explained variance, 1 where equal."
        ),
        draw=lambda: figures.similarity_figure(report.similarity),
        table=_table(columns, report.similarity),
    )


def _signal(report: Report) -> Section:
    columns: Columns = {
        "layer": attrgetter("path"),
        "second moment": attrgetter("moment"),
        "gain": attrgetter("gain"),
        "predicted gain": attrgetter("predicted"),
        "gradient": attrgetter("gradient"),
    }
    return Section(
        title="Signal by depth",
        caption=(
            "Second moments of the outputs of the linear layers, and of the gradients there of a"
            " random projection of the network's outputs."
        ),
        draw=lambda: figures.signal_figure(_diagnoses(report)),
        table=_table_by_network(report, attrgetter("signal"), columns),
    )


def _refitted(calibration: Calibration) -> bool:
    return any(layer.error_after is not None for layer in calibration.layers)


def _calibration(calibration: Calibration) -> Section:
    columns: Columns = {
        "layer": attrgetter("path"),
        "kind": attrgetter("layer"),
        "error before": attrgetter("error_before"),
        "error after": attrgetter("error_after"),
        "action": attrgetter("action"),
    }
    return Section(
        title="Calibration",
        caption=(
            "The error of each layer's output before and after its refit, on"
            f" {calibration.held_out} held-out samples. The error of the model's outputs is"
            f" {format_number(calibration.error_before)} before and"
            f" {format_number(calibration.error_after)} after."
        ),
        draw=lambda: figures.calibration_figure(calibration),
        table=_table(columns, calibration.layers),
    )


def _diagnoses(report: Report) -> dict[str, Any]:
    return {network.name: network.diagnosis for network in report.networks}


def _table(columns: Columns, items: Iterable[Any]) -> Table:
    """Return a table with a row for each item."""
    rows = tuple(tuple(_cell(get(item)) for get in columns.values()) for item in items)
    return Table(columns=tuple(columns), rows=rows)


def _table_by_network(
    report: Report, items_of: Callable[[Any], Iterable[Any]], columns: Columns
) -> Table:
    """Return a table with a row for each item of each network's diagnosis."""
    rows = tuple(
        (name, *row)
        for name, diagnosis in _diagnoses(report).items()
        for row in _table(columns, items_of(diagnosis)).rows
    )
    return Table(columns=("network", *columns), rows=rows)


def _cell(value: Any) -> str:
    return str(value) if isinstance(value, (str, int)) else format_number(value)
