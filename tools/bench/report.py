"""RESULTS.md of the benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from tools.bench import diagnostics, plasticity, scale
from tools.bench.records import (
    OURS,
    RELU,
    STOCK,
    ConversionMemory,
    ConversionTime,
    DepthTime,
    DiagnosticsTime,
    Failure,
    Measurement,
    MonitorTime,
)
from tools.common.markdown import join, paragraph, table
from tools.common.statistics import quartiles
from tools.common.storage import Report, Section

KINDS = (
    Measurement,
    Failure,
    DepthTime,
    ConversionTime,
    ConversionMemory,
    DiagnosticsTime,
    MonitorTime,
)
_SHARE = 0.03


def measurements(results: Sequence[Measurement | Failure]) -> str:
    """Return a table for each quantity, and what could not be measured."""
    measured = [result for result in results if isinstance(result, Measurement)]
    failures = [result for result in results if isinstance(result, Failure)]
    blocks = []
    for quantity in dict.fromkeys(result.quantity for result in measured):
        blocks.append(f"### {quantity[0].upper()}{quantity[1:]}")
        blocks.append(_quantity([result for result in measured if result.quantity == quantity]))
    if failures:
        blocks.append("### What could not be measured")
        blocks.append(
            "\n".join(f"- {f.backend} {f.mode}, {f.work}, {f.dtype}: {f.reason}" for f in failures)
        )
    return join(blocks)


def _quantity(results: Sequence[Measurement]) -> str:
    floors = any(result.floor is not None for result in results)
    header = ["backend", "mode", "work", "dtype", RELU, f"`{STOCK}`", f"`{OURS}`"]
    rows = []
    for case, group in groupby(results, lambda r: (r.backend, r.mode, r.work, r.dtype)):
        by_activation = {result.activation: result for result in group}
        ours = by_activation[OURS]
        cells = [*case, f"{by_activation[RELU].value:.4g}", _ratio(by_activation[STOCK])]
        cells.append(_ratio(ours))
        if ours.floor is not None:
            cells.append(f"{ours.floor:.4g} ({ours.floor / ours.value:.0%})")
        rows.append(cells)
    return table([*header, *(["floor (ours)"] if floors else [])], rows, left=range(4))


def _ratio(result: Measurement) -> str:
    if result.low == result.high:
        return f"{result.ratio:.3f}"
    return quartiles(result.ratio, result.low, result.high)


def conversions(results: Sequence[Any]) -> str:
    """Return the tables of time by depth and of memory, and the ratio for ResNet50."""
    depths = [result for result in results if isinstance(result, DepthTime)]
    resnets = [result for result in results if isinstance(result, ConversionTime)]
    memory = [result for result in results if isinstance(result, ConversionMemory)]
    depth_rows = [_depth(depth, depths[0]) for depth in depths]
    memory_header = ["backend", "network", "weights, MB", "while loading", "before converting"]
    memory_header += ["while converting", "while saving"]
    memory_rows = [_memory(result) for result in memory]
    ratios = ", ".join(
        f"**{r.median:.2f}** (quartiles {r.low:.2f} to {r.high:.2f})" for r in resnets
    )
    return join(
        [
            paragraph(
                f"Seconds for a file of so many layers in a row (Dense and ReLU in turn; median of"
                f" {scale.FULL.processes} processes). The last column is the ratio of the sum to"
                f" that of {scale.FULL.depths[0]:,} layers:"
            ),
            table(["layers", "load", "convert", "save", "all", "ratio"], depth_rows, left=()),
            paragraph(
                "ResNet50, load + convert + save over load + save, taken in turn:"
                f" {ratios or 'not measured'}."
            ),
            paragraph(
                """Peak memory above what the process took before, as a multiple of the weights. The
                first and the last step are Keras's own: it reads and writes the weights through a
                buffer of the whole file where memory allows. While converting, memory holds the
                original's weights and the new model's, 2.0. TensorFlow keeps and reuses what it
                freed while loading, so its peak while converting is mostly what loading left (the
                column before); on PyTorch freed memory is returned."""
            ),
            table(memory_header, memory_rows, left=(0, 1)),
        ]
    )


def _depth(depth: DepthTime, first: DepthTime) -> list[str]:
    numbers = (depth.load, depth.convert, depth.save, depth.total, depth.total / first.total)
    return [f"{depth.layers:,}", *(f"{number:.2f}" for number in numbers)]


def _memory(result: ConversionMemory) -> list[str]:
    multiples = (result.load, result.loaded, result.convert, result.save)
    cells = [result.backend, result.network, f"{result.weights:.0f}"]
    return [*cells, *(f"{multiple:.2f}" for multiple in multiples)]


def diagnostics_times(results: Sequence[DiagnosticsTime]) -> str:
    """Return the tables of the diagnostics, one column a backend, and of the callback."""
    measures = list(dict.fromkeys(name for result in results for name in result.ratios))
    rows = [[name, *(_measure(result, name) for result in results)] for name in measures]
    monitor_rows = [
        [
            result.backend,
            f"{1e3 * result.callback['step']:.0f} ms",
            f"{result.callback['slopes']:.2f} steps",
            f"{result.callback['samples']:.2f} steps",
            f"{result.callback['samples'] / _SHARE:.0f} steps",
            f"{result.callback['first']:.1f} s",
        ]
        for result in results
    ]
    setting = diagnostics.FULL
    return join(
        [
            table(["", *(result.backend for result in results)], rows),
            paragraph(
                f"""`callbacks.SlopeMonitor`, writing both files after each epoch: how many training
                steps (batches of {setting.batch}) one epoch's end takes, without samples and with
                the {setting.samples}; from how many steps an epoch on that is less than
                {_SHARE:.0%} of the epoch; and the seconds of the first, which compiles."""
            ),
            table(
                ["backend", "train step", "slopes alone", "with samples", "epochs from", "first"],
                monitor_rows,
            ),
        ]
    )


def _measure(result: DiagnosticsTime, name: str) -> str:
    if name not in result.ratios:
        return "–"
    milliseconds, low, median, high = result.ratios[name]
    return f"{milliseconds:.0f} ms" if name == "predict" else quartiles(median, low, high)


def monitor_times(results: Sequence[MonitorTime]) -> str:
    """Return the table of what the monitor costs."""
    rows = [
        [
            result.backend,
            result.network,
            f"{1e3 * result.epoch:.0f} ms",
            f"{1e3 * result.recording:.0f} ms",
            quartiles(*(result.each[index] for index in (1, 0, 2))),
            quartiles(*(result.default[index] for index in (1, 0, 2))),
            f"{result.share:.1%}",
            f"{result.recorded:.0%}",
            f"{result.first:.1f} s",
        ]
        for result in results
    ]
    header = ["backend", "network", "epoch", "recording", "each epoch recorded", "by default"]
    return table([*header, "inside the monitor", "epochs recorded", "first"], rows, left=(0, 1))


REPORT = Report(
    tool="bench",
    title="What PReLU costs",
    introduction="""Measured on each backend in a process of its own. The same figures, unrounded,
    are in `results.json`. Where ReLU, `keras.layers.PReLU` and `keras_prelu.PReLU` (both with one
    slope a channel, 0.25) are compared, they take turns in one process, in an order reversed from
    round to round. ReLU's column is the median; the others are the median of the ratio to ReLU in
    the same round, with its quartiles: **below 1 is cheaper than ReLU**.""",
    kinds=KINDS,
    sections={
        "activation": Section(
            title="The activation alone",
            text=""""Floor" is the time that a copy kernel takes for the traffic of five passes
            (read x, write y; read g, read y, write dx) over the same tensor; in brackets, that time
            as a share of the time of `keras_prelu.PReLU`.""",
            tables=measurements,
        ),
        "memory": Section(
            title="Memory of training",
            text="""Residuals and temporaries are counted, not sampled, so they have no spread;
            peaks are those of a process for each activation, the median of three.""",
            tables=measurements,
        ),
        "network": Section(
            title="Networks",
            text="Whole train steps, and predictions of one batch.",
            tables=measurements,
        ),
        "growth": Section(
            title="Growth with channels and pixels",
            text="The activation alone on tensors of many shapes; the floor is as above.",
            tables=measurements,
        ),
        "scale": Section(title="What converting a file costs", text="", tables=conversions),
        "diagnostics": Section(
            title="What measuring a network costs",
            text=f"""The network has nine convolutions with BatchNormalization and PReLU, on images
            of 32 × 32; {diagnostics.FULL.samples} samples in batches of {diagnostics.FULL.batch}.
            Times are medians over {diagnostics.FULL.rounds} rounds, in turn with `predict` over
            the same samples, everything compiled before; the others are ratios to `predict` with
            their quartiles. The last row compiles its gradients anew each time.""",
            tables=diagnostics_times,
        ),
        "plasticity": Section(
            title="What watching a training costs",
            text=f"""`callbacks.PlasticityMonitor` on 256 samples, writing both files, in epochs of
            {plasticity.FULL.steps} steps of {plasticity.BATCH} samples. Seconds are those of the processor,
            of all threads. "Each epoch recorded": the
            time of an epoch that is recorded over that of the one before, which is not (median and
            quartiles of {plasticity.FULL.epochs} pairs). "By default": the time of
            {plasticity.FULL.epochs} epochs with the monitor, which records as often as 3 % of the
            time allow, over that without it (median and quartiles of {plasticity.FULL.rounds} pairs
            in turn), and "inside the monitor" the share of it that passes there. "First": the seconds of the first recording, which compiles.""",
            tables=monitor_times,
        ),
    },
)
