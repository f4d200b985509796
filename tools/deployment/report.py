"""RESULTS.md of the deployment measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from tools.common.markdown import join, paragraph, table
from tools.common.statistics import interval, quartiles, spread, standard_error
from tools.common.storage import Report, Section
from tools.deployment import int8 as quantized
from tools.deployment.executed import ExecutedGraph
from tools.deployment.int8 import Int8
from tools.deployment.matrix import SIZE, SLOPES, ExportedNetwork
from tools.deployment.per_tensor import PerTensorInt8
from tools.deployment.profile_metric import (
    CHANNEL_WISE,
    CONTROL,
    EFFORT,
    NETWORKS,
    PROFILE,
    TunedForm,
)

_ACTIVATIONS = {
    *("PReLU", "PRELU", "PRelu", "LEAKY_RELU", "LeakyRelu", "LeakyReLU"),
    *("MINIMUM", "MAXIMUM", "Min", "Minimum", "Maximum", "Multiply", "Clamp"),
}


def matrix(results: Sequence[ExportedNetwork]) -> str:
    """Return the table of networks and formats, and why some have no file."""
    runtimes = sorted({result.runtime for result in results if result.runtime})
    by_network: dict[str, dict[str, ExportedNetwork]] = {}
    for result in results:
        by_network.setdefault(result.network, {})[result.form] = result
    header = ["network", "sites (capped)", "format", "operations for the sites", "difference"]
    rows = [_row(result, by_network[result.network]) for result in results]
    failures = dict.fromkeys(
        f"- {result.network}, {result.form}: {result.failure}"
        for result in results
        if result.failure
    )
    return join(
        [
            paragraph(f"Runtimes: {', '.join(runtimes)}."),
            table([*header, "ms", "time", "size"], rows, left=(0, 2, 3)),
            "\n".join(failures),
        ]
    )


def _row(result: ExportedNetwork, forms: Mapping[str, ExportedNetwork]) -> list[str]:
    # A process that was killed did not tell its sites; another form of the network did.
    known = max(forms.values(), key=lambda other: other.sites)
    sites = f"{known.sites} ({known.capped})" if known.capped else str(known.sites)
    cells = [result.network, sites, result.form]
    if result.failure:
        return [*cells, *["–"] * 5]
    measured = result.ratio is not None
    return [
        *cells,
        _operations(result, forms),
        f"{result.difference:.1e}",
        "–" if result.milliseconds is None else f"{result.milliseconds:.3g}",
        quartiles(result.ratio, result.low, result.high) if measured else "–",
        "–" if result.size_ratio is None else f"{result.size_ratio:.4f}",
    ]


def _operations(result: ExportedNetwork, forms: Mapping[str, ExportedNetwork]) -> str:
    """Return the operations that compute the PReLUs."""
    if not result.operations:
        return "–"
    if result.form.startswith("onnx, for cpu") and "onnx" in forms:
        portable = forms["onnx"].operations
        others = sum(count for kind, count in portable.items() if kind not in _ACTIVATIONS)
        return f"{(sum(result.operations.values()) - others) / result.sites:.2g} a site"
    caps = {"ReLU"} if result.form == "keras" and result.capped else set()
    return ", ".join(
        f"{count} {kind}"
        for kind, count in result.operations.items()
        if kind in _ACTIVATIONS | caps
    )


def executed(results: Sequence[ExecutedGraph]) -> str:
    """Return the table of what runtimes execute, with ReLUs and with PReLUs."""
    rows = [
        [
            result.network,
            result.form,
            f"{sum(result.original.values())} → {sum(result.prelu.values())}",
            _changes(result.original, result.prelu),
        ]
        for result in results
    ]
    return table(["network", "format", "operations", "of which change"], rows, left=(0, 1, 3))


def _changes(before: Mapping[str, int], after: Mapping[str, int]) -> str:
    kinds = [kind for kind in {**before, **after} if before.get(kind, 0) != after.get(kind, 0)]
    return ", ".join(f"{kind} {before.get(kind, 0)} → {after.get(kind, 0)}" for kind in kinds)


_PROMISED = 0.3
"""Points that the profile may cost after the fine-tuning."""

_AFTER = f"""After the fine-tuning. Difference: of the profile from a slope a channel, paired by seed,
mean ± standard error, and the 95 % interval of the mean (Student's t over seeds; the test samples
are the same for all). The aim is that it costs at most {_PROMISED:g} points: "yes" and "no" where
the whole interval is on that side, and else "open"."""


def profile(results: Sequence[TunedForm]) -> str:
    """Return the tables of networks with the profile and without, before fine-tuning and after."""
    pairs = [pair for pair in _profile_pairs(results) if pair[2] and pair[3]]
    tables = [_converted(pairs), paragraph(_AFTER), _fine_tuned(pairs, results)]
    return join([*tables, paragraph(_not_measured(results))])


_Pair = tuple[str, str, list[TunedForm], list[TunedForm]]
"""Network, start, and the results of both forms with the same seeds."""


def _profile_pairs(results: Sequence[TunedForm]) -> list[_Pair]:
    named = [result for result in results if result.slopes != CONTROL]
    pairs = []
    for network, start in dict.fromkeys((result.network, result.start) for result in named):
        channel_wise, profiled = (
            {r.seed: r for r in _of(named, network, slopes) if r.start == start}
            for slopes in (CHANNEL_WISE, PROFILE)
        )
        seeds = sorted(channel_wise.keys() & profiled.keys())
        pairs.append(
            (network, start, [channel_wise[n] for n in seeds], [profiled[n] for n in seeds])
        )
    return pairs


def _of(results: Iterable[TunedForm], network: str, slopes: str) -> list[TunedForm]:
    return [result for result in results if (result.network, result.slopes) == (network, slopes)]


def _converted(pairs: Sequence[_Pair]) -> str:
    header = ["network", "judged by", "samples", "as it came", "slopes start at", "caps removed"]
    header += ["a slope a channel", "profile", "error", "error, profile"]
    rows = [
        [
            network,
            profiled[0].metric,
            f"{profiled[0].tested:,}",
            f"{profiled[0].incoming:.2f}",
            start,
            _removed(profiled),
            *(spread([r.before for r in group], "{:.2f}".format) for group in (channel, profiled)),
            *(f"{np.mean([r.error for r in group]):.2g}" for group in (channel, profiled)),
        ]
        for network, start, channel, profiled in pairs
    ]
    return table(header, rows, left=(0, 1, 4, 5))


def _removed(results: Sequence[TunedForm]) -> str:
    """Return how many caps were removed, with each seed where they differ."""
    counts = ", ".join(f"{count}" for count in sorted({result.removed for result in results}))
    return f"{counts} of {results[0].caps}" if results[0].caps else "no caps"


def _not_measured(results: Sequence[TunedForm]) -> str:
    """Return a sentence on the networks without results, or "" where there are none."""
    measured = {result.network for result in results}
    names = [p.network.name for p in NETWORKS if p.network.name not in measured]
    return f"Not measured yet: {'; '.join(names)}." if names else ""


def _fine_tuned(pairs: Sequence[_Pair], results: Sequence[TunedForm]) -> str:
    header = ["network", "slopes start at", "seeds", "ReLU control", "a slope a channel", "profile"]
    header += ["difference", "95 % interval", f"costs at most {_PROMISED:g}"]
    rows = []
    for network, start, channel, profiled in pairs:
        differences = np.array([a.after - b.after for a, b in zip(profiled, channel, strict=True)])
        groups = (_of(results, network, CONTROL), channel, profiled)
        rows.append(
            [
                network,
                start,
                str(len(differences)),
                *(spread([r.after for r in group], "{:.2f}".format) for group in groups),
                *_difference(differences),
            ]
        )
    return table(header, rows, left=(0, 1, 8))


def _difference(differences: np.ndarray) -> list[str]:
    mean = f"{differences.mean():+.2f}"
    if len(differences) < 2:
        return [mean, "–", "open"]
    low, high = interval(differences)
    verdict = "yes" if low >= -_PROMISED else "**no**" if high < -_PROMISED else "open"
    return [f"{mean} ± {standard_error(differences):.2f}", f"{low:+.2f} to {high:+.2f}", verdict]


def int8(results: Sequence[Int8]) -> str:
    """Return the table of int8 files by network and activation."""
    patterns = {"width": "{:.2f}", "floating": "{:.2f}", "int8": "{:.2f}", "error": "{:.2g}"}
    header = ["network", "judged by", "activations", "range", "float32", "int8", "error"]
    rows = []
    for network, form in dict.fromkeys((result.network, result.form) for result in results):
        group = [result for result in results if (result.network, result.form) == (network, form)]
        rows.append([network, group[0].metric, form, *_spreads(group, patterns)])
    return table(header, rows, left=(0, 1, 2))


def per_tensor(results: Sequence[PerTensorInt8]) -> str:
    """Return the table of per-tensor int8 files by network."""
    patterns = dict.fromkeys(("floating", "int8", "equalized"), "{:.1f}")
    rows = []
    for task in dict.fromkeys(result.task for result in results):
        group = [result for result in results if result.task == task]
        rows.append([task, *_spreads(group, patterns)])
    return table(["network", "float32", "int8", "int8 after `kp.equalize`"], rows)


def _spreads(results: Sequence[object], patterns: Mapping[str, str]) -> list[str]:
    formats: dict[str, Callable[[float], str]] = {
        name: pattern.format for name, pattern in patterns.items()
    }
    return [
        spread([getattr(result, name) for result in results], pattern)
        for name, pattern in formats.items()
    ]


REPORT = Report(
    tool="deployment",
    title="What exported networks compute and cost",
    introduction="",
    kinds=(ExportedNetwork, ExecutedGraph, TunedForm, Int8, PerTensorInt8),
    sections={
        "matrix": Section(
            title="Networks in every format",
            text=f"""The networks of `keras.applications` that apply ReLU, except the four largest,
            for images of {SIZE} × {SIZE} pixels, with random weights and a slope for each channel
            between {SLOPES[0]:g} and {SLOPES[1]:g}, as logits; "profile": one slope for each layer,
            and no caps. Difference: the largest from Keras, over the largest output, on 8 images.
            Time: processor time of one image on one thread (a SavedModel's on all; OpenVINO with a
            fixed batch of one), over that of the original network in the same format, which has
            ReLUs, capped or not: both in turn, median of the ratio and its quartiles. Size: of the
            files, over the same. "for cpu": `optimize_for="cpu"`; "frozen": `frozen=True`.""",
            tables=matrix,
        ),
        "executed": Section(
            title="What runtimes execute",
            text="""Operations of the graph that a runtime executes after its own optimizations, with
            ReLUs → with PReLUs: the model that onnxruntime writes as optimized, OpenVINO's runtime
            model for a batch of one, and the partition graphs of a TensorFlow session. What is fused
            into an operation stands in brackets. TensorFlow Lite executes the operations of its
            file, which the first table lists.""",
            tables=executed,
        ),
        "profile": Section(
            title="What the profile costs in the networks' own metric",
            text=f"""Networks that were really trained (`tools.fidelity`, part `real`), converted with
            a slope a channel and with `profile="deployment"`: by default (slopes of 0, exact; those
            of the profile start at 0.001) and at 0.25, calibrated on {EFFORT.samples} samples. Both
            are then fine-tuned by `kp.finetune` on the network's own labels, {EFFORT.tuned_on:,}
            samples for {EFFORT.epochs} epochs with Adam from {EFFORT.learning_rate:g}, like the ReLU
            control; each seed draws its samples, which are the same for all forms. The networks are
            trained to their end, so this costs all of them something: the rate was chosen by the
            control, which at the default of 0.001 lost 0.8 points (plain) and here 0.3. Values on
            new samples, mean ± standard deviation over seeds. Error: mean squared change of the outputs
            by the conversion over their variance.""",
            tables=profile,
        ),
        "int8": Section(
            title="What PReLU does to int8",
            text=f"""int8 TensorFlow Lite files of networks that were really trained
            (`tools.fidelity`, part `real`): as they came, and with slopes of 0.1 and 0.25, calibrated
            on {quantized.EFFORT.samples} samples, of which {quantized.REPRESENTATIVE} give the
            ranges. "Equalized": `kp.equalize` after it. "Profile": `profile="deployment"`. Values on
            new samples; mean ± standard deviation over {quantized.EFFORT.seeds} draws of the samples.
            Error: mean squared difference from float32 over the outputs' variance. Range: of the
            activations' outputs, which int8 divides into 255 steps, over the ReLU network's; the
            negative side widens it.""",
            tables=int8,
        ),
        "per-tensor": Section(
            title="Per-tensor int8 and `kp.equalize`",
            text="""Accuracy in percent of per-tensor int8 files in TensorFlow Lite's interpreter,
            whose channels were scaled by 0.1 to 10 without changing what they compute; PReLU as
            TensorFlow Lite's own operation; mean ± standard deviation over seeds.""",
            tables=per_tensor,
        ),
    },
)
