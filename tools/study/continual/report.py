"""The section of networks that go on learning in RESULTS.md."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from tools.common.markdown import join, paragraph, table
from tools.common.statistics import interval, standard_error
from tools.study.continual.measure import Continual
from tools.study.continual.methods import AUTO, AUTO_REVIVED, FRESH, GOING_ON, REDO, REVIVED

__all__ = ["continual", "log_ratios"]

Case = tuple[str, int]
"""A setting, and after how many tasks the change was made."""


def continual(results: Sequence[Continual]) -> str:
    """Return the tables: error of ReLU going on and ratios to it; means over settings; "auto"."""
    cases = [*dict.fromkeys((result.setting, result.learned) for result in results)]
    names = _methods(results)
    header = ["stream, network, optimizer", "tasks before", "seeds", GOING_ON, *names]
    rows = [_row(results, case, names) for case in cases]
    summary = [_summary_row(results, cases, name) for name in names]
    return join(
        [
            table(header, rows),
            paragraph(
                f"""The same over the settings in which a method was measured: geometric mean of the
                ratios, the largest one, in how many settings the error is significantly lower and
                higher than that of {GOING_ON} (a single seed has no interval), and how many
                trainings ended with infinite or NaN outputs, which are in no mean."""
            ),
            table(["method", "mean", "largest", "lower", "higher", "diverged"], summary),
            *_in_hindsight(results, cases, names),
            *_against_controls(results, cases, AUTO),
            *_against_controls(results, cases, AUTO_REVIVED),
        ]
    )


def log_ratios(
    results: Iterable[Continual], case: Case, method: str, against: str = GOING_ON
) -> np.ndarray:
    """Return the logarithms of the ratio of mean errors, for each seed with two finite ones."""
    errors: dict[str, dict[int, float]] = {method: {}, against: {}}
    for result in results:
        if (result.setting, result.learned) == case and result.method in errors:
            # Half a wrong sample in a hundred thousand stands for none.
            errors[result.method][result.seed] = max(result.mean, 5e-6)
    pairs = [
        (error, errors[against][seed])
        for seed, error in sorted(errors[method].items())
        if seed in errors[against]
    ]
    return np.array([math.log(a / b) for a, b in pairs if math.isfinite(a) and math.isfinite(b)])


def _methods(results: Iterable[Continual]) -> list[str]:
    """Return the names of all methods but going on, in the order in which they were measured."""
    return [name for name in dict.fromkeys(result.method for result in results) if name != GOING_ON]


def _row(results: Sequence[Continual], case: Case, names: Sequence[str]) -> list[str]:
    group = [result for result in results if (result.setting, result.learned) == case]
    control = [result.mean for result in group if result.method == GOING_ON]
    percent = "" if case[0].startswith("regression") else " %"
    scale = 100.0 if percent else 1.0
    return [
        case[0],
        str(case[1]),
        _seeds(group),
        f"{scale * float(np.mean(control)):.3g}{percent}" if control else "–",
        *(_cell(group, case, name) for name in names),
    ]


def _seeds(group: Sequence[Continual]) -> str:
    """Return the number of seeds; if methods have different ones, the least and the largest."""
    counts = Counter(result.method for result in group).values()
    return "–".join(str(count) for count in sorted({min(counts), max(counts)}))


def _cell(group: Sequence[Continual], case: Case, method: str) -> str:
    values = log_ratios(group, case, method)
    diverged = sum(result.diverged for result in group if result.method == method)
    if diverged:
        return f"diverged {diverged} of {diverged + len(values)}"
    if not len(values):
        return "–"
    ratio = f"{math.exp(values.mean()):.2f}"
    if len(values) < 2:
        return ratio
    low, high = interval(values)
    text = f"{ratio} ± {math.exp(values.mean()) * standard_error(values):.2f}"
    return f"**{text}**" if low > 0 or high < 0 else text


def _summary_row(results: Sequence[Continual], cases: Sequence[Case], method: str) -> list[str]:
    ratios = {case: log_ratios(results, case, method) for case in cases}
    ratios = {case: values for case, values in ratios.items() if len(values)}
    means = [values.mean() for values in ratios.values()]
    intervals = [interval(values) for values in ratios.values()]
    of = f" of {len(ratios)}"
    return [
        method,
        f"{math.exp(np.mean(means)):.2f}" if means else "–",
        f"{math.exp(max(means)):.2f}" if means else "–",
        str(sum(high < 0 for _, high in intervals)) + of,
        str(sum(low > 0 for low, _ in intervals)) + of,
        str(sum(result.diverged for result in results if result.method == method)),
    ]


def _in_hindsight(
    results: Sequence[Continual], cases: Sequence[Case], names: Sequence[str]
) -> list[str]:
    """Return the mean of the best method of each setting that goes on from the trained network."""
    going_on = [name for name in names if name not in (AUTO, *FRESH)]
    means = [
        min((_mean_log(results, case, name) for name in going_on), default=math.inf)
        for case in cases
    ]
    known = [mean for mean in means if math.isfinite(mean)]
    if not known:
        return []
    text = f"""The best method of each setting, chosen by its test errors among those that go on from
    the trained network, has a mean of {math.exp(np.mean(known)):.2f}, the least that a choice by
    setting can reach."""
    return [paragraph(text)]


def _mean_log(results: Sequence[Continual], case: Case, method: str) -> float:
    """Return the mean logarithm of a method's ratio; infinite where it is missing or diverged."""
    values = log_ratios(results, case, method)
    found = [r for r in results if (r.setting, r.learned, r.method) == (*case, method)]
    is_known = len(values) > 0 and not any(result.diverged for result in found)
    return float(values.mean()) if is_known else math.inf


