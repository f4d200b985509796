"""Tables of the real networks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tools.common.markdown import join, paragraph, table
from tools.common.statistics import short, spread
from tools.fidelity.effort import SAMPLES
from tools.fidelity.real.measure import Kept, RealModel
from tools.fidelity.real.networks import NETWORKS
from tools.fidelity.real.settings import EXPORTED, RECIPES, SETTINGS
from tools.fidelity.real.tuning import Tuned

__all__ = ["real_networks"]

_CONVERTED = """Each converted in every way. "default": without samples and options, saved and
loaded, one run; all others calibrated on as many samples as the table says, mean ± standard
deviation over seeds, or one seed without a deviation. Change: of what the network is judged by, in points or dB. CPU seconds are of
all cores together; passes are the same as a multiple of one `predict` over the samples. GB: most
memory over what the process took after a prediction."""
_BY_SAMPLES = f"Error of the network calibrated at {EXPORTED} by the number of samples:"
_EXPORTED = f"""Largest difference of the exported forms from the network that was calibrated at
{EXPORTED}, relative to the largest output:"""
_PROMISED = "What is aimed at, and the network that is furthest from it:"
_TUNED = """Fine-tuned on labels, judged on samples that no training has seen: accuracy in percent,
or the loss of the upscaler. "Keep" is what the verdict says to keep, by the number of seeds."""


def real_networks(results: Sequence[Any]) -> str:
    """Return all tables of the part."""
    models = [result for result in results if isinstance(result, RealModel)]
    kept = [result for result in results if isinstance(result, Kept)]
    tuned = [result for result in results if isinstance(result, Tuned)]
    blocks = [_models(models), paragraph(_CONVERTED), _conversions(kept)]
    for text, rows in ((_BY_SAMPLES, _by_samples(kept)), (_EXPORTED, _exports(kept))):
        blocks += [paragraph(text), rows] if rows else []
    blocks += [paragraph(_PROMISED), _promises(kept), paragraph(_missing(results))]
    if tuned:
        blocks += [paragraph(_TUNED), _tuned(tuned)]
    return join(blocks)


def _missing(results: Sequence[Any]) -> str:
    """Return a sentence on what was not measured, or "" where everything was."""
    measured = {(r.network, r.setting) for r in results if isinstance(r, Kept)}
    measured |= {(r.network, f"{r.recipe} fine-tuning") for r in results if isinstance(r, Tuned)}
    lacks = []
    for network in NETWORKS:
        names = [setting.name for setting in SETTINGS]
        names += [f"{recipe} fine-tuning" for recipe in (RECIPES if network.loss else ())]
        missing = [name for name in names if (network.name, name) not in measured]
        lacks += [f"{network.name}: {', '.join(missing)}"] if missing else []
    return f"Not measured yet: {'; '.join(lacks)}." if lacks else ""


def _models(results: Iterable[RealModel]) -> str:
    header = ["network", "kind", "weights", "sites", "same as", "difference", "judged by", "value"]
    rows = [
        [
            model.network,
            model.kind,
            f"{model.weights:,}",
            str(model.sites),
            model.original or "trained for this",
            _or_dash(model.difference, "{:.2g}".format),
            model.metric or "–",
            _or_dash(model.value, "{:.2f}".format),
        ]
        for model in results
    ]
    return table(header, rows, left=(0, 1, 4, 6))


def _conversions(results: Sequence[Kept]) -> str:
    """Return the table of each network and setting."""
    header = ["network", "setting", "samples", "slope", "largest difference", "error"]
    header += ["same class, %", "change", "CPU s", "passes", "GB"]
    rows = []
    for name in dict.fromkeys(result.network for result in results):
        for setting in SETTINGS:
            group = _of(results, name, setting.name)
            if group:
                rows.append([name, setting.name, *_conversion(group)])
    return table(header, rows, left=(0, 1))


def _of(results: Iterable[Kept], network: str, setting: str) -> list[Kept]:
    """Return the results of one setting with the usual number of samples, or with the largest."""
    group = [r for r in results if (r.network, r.setting) == (network, setting)]
    counts = [result.samples for result in group]
    usual = SAMPLES if SAMPLES in counts else max(counts, default=0)
    return [result for result in group if result.samples == usual]


def _conversion(group: Sequence[Kept]) -> list[str]:
    samples = str(group[0].samples or "–")
    done = [result for result in group if not result.failure]
    if not done:
        return [samples, *["–"] * 3, f"**{group[0].failure}**", *["–"] * 4]
    return [
        samples,
        _spread([result.slope for result in done], short),
        _spread([result.difference for result in done], short),
        _spread([result.error for result in done], short),
        _spread([result.agreement for result in done], "{:.1f}".format),
        _spread([result.change for result in done], "{:+.2f}".format),
        _spread([result.seconds for result in done], "{:.1f}".format),
        _spread([result.passes for result in done], "{:.1f}".format),
        _or_dash(
            max((_gigabytes(result.peak) for result in done if result.peak), default=None),
            "{:.1f}".format,
        ),
    ]


def _by_samples(results: Iterable[Kept]) -> str:
    exported = [r for r in results if r.setting == EXPORTED and not r.failure]
    counts = sorted({result.samples for result in exported})
    if len(counts) < 2:
        return ""
    rows = []
    for name in dict.fromkeys(result.network for result in exported):
        errors = [
            [r.error for r in exported if (r.network, r.samples) == (name, count)]
            for count in counts
        ]
        rows.append([name, *(_spread(values, short) for values in errors)])
    return table(["network", *(f"{count:,}" for count in counts)], rows)


def _exports(results: Iterable[Kept]) -> str:
    exported = [result for result in results if result.exports]
    forms = list(dict.fromkeys(form for result in exported for form in result.exports))
    rows = [
        [result.network, *(_cell(result.exports.get(form)) for form in forms)]
        for result in exported
    ]
    return table(["network", *forms], rows) if rows else ""


def _cell(value: float | str | None) -> str:
    if isinstance(value, str):
        return f"**{value}**"
    return "–" if value is None else f"{value:.1g}"


def _tuned(results: Sequence[Tuned]) -> str:
    header = ["network", "recipe", "chosen", "before", "ReLU control", "after", "keep", "CPU s"]
    rows = []
    for network, recipe in dict.fromkeys((r.network, r.recipe) for r in results):
        group = [r for r in results if (r.network, r.recipe) == (network, recipe)]
        pattern = "{:.2f}".format
        rows.append(
            [
                network,
                recipe,
                ", ".join(dict.fromkeys(result.chosen for result in group)),
                *(
                    _spread([getattr(result, field) for result in group], pattern)
                    for field in ("before", "control", "after")
                ),
                _counted([result.best for result in group]),
                _spread([result.seconds for result in group], "{:.0f}".format),
            ]
        )
    return table(header, rows, left=(0, 1, 2, 6))


@dataclass(frozen=True)
class _Promise:
    """What a setting should not exceed, on any network.

    Attributes:
        text: What it is.
        setting: Name of the setting.
        value: Returns what is limited; None where a result has none.
        limit: The largest value that is as promised.
    """

    text: str
    setting: str
    value: Callable[[Kept], float | None]
    limit: float


def _points(result: Kept) -> float | None:
    """Return by how much what a network is judged by changed, whichever way."""
    return None if result.change is None else abs(result.change)


_PROMISES = (
    _Promise("default: largest difference of outputs", "default", lambda r: r.difference, 0.0),
    _Promise(f"{EXPORTED}: change of what it is judged by", EXPORTED, _points, 0.3),
    _Promise(f"{EXPORTED}: passes of `predict`", EXPORTED, lambda r: r.passes, 15.0),
    _Promise(f"{EXPORTED}: GB of memory", EXPORTED, lambda r: _gigabytes(r.peak), 4.4),
)


def _promises(results: Sequence[Kept]) -> str:
    """Return a row for each promise: its limit, and the network with the largest mean."""
    rows = []
    for promise in _PROMISES:
        means = {}
        for name in dict.fromkeys(result.network for result in results):
            group = _of(results, name, promise.setting)
            values = [value for result in group if (value := promise.value(result)) is not None]
            if values:
                means[name] = float(np.mean(values))
        if means:
            worst = max(means, key=lambda name: means[name])
            is_kept = "yes" if means[worst] <= promise.limit else "**no**"
            rows.append([promise.text, f"{promise.limit:g}", worst, short(means[worst]), is_kept])
    return table(["promise", "at most", "network", "measured", "kept"], rows, left=(0, 2, 4))


def _gigabytes(number: float | None) -> float | None:
    return None if number is None else number / 1e9


def _counted(names: Sequence[str]) -> str:
    return ", ".join(f"{names.count(name)} × {name}" for name in dict.fromkeys(names))


def _spread(values: Iterable[float | None], pattern: Callable[[float], str]) -> str:
    return spread([value for value in values if value is not None], pattern)


def _or_dash(value: float | None, pattern: Callable[[float], str]) -> str:
    return "–" if value is None else pattern(value)
