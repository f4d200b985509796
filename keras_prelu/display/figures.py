"""Figures of results, from plain values and records. They need matplotlib."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from keras_prelu.errors import KerasPReLUError

__all__ = [
    "COLORS",
    "GainRow",
    "calibration_figure",
    "hide_frame",
    "intervals_figure",
    "learning_curves_figure",
    "new_figure",
    "rows_figure",
    "signal_figure",
    "sites_figure",
    "slopes_figure",
]

# These colours can be distinguished with impaired colour vision too.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
_LONGEST_NAME = 48
_MOST_ROWS = 60


def new_figure(width: float, height: float) -> Any:
    """Return an empty matplotlib figure.

    Raises:
        KerasPReLUError: Matplotlib is not installed.
    """
    try:
        from keras_prelu.display.shown_figure import ShownFigure
    except ImportError as error:
        raise KerasPReLUError(
            "Plots need matplotlib: pip install 'keras-prelu[report]'."
        ) from error
    return ShownFigure(figsize=(width, height), layout="constrained")


def learning_curves_figure(histories: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """Plot the losses and metrics of trainings by epoch, a panel for each.

    Args:
        histories: Mapping from the name of a network to its history, as `model.fit` returns it.
            Values on the training samples are dashed, those on other samples solid.
    """
    recorded = next(iter(histories.values()))
    names = [name for name in recorded if not name.startswith("val_") and name != "learning_rate"]
    names.sort(key=lambda name: name != "loss")
    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    figure = new_figure(4.2 * columns, 3.0 * rows)
    for position, name in enumerate(names, start=1):
        axes = figure.add_subplot(rows, columns, position)
        for index, (network, history) in enumerate(histories.items()):
            for key, style in ((name, "--"), (f"val_{name}", "-")):
                values = history.get(key)
                if values is None:
                    continue
                label = f"{network}, {'training' if style == '--' else 'held-back'} samples"
                epochs = range(1, len(values) + 1)
                color = COLORS[index % len(COLORS)]
                axes.plot(
                    epochs, values, f"{style}o", color=color, label=label, markersize=3, linewidth=1
                )
        axes.set_title(name, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        hide_frame(axes)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, frameon=False, loc="outside upper left", ncols=2, fontsize=8)
    return figure


@dataclass(frozen=True, kw_only=True)
class GainRow:
    """A row in the figure of gains.

    Attributes:
        name: String. The name of the comparison.
        gain: Float. By how much one model is better.
        low: Float. Lower end of the gain's interval; minus infinity if there is none.
        high: Float. Upper end of the gain's interval.
        verdict: String. The verdict of the comparison.
        margin: Float or None. The gain that does not matter in this comparison.
    """

    name: str
    gain: float
    low: float
    high: float
    verdict: str
    margin: float | None


def intervals_figure(rows: Sequence[GainRow], *, metric: str) -> Any:
    """Plot gains with their intervals, beside 0 and the margins, bands around 0.

    Each comparison has a scale of its own, since their gains may differ by orders of magnitude.

    Args:
        rows: Sequence of `GainRow`.
        metric: String. What the gain is one of.
    """
    figure = new_figure(8, 0.4 + 0.9 * len(rows))
    for position, row in enumerate(rows, start=1):
        axes = figure.add_subplot(len(rows), 1, position)
        _plot_gain(axes, row)
    axes.set_xlabel(f"gain in {metric}, with its 95 % interval (right of 0 is better)")
    return figure


def _plot_gain(axes: Any, row: GainRow) -> None:
    """Plot a gain with its interval, and its verdict above."""
    if row.margin is not None and math.isfinite(row.margin):
        axes.axvspan(-row.margin, row.margin, color="0.5", alpha=0.18, linewidth=0)
    axes.axvline(0.0, color="0.5", linewidth=1)
    color = {"better": COLORS[2], "worse": COLORS[1]}.get(row.verdict, COLORS[0])
    if math.isfinite(row.low) and math.isfinite(row.high):
        axes.plot([row.low, row.high], [0, 0], color=color, linewidth=3, solid_capstyle="butt")
    axes.plot([row.gain], [0], "o", color=color, markersize=7)
    axes.annotate(
        row.verdict,
        (row.gain, 0),
        xytext=(0, 7),
        textcoords="offset points",
        ha="center",
        fontsize=8,
    )
    axes.set_yticks([0], [row.name], parse_math=False)
    axes.set_ylim(-0.8, 1.0)
    axes.margins(x=0.1)
    hide_frame(axes)


def slopes_figure(slopes: Sequence[Any]) -> Any:
    """Plot how the slopes of each layer are distributed.

    A thin line reaches from the smallest to the largest, a thick one holds the middle half, and a
    point is the mean.

    Args:
        slopes: Sequence of `LayerSlopes`, as `diagnostics.layer_slopes` returns them.

    Returns:
        A matplotlib figure.

    Example:

    >>> keras_prelu.report.figures.slopes_figure(keras_prelu.diagnostics.layer_slopes(converted))
    """
    figure, axes = rows_figure([layer.path for layer in slopes])
    axes.axvline(0.0, color="0.5", linewidth=1)
    for row, layer in enumerate(slopes):
        axes.plot(
            [layer.minimum, layer.maximum],
            [row, row],
            color=COLORS[0],
            linewidth=1,
        )
        lower, _, upper = layer.quartiles
        axes.plot(
            [lower, upper],
            [row, row],
            color=COLORS[0],
            linewidth=5,
            alpha=0.45,
            solid_capstyle="butt",
        )
    axes.plot(
        [layer.mean for layer in slopes], range(len(slopes)), "o", color=COLORS[0], markersize=4
    )
    low = min([0.0, *(layer.minimum for layer in slopes)])
    high = max([0.0, *(layer.maximum for layer in slopes)])
    room = 0.05 * (high - low or 1.0)
    axes.set_xlim(low - room * (low < 0), high + room)
    axes.set_xlabel("slope: mean, middle half, smallest to largest")
    return figure


def signal_figure(diagnoses: Mapping[str, Any]) -> Any:
    """Plot second moments by depth: of the outputs of linear layers, and of their gradients.

    They are taken after a rectifier that follows, as where a layer applies its own activation, so
    that networks with both can be compared.

    Args:
        diagnoses: Mapping from the name of a network to its `Diagnosis`.

    Returns:
        A matplotlib figure.

    Example:

    >>> diagnosis = keras_prelu.diagnostics.diagnose(model, x_test)
    >>> keras_prelu.report.figures.signal_figure({"ReLU": diagnosis})
    """
    figure = new_figure(8, 3.2)
    panels = {"moment": "second moment of the outputs", "gradient": "of the gradients there"}
    for position, (attribute, title) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, 2, position)
        positive = False
        for index, (name, diagnosis) in enumerate(diagnoses.items()):
            values = [getattr(layer, attribute) for layer in _rectified_outputs(diagnosis.signal)]
            positive = positive or min(values, default=0.0) > 0
            axes.plot(
                range(1, len(values) + 1),
                values,
                "o-",
                color=COLORS[index % len(COLORS)],
                markersize=3,
                linewidth=1,
                label=name,
            )
        if positive:
            axes.set_yscale("log")
        axes.set_xlabel("linear layer, by depth")
        axes.set_title(title, fontsize=10)
        axes.xaxis.get_major_locator().set_params(integer=True)
        hide_frame(axes)
    figure.axes[0].legend(frameon=False)
    return figure


def _rectified_outputs(signal: Sequence[Any]) -> list[Any]:
    """Return a layer of a signal by depth for each linear one: it, or the rectifier after it."""
    return [
        following if following is not None and following.kind == "rectifier" else layer
        for layer, following in itertools.zip_longest(signal, signal[1:])
        if "linear" in layer.kind
    ]


def calibration_figure(calibration: Any) -> Any:
    """Plot the error of each refitted layer's output before and after its refit.

    Args:
        calibration: `Calibration`, as `calibrate` returns it.

    Returns:
        A matplotlib figure.

    Example:

    >>> calibration = keras_prelu.calibrate(converted, model, x_train)
    >>> keras_prelu.report.figures.calibration_figure(calibration)
    """
    layers = [
        layer
        for layer in calibration.layers
        if layer.error_before is not None and layer.error_after is not None
    ]
    figure, axes = rows_figure([layer.path for layer in layers])
    smallest = min(
        [error for layer in layers for error in (layer.error_before, layer.error_after) if error],
        default=1.0,
    )
    for index, attribute in enumerate(("error_before", "error_after")):
        values = [max(getattr(layer, attribute), smallest) for layer in layers]
        axes.plot(
            values,
            range(len(layers)),
            "o",
            color=COLORS[1 - index],
            markersize=5,
            label=attribute.removeprefix("error_"),
        )
    axes.set_xscale("log")
    axes.set_xlabel("error of the layer's output over its variance")
    axes.legend(frameon=False)
    return figure


def sites_figure(sites: Sequence[Any]) -> Any:
    """Plot the channels of each site, coloured by whether it is converted.

    Args:
        sites: Sequence of `Site`, as `find_sites` returns them.
    """
    figure, axes = rows_figure([site.path for site in sites])
    kinds: dict[str, Callable[[Any], bool]] = {
        "converted by default": lambda site: site.convertible and not site.on_request,
        "on request": lambda site: site.on_request,
        "not converted": lambda site: not site.convertible and not site.on_request,
    }
    for index, (label, belongs) in enumerate(kinds.items()):
        rows = [row for row, site in enumerate(sites) if belongs(site)]
        channels = [sites[row].channels or 0 for row in rows]
        if rows:
            axes.barh(rows, channels, height=0.7, color=COLORS[index], label=label)
    axes.set_xlabel("channels")
    axes.legend(frameon=False, fontsize=8)
    return figure


def rows_figure(names: Sequence[str]) -> tuple[Any, Any]:
    """Return a figure with a row for each name, the first on top, and its axes.

    With more than 60 rows, only every second, third, … name is written.
    """
    height = 0.22 if len(names) <= _MOST_ROWS else 0.22 * _MOST_ROWS / len(names)
    figure = new_figure(8, 1.2 + height * max(len(names), 3))
    axes = figure.add_subplot()
    step = math.ceil(len(names) / _MOST_ROWS) or 1
    positions = range(0, len(names), step)
    axes.set_yticks(positions)
    labels = [_shorten(names[position]) for position in positions]
    axes.set_yticklabels(labels, fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", alpha=0.2)
    hide_frame(axes)
    return figure, axes


def hide_frame(axes: Any) -> None:
    """Leave only the axes to the left and at the bottom."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _shorten(name: str) -> str:
    """Return a name whose middle is left out if it is long: its end tells layers apart."""
    if len(name) <= _LONGEST_NAME:
        return name
    half = (_LONGEST_NAME - 1) // 2
    return f"{name[:half]}…{name[-half:]}"
