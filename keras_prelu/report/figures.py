"""The plots of a report as matplotlib figures, for its page and for notebooks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from keras_prelu.calibration.records import Calibration
from keras_prelu.diagnostics.diagnosis import Diagnosis
from keras_prelu.diagnostics.similarity import LayerSimilarity
from keras_prelu.diagnostics.slopes import LayerSlopes

__all__ = [
    "calibration_figure",
    "signal_figure",
    "similarity_figure",
    "slopes_figure",
    "task_errors_figure",
    "units_figure",
]

_LONGEST_NAME = 40
# These colours can be distinguished with impaired colour vision too.
_COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")


def slopes_figure(slopes: Sequence[LayerSlopes]) -> Figure:
    """Plot the mean slope of each layer, with a line from the smallest to the largest.

    Args:
        slopes: Sequence of `LayerSlopes`, as `diagnostics.layer_slopes` returns them.

    Returns:
        A matplotlib figure.

    Example:

    >>> keras_prelu.report.figures.slopes_figure(keras_prelu.diagnostics.layer_slopes(converted))
    """
    figure, axes = _rows([layer.path for layer in slopes])
    for row, layer in enumerate(slopes):
        axes.plot(
            [layer.minimum, layer.maximum],
            [row, row],
            color=_COLORS[0],
            linewidth=2,
            alpha=0.5,
            solid_capstyle="round",
        )
    axes.plot(
        [layer.mean for layer in slopes], range(len(slopes)), "o", color=_COLORS[0], markersize=4
    )
    axes.set_xlim(left=min(0.0, *(layer.minimum for layer in slopes)))
    axes.set_xlabel("slope: mean, smallest to largest")
    return figure


def units_figure(diagnoses: Mapping[str, Diagnosis]) -> Figure:
    """Plot the share of dead units at each site, with the networks next to each other.

    Args:
        diagnoses: Mapping from the name of a network to its `Diagnosis`.

    Returns:
        A matplotlib figure.

    Example:

    >>> diagnosis = keras_prelu.diagnostics.diagnose(model, x_test)
    >>> keras_prelu.report.figures.units_figure({"ReLU": diagnosis})
    """
    units = {
        name: [site for site in diagnosis.units if site.seen]
        for name, diagnosis in diagnoses.items()
    }
    longest = max(units.values(), key=len)
    figure, axes = _rows([site.path for site in longest])
    height = 0.8 / len(diagnoses)
    for index, (name, sites) in enumerate(units.items()):
        positions = [row - 0.4 + height * (index + 0.5) for row in range(len(sites))]
        shares = [100 * site.dead / site.units for site in sites]
        axes.barh(positions, shares, height=height, color=_COLORS[index % len(_COLORS)], label=name)
    axes.set_xlabel("dead units, %")
    axes.set_xlim(0, max(1.0, axes.get_xlim()[1]))
    axes.legend(frameon=False)
    return figure


def signal_figure(diagnoses: Mapping[str, Diagnosis]) -> Figure:
    """Plot second moments by depth: of the outputs of linear layers, and of their gradients.

    Args:
        diagnoses: Mapping from the name of a network to its `Diagnosis`.

    Returns:
        A matplotlib figure.

    Example:

    >>> diagnosis = keras_prelu.diagnostics.diagnose(model, x_test)
    >>> keras_prelu.report.figures.signal_figure({"ReLU": diagnosis})
    """
    figure = Figure(figsize=(8, 3.2), layout="constrained")
    panels = {"moment": "second moment of the outputs", "gradient": "of the gradients there"}
    for position, (attribute, title) in enumerate(panels.items(), start=1):
        axes = figure.add_subplot(1, 2, position)
        positive = False
        for index, (name, diagnosis) in enumerate(diagnoses.items()):
            values = [
                getattr(layer, attribute) for layer in diagnosis.signal if "linear" in layer.kind
            ]
            positive = positive or min(values, default=0.0) > 0
            axes.plot(
                range(1, len(values) + 1),
                values,
                "o-",
                color=_COLORS[index % len(_COLORS)],
                markersize=3,
                linewidth=1,
                label=name,
            )
        if positive:
            axes.set_yscale("log")
        axes.set_xlabel("linear layer, by depth")
        axes.set_title(title, fontsize=10)
        _hide_frame(axes)
    figure.axes[0].legend(frameon=False)
    return figure


def similarity_figure(similarity: Sequence[LayerSimilarity]) -> Figure:
    """Plot by layer how similar the representations of two networks are.

    Args:
        similarity: Sequence of `LayerSimilarity`, as `diagnostics.layer_similarity` returns them.

    Returns:
        A matplotlib figure.

    Example:

    >>> similarity = keras_prelu.diagnostics.layer_similarity(model, converted, x_test)
    >>> keras_prelu.report.figures.similarity_figure(similarity)
    """
    figure, axes = _rows([layer.path for layer in similarity])
    axes.plot(
        [layer.cka for layer in similarity],
        range(len(similarity)),
        "o",
        color=_COLORS[0],
        markersize=5,
        label="CKA",
    )
    explained = {
        row: layer.explained for row, layer in enumerate(similarity) if layer.explained is not None
    }
    axes.plot(
        list(explained.values()),
        list(explained),
        "x",
        color=_COLORS[1],
        markersize=5,
        label="explained variance",
    )
    axes.set_xlabel("inputs of the layer, converted against original: 1 where equal")
    axes.legend(frameon=False)
    return figure


def calibration_figure(calibration: Calibration) -> Figure:
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
    figure, axes = _rows([layer.path for layer in layers])
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
            color=_COLORS[1 - index],
            markersize=5,
            label=attribute.removeprefix("error_"),
        )
    axes.set_xscale("log")
    axes.set_xlabel("error of the layer's output over its variance")
    axes.legend(frameon=False)
    return figure


def task_errors_figure(errors: Mapping[str, Any], before: Any = None) -> Figure:
    """Plot the errors of networks that learn one task after the other.

    Lines are means over seeds; bands reach from the smallest to the largest error. The scale is
    logarithmic if the means differ more than tenfold.

    Args:
        errors: Mapping from the name of a network to an array of shape (seeds, tasks), in percent.
        before: Array of shape (seeds, earlier tasks). The errors before the networks differed.
            Defaults to None: the tasks are counted from 1.

    Returns:
        A matplotlib figure.

    Example:

    >>> relu, prelu = np.full((3, 10), 4.0), np.full((3, 10), 2.0)
    >>> keras_prelu.report.figures.task_errors_figure({"ReLU": relu, "PReLU": prelu})
    """
    figure = Figure(figsize=(8, 3.8), layout="constrained")
    axes = figure.add_subplot()
    curves = {name: np.asarray(values) for name, values in errors.items()}
    first = 1
    if before is not None:
        before = np.asarray(before)
        first += before.shape[1]
        _plot_errors(axes, 1, before, "0.5", "before")
        axes.axvline(first - 0.5, color="0.7", linewidth=1, linestyle=":")
    for index, (name, values) in enumerate(curves.items()):
        _plot_errors(axes, first, values, _COLORS[index % len(_COLORS)], name)
    means = np.concatenate([values.mean(axis=0) for values in curves.values()])
    if means.min() > 0 and means.max() > 10 * means.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0.0)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("task")
    axes.set_ylabel("test error at the task's end, %")
    figure.legend(frameon=False, loc="outside upper left", ncols=2)
    _hide_frame(axes)
    return figure


def _plot_errors(axes: Axes, first: int, errors: np.ndarray, color: str, label: str) -> None:
    tasks = first + np.arange(errors.shape[1])
    axes.plot(tasks, errors.mean(axis=0), color=color, linewidth=1.5, label=label)
    low, high = errors.min(axis=0), errors.max(axis=0)
    axes.fill_between(tasks, low, high, color=color, alpha=0.12, linewidth=0)


def _rows(names: Sequence[str]) -> tuple[Figure, Axes]:
    """Return a figure with a row for each name, the first on top, and its axes."""
    figure = Figure(figsize=(8, 1.2 + 0.22 * max(len(names), 3)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_yticks(range(len(names)))
    axes.set_yticklabels([_shorten(name) for name in names], fontsize=8, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(axis="y", alpha=0.2)
    _hide_frame(axes)
    return figure, axes


def _shorten(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"


def _hide_frame(axes: Axes) -> None:
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