def _against_controls(
    results: Sequence[Continual], cases: Sequence[Case], method: str
) -> list[str]:
    """Return the comparison of a method with the best of the ReLU controls."""
    rows, better, worse = [], 0, 0
    for case in cases:
        group = [result for result in results if (result.setting, result.learned) == case]
        controls = {name: _mean(group, name) for name in (GOING_ON, REVIVED, REDO)}
        best = min(controls, key=lambda name: controls[name])
        values = log_ratios(group, case, method, best)
        if not len(values):
            continue
        low, high = interval(values)
        better, worse = better + (high < 0), worse + (low > 0)
        chosen = Counter(result.choice for result in group if result.method == method).most_common()
        others = [name for name in dict.fromkeys(r.method for r in group) if name != method]
        nearest = min(others, key=lambda name: _mean(group, name))
        rows.append(
            [
                case[0],
                str(case[1]),
                best,
                f"{math.exp(values.mean()):.2f}{_between(low, high)}",
                ", ".join(f"{name} {count}" for name, count in chosen),
                f"{nearest} ({_mean(group, nearest) / _mean(group, method):.2f})",
            ]
        )
    if not rows:
        return []
    text = f""""{method}" against the best ReLU control of each setting: ratio of the errors with its
    95 % interval, what it chose, and the best of all other methods with its error over that of
    "{method}". It is better than the best control in {better} and worse in {worse} of {len(rows)}
    settings; a single seed has no interval."""
    header = ["setting", "tasks before", "best control", "ratio", "chose", "best other method"]
    return [paragraph(text), table(header, rows, left=(0, 2, 4, 5))]


def _between(low: float, high: float) -> str:
    """Return an interval of logarithms as that of ratios; nothing for a single seed."""
    return f" [{math.exp(low):.2f}, {math.exp(high):.2f}]" if math.isfinite(low) else ""


def _mean(group: Sequence[Continual], method: str) -> float:
    """Return the mean error of a method over seeds; infinite where it diverged or is missing."""
    means = [result.mean for result in group if result.method == method]
    return float(np.mean(means)) if means else math.inf
