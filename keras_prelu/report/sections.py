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
from keras_prelu.diagnostics.comparison_result import MetricComparison
from keras_prelu.diagnostics.verdict_wording import ends_text
from keras_prelu.report import figures
from keras_prelu.report.content import Report

__all__ = ["Section", "Table", "format_number", "sections"]

_EQUAL = 1.0 - 1e-6
"""Similarity above which two representations are called the same."""

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
        caption: String. A description of the figure, also for those who don't see it; without a
            figure, what there is to say instead.
        draw: Callable. Takes no arguments and returns the matplotlib figure. None if the figure
            would show nothing.
        table: `Table`. The values in the figure. It may be empty.
    """

    title: str
    caption: str
    draw: Callable[[], Figure] | None
    table: Table


def sections(report: Report) -> list[Section]:
    """Return the sections of a report in the order of the page."""
    calibration = report.calibration
    return [
        *([_verdicts(report)] if report.verdicts else []),
        *([_learning_curves(report)] if report.histories else []),
        *([_classes(report)] if report.classes else []),
        *([_changed_samples(report)] if report.classes else []),
        _slopes(report),
        _dead_units(report),
        *([] if calibration is None or not _refitted(calibration) else [_calibration(calibration)]),
        _similarity(report),
        _signal(report),
    ]


def format_number(value: float | None) -> str:
    """Return a number with three significant digits; "–" for None and NaN."""
    return "–" if value is None or value != value else f"{value:.3g}"


def _verdicts(report: Report) -> Section:
    names = [f"over {network.name}" for network in report.networks[1:]]
    pairs = list(zip(names, report.verdicts, strict=False))
    first = report.verdicts[0]
    rows = tuple(
        (name, metric.name, *_figures(metric), metric.verdict)
        for name, found in pairs
        for metric in (found.primary, *found.metrics)
    )
    headings = ("comparison", "metric", "PReLU", "other", "gain", "interval", "verdict")
    return Section(
        title="Gain and its interval",
        caption=(
            f"The gain in {first.metric} with its interval of 95 % over samples. The grey bands"
            " are the margins: a gain within one does not matter. The table has all metrics."
        ),
        draw=lambda: figures.intervals_figure(
            [
                figures.GainRow(
                    name=name,
                    gain=each.gain,
                    low=each.low,
                    high=each.high,
                    verdict=each.verdict,
                    margin=each.negligible,
                )
                for name, each in pairs
            ],
            metric=first.metric,
        ),
        table=Table(columns=headings, rows=rows),
    )


def _figures(metric: MetricComparison) -> tuple[str, ...]:
    return (
        f"{metric.a:.4f}",
        f"{metric.b:.4f}",
        f"{metric.gain:+.4f}",
        ends_text(metric.low, metric.high),
    )


def _learning_curves(report: Report) -> Section:
    rows = tuple(
        (name, str(epoch), *(_cell(history[key][epoch - 1]) for key in _metrics(report)))
        for name, history in report.histories.items()
        for epoch in range(1, min(map(len, history.values())) + 1)
        if all(key in history for key in _metrics(report))
    )
    return Section(
        title="Learning curves",
        caption=(
            "Losses and metrics by epoch of the fine-tuning: dashed on the training samples, solid"
            " on samples that were held back."
        ),
        draw=lambda: figures.learning_curves_figure(report.histories),
        table=Table(columns=("network", "epoch", *_metrics(report)), rows=rows),
    )


def _metrics(report: Report) -> list[str]:
    return list(next(iter(report.histories.values())))


def _classes(report: Report) -> Section:
    columns: Columns = {
        "class": attrgetter("label"),
        "samples": attrgetter("samples"),
        "original": attrgetter("before"),
        "converted": attrgetter("after"),
        "only converted right": attrgetter("gained"),
        "only original right": attrgetter("lost"),
    }
    has_changed = any(each.gained or each.lost for each in report.classes)
    return Section(
        title="Changes by class",
        caption=(
            "The share of each class's samples that the original and the converted network get"
            " right."
            if has_changed
            else "Both networks get the same samples right, in every class."
        ),
        draw=(lambda: figures.classes_figure(report.classes)) if has_changed else None,
        table=_table(columns, report.classes),
    )


def _changed_samples(report: Report) -> Section:
    gained = sum(each.gained for each in report.classes)
    lost = sum(each.lost for each in report.classes)
    columns: Columns = {
        "sample": attrgetter("index"),
        "class": attrgetter("label"),
        "original decides for": attrgetter("before"),
        "converted decides for": attrgetter("after"),
    }
    count = f"{gained} only the converted network gets right, and {lost} only the original"
    images = [sample for sample in report.changed if sample.image is not None]
    shown = f" {len(report.changed)} of them are listed" if report.changed else ""
    key = ", with their class: the original's decision → the converted network's" if images else ""
    return Section(
        title="Samples that are decided otherwise",
        caption=f"Of the samples, {count}.{shown}{key}{'.' if shown else ''}",
        draw=(lambda: figures.changed_samples_figure(images)) if images else None,
        table=_table(columns, report.changed),
    )


def _slopes(report: Report) -> Section:
    if all(layer.minimum == layer.maximum == 0.0 for layer in report.slopes):
        count = sum(layer.count for layer in report.slopes)
        return Section(
            title="Slopes",
            caption=(
                f"All {count:,} slopes are 0, as an exact conversion leaves them: they have not"
                " been trained."
            ),
            draw=None,
            table=Table(columns=(), rows=()),
        )
    columns: Columns = {
        "layer": attrgetter("path"),
        "slopes": attrgetter("count"),
        "mean": attrgetter("mean"),
        "smallest": attrgetter("minimum"),
        "a quarter below": lambda layer: layer.quartiles[0],
        "half below": lambda layer: layer.quartiles[1],
        "three quarters below": lambda layer: layer.quartiles[2],
        "largest": attrgetter("maximum"),
    }
    return Section(
        title="Slopes",
        caption=(
            "The negative slopes of each PReLU layer: a point for their mean, a thick line for the"
            " middle half, and a thin one from the smallest to the largest."
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
    seen = [
        site
        for diagnosis in _diagnoses(report).values()
        for site in diagnosis.units
        if site.seen and site.units
    ]
    has_dead = any(site.dead for site in seen)
    return Section(
        title="Dead units",
        caption=(
            "The share of units at each rectifier whose pre-activation is positive on no sample."
            " Under ReLU they get no gradient."
            if has_dead
            else "No unit of a rectifier is dead in any of the networks: each is positive on some"
            " sample."
            if seen
            else "The rectifiers run in code that can't be measured from outside."
        ),
        draw=(lambda: figures.units_figure(_diagnoses(report))) if has_dead else None,
        table=_table_by_network(report, attrgetter("units"), columns),
    )


def _similarity(report: Report) -> Section:
    columns: Columns = {
        "layer": attrgetter("path"),
        "CKA": attrgetter("cka"),
        "explained variance": attrgetter("explained"),
    }
    is_equal = all(
        layer.cka > _EQUAL and (layer.explained is None or layer.explained > _EQUAL)
        for layer in report.similarity
    )
    return Section(
        title="What the conversion changed",
        caption=(
            "The inputs of all linear layers are the same in both networks."
            if is_equal
            else "The inputs of each linear layer in the converted network compared with the"
            " original: linear CKA and explained variance, 1 where equal."
        ),
        draw=None if is_equal else lambda: figures.similarity_figure(report.similarity),
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
            "Second moments of the outputs of the linear layers, after the rectifiers that follow"
            " them, and of the gradients there of a random projection of the network's outputs."
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
