"""The plots of a report as matplotlib figures, for its page and for notebooks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FixedFormatter

from keras_prelu.diagnostics.diagnosis import Diagnosis
from keras_prelu.diagnostics.similarity import LayerSimilarity
from keras_prelu.display.figures import (
    COLORS,
    GainRow,
    calibration_figure,
    hide_frame,
    intervals_figure,
    learning_curves_figure,
    new_figure,
    rows_figure,
    signal_figure,
    slopes_figure,
)
from keras_prelu.report.changes import ChangedSample, ClassAccuracy

__all__ = [
    "GainRow",
    "calibration_figure",
    "changed_samples_figure",
    "classes_figure",
    "intervals_figure",
    "learning_curves_figure",
    "make_narrow",
    "signal_figure",
    "similarity_figure",
    "slopes_figure",
    "task_errors_figure",
    "units_figure",
]

_IMAGES_IN_A_ROW = 6
_IMAGES_IN_A_NARROW_ROW = 3
_NARROW = 4.4
_SHORT_NAME = 24


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
    figure, axes = rows_figure([site.path for site in longest])
    height = 0.8 / len(diagnoses)
    for index, (name, sites) in enumerate(units.items()):
        positions = [row - 0.4 + height * (index + 0.5) for row in range(len(sites))]
        shares = [100 * site.dead / site.units for site in sites]
        axes.barh(positions, shares, height=height, color=COLORS[index % len(COLORS)], label=name)
    axes.set_xlabel("dead units, %")
    axes.set_xlim(0, max(1.0, axes.get_xlim()[1]))
    axes.legend(frameon=False)
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
    figure, axes = rows_figure([layer.path for layer in similarity])
    axes.plot(
        [layer.cka for layer in similarity],
        range(len(similarity)),
        "o",
        color=COLORS[0],
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
        color=COLORS[1],
        markersize=5,
        label="explained variance",
    )
    axes.set_xlabel("inputs of the layer, converted against original: 1 where equal")
    axes.legend(frameon=False)
    return figure


def classes_figure(classes: Sequence[ClassAccuracy]) -> Figure:
    """Plot by class which share of its samples two networks get right.

    Args:
        classes: Sequence of `ClassAccuracy`.

    Returns:
        A matplotlib figure.
    """
    figure, axes = rows_figure([f"class {each.label}" for each in classes])
    for row, each in enumerate(classes):
        color = COLORS[2] if each.after > each.before else COLORS[1]
        axes.plot([100 * each.before, 100 * each.after], [row, row], color=color, linewidth=2)
    rows = range(len(classes))
    before, after = (
        [100 * getattr(each, name) for each in classes] for name in ("before", "after")
    )
    axes.plot(before, rows, "o", color="0.5", markersize=5, label="original")
    axes.plot(after, rows, "o", color=COLORS[0], markersize=5, label="converted")
    axes.set_xlabel("samples that are right, %")
    axes.legend(frameon=False, fontsize=8)
    return figure


def changed_samples_figure(samples: Sequence[ChangedSample]) -> Figure:
    """Show images that only one of two networks gets right.

    Args:
        samples: Sequence of `ChangedSample` with images.

    Returns:
        A matplotlib figure.
    """
    columns = min(_IMAGES_IN_A_ROW, len(samples))
    rows = math.ceil(len(samples) / columns)
    figure = new_figure(8, 1.75 * rows)
    for position, sample in enumerate(samples, start=1):
        axes = figure.add_subplot(rows, columns, position)
        axes.imshow(sample.image, cmap="gray", vmin=0.0, vmax=1.0, interpolation="nearest")
        axes.set_axis_off()
        color = COLORS[2] if sample.after == sample.label else COLORS[1]
        axes.set_title(f"{sample.label}: {sample.before} → {sample.after}", fontsize=8, color=color)
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
    figure = new_figure(8, 3.8)
    axes = figure.add_subplot()
    curves = {name: np.asarray(values) for name, values in errors.items()}
    first = 1
    if before is not None:
        before = np.asarray(before)
        first += before.shape[1]
        _plot_errors(axes, 1, before, "0.5", "before")
        axes.axvline(first - 0.5, color="0.7", linewidth=1, linestyle=":")
    for index, (name, values) in enumerate(curves.items()):
        _plot_errors(axes, first, values, COLORS[index % len(COLORS)], name)
    means = np.concatenate([values.mean(axis=0) for values in curves.values()])
    if means.min() > 0 and means.max() > 10 * means.min():
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0.0)
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_xlabel("task")
    axes.set_ylabel("test error at the task's end, %")
    figure.legend(frameon=False, loc="outside upper left", ncols=2)
    hide_frame(axes)
    return figure


def _plot_errors(axes: Axes, first: int, errors: np.ndarray, color: str, label: str) -> None:
    tasks = first + np.arange(errors.shape[1])
    axes.plot(tasks, errors.mean(axis=0), color=color, linewidth=1.5, label=label)
    low, high = errors.min(axis=0), errors.max(axis=0)
    axes.fill_between(tasks, low, high, color=color, alpha=0.12, linewidth=0)


def make_narrow(figure: Figure) -> None:
    """Make a figure fit a narrow screen: panels below each other, shorter names, small images.

    Args:
        figure: Matplotlib figure of this module. It is changed.
    """
    _, height = figure.get_size_inches()
    panels = len(figure.axes)
    columns = _IMAGES_IN_A_NARROW_ROW if figure.axes[0].images else 1
    if panels > 1:
        place = figure.axes[0].get_subplotspec()
        rows_before = panels if place is None else place.get_gridspec().nrows
        rows = math.ceil(panels / columns)
        grid = figure.add_gridspec(rows, columns)
        for position, axes in enumerate(figure.axes):
            axes.set_subplotspec(grid[position // columns, position % columns])
        height = rows * min(height / rows_before, 1.7 if columns > 1 else 2.6)
    figure.set_size_inches(_NARROW, height)
    for legend in list(figure.legends):
        handles, labels = figure.axes[0].get_legend_handles_labels()
        legend.remove()
        figure.legend(handles, labels, frameon=False, loc="outside upper left", fontsize=8)
    for axes in figure.axes:
        axes.xaxis.label.set_wrap(True)
        axes.xaxis.label.set_fontsize(8)
        if isinstance(axes.yaxis.get_major_formatter(), FixedFormatter):
            names = [_ending(label.get_text()) for label in axes.get_yticklabels()]
            axes.set_yticks(axes.get_yticks(), names, fontsize=8, parse_math=False)


def _ending(name: str) -> str:
    """Return the end of a name, which tells layers apart."""
    return name if len(name) <= _SHORT_NAME else f"…{name[1 - _SHORT_NAME :]}"
