"""The section of transfers in RESULTS.md."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from tools.common.markdown import join, paragraph, table
from tools.common.statistics import interval, spread, standard_error
from tools.study.transfer.measure import Transfer, best_control
from tools.study.transfer.methods import CONTROLS, FIRST_RATE, HEAD_ONLY, RATES, REVIVED_CONTROL

__all__ = ["gains", "transfer"]

_AUTO = "auto"


def transfer(results: Sequence[Transfer]) -> str:
    """Return the tables: accuracy of the controls, gains over the best-tuned one, and "auto"."""
    groups: dict[str, list[Transfer]] = {}
    for result in results:
        groups.setdefault(result.setting, []).append(result)
    names = _methods(results)
    header = ["transfer", "seeds", HEAD_ONLY, "ReLU, best rate", *names]
    return join(
        [
            table(header, [_row(name, group, names) for name, group in groups.items()]),
            _over_settings(groups, names),
            _auto(groups),
            _rates(groups),
        ]
    )


def gains(results: Sequence[Transfer], method: str) -> np.ndarray:
    """Return by how many points a method is more accurate than the control at its best rate, for
    each seed that has both.

    Args:
        results: Those of one setting.
        method: Name of a method.
    """
    found = []
    for seed in sorted({result.seed for result in results}):
        own = [result for result in results if result.seed == seed]
        control = best_control(own)
        reached = [result.accuracy for result in own if result.method == method]
        if control is not None and reached:
            found.append(reached[0] - control.accuracy)
    return np.array(found)


def _methods(results: Sequence[Transfer]) -> list[str]:
    """Return the names of what was measured beside the controls, in the order of measurement."""
    controls = {HEAD_ONLY, *(control.name for control in CONTROLS.values())}
    names = dict.fromkeys(result.method for result in results)
    return [name for name in names if name not in controls]


def _row(name: str, group: Sequence[Transfer], names: Sequence[str]) -> list[str]:
    head = [result.accuracy for result in group if result.method == HEAD_ONLY]
    return [
        name,
        str(len(_controls(group))),
        spread(head, "{:.1f}".format),
        spread([control.accuracy for control in _controls(group)], "{:.1f}".format),
        *(_cell(gains(group, method)) for method in names),
    ]


def _controls(group: Sequence[Transfer]) -> list[Transfer]:
    """Return the best control of each seed."""
    seeds = sorted({result.seed for result in group})
    found = (best_control([r for r in group if r.seed == seed]) for seed in seeds)
    return [control for control in found if control is not None]


def _cell(values: np.ndarray) -> str:
    if len(values) < 2:
        return f"{values[0]:+.1f}" if len(values) else "–"
    low, high = interval(values)
    text = f"{values.mean():+.1f} ± {standard_error(values):.1f}"
    return f"**{text}**" if low > 0 or high < 0 else text


def _over_settings(groups: dict[str, list[Transfer]], names: Sequence[str]) -> str:
    rows = []
    for method in names:
        values = [found for group in groups.values() if len(found := gains(group, method))]
        intervals = [interval(found) for found in values]
        of = f" of {len(values)}"
        means = [found.mean() for found in values]
        rows.append(
            [
                method,
                f"{np.mean(means):+.2f}" if means else "–",
                f"{min(means):+.1f}" if means else "–",
                str(sum(low > 0 for low, _ in intervals)) + of,
                str(sum(high < 0 for _, high in intervals)) + of,
                str(
                    sum(
                        r.diverged for group in groups.values() for r in group if r.method == method
                    )
                ),
            ]
        )
    text = """The same over the settings in which a method was measured: mean gain, the lowest one,
    in how many settings the method is significantly better and worse than the control, and how many
    of its trainings diverged and were replaced."""
    header = ["method", "mean", "lowest", "better", "worse", "diverged"]
    return join([paragraph(text), table(header, rows)])


def _auto(groups: dict[str, list[Transfer]]) -> str:
    """Return the comparison of "auto" with the best-tuned control, and with it revived."""
    rows, better, worse, compared = [], 0, 0, 0
    for name, group in groups.items():
        values = gains(group, _AUTO)
        if not len(values):
            continue
        low, high = interval(values)
        better, worse, compared = better + (low > 0), worse + (high < 0), compared + 1
        chosen = Counter(_choice(r) for r in group if r.method == _AUTO).most_common()
        others = [method for method in _methods(group) if method != _AUTO]
        best = max(others, key=lambda method: gains(group, method).mean(), default="")
        rows.append(
            [
                name,
                str(len(values)),
                f"{values.mean():+.2f}{_between(low, high)}",
                _against_revived(group),
                ", ".join(f"{choice} {count}" for choice, count in chosen),
                f"{best} ({gains(group, best).mean():+.2f})" if best else "–",
            ]
        )
    text = f""""auto" against the control at its best rate, in points of accuracy with the 95 %
    interval (Student's t over seeds), and against that control revived; what it chose, and which
    other method had the highest mean gain, found by looking at the test samples. It is better than
    the control in {better} and worse in {worse} of {compared} settings; a single seed has no
    interval."""
    header = ["transfer", "seeds", "gain", "against it revived", "chose", "best other method"]
    return join([paragraph(text), table(header, rows, left=(0, 4, 5))])


def _against_revived(group: Sequence[Transfer]) -> str:
    revived = {r.seed: r.accuracy for r in group if r.method == REVIVED_CONTROL}
    auto = {r.seed: r.accuracy for r in group if r.method == _AUTO}
    values = np.array([auto[seed] - revived[seed] for seed in sorted(auto.keys() & revived.keys())])
    if not len(values):
        return "–"
    return f"{values.mean():+.2f}{_between(*interval(values))}"


def _choice(result: Transfer) -> str:
    return f"{result.choice} ×{result.multiplier:g}" if result.multiplier else result.choice


def _between(low: float, high: float) -> str:
    """Return an interval; nothing for a single seed."""
    return f" [{low:+.2f}, {high:+.2f}]" if np.isfinite(low) else ""


def _rates(groups: dict[str, list[Transfer]]) -> str:
    """Return the accuracy of the control at each rate, and how often each was the best."""
    rows = []
    for name, group in groups.items():
        best = Counter(control.rate for control in _controls(group))
        cells = []
        for rate, control in CONTROLS.items():
            accuracies = [r.accuracy for r in group if r.method == control.name]
            chosen = f" ({best[rate]})" if accuracies else ""
            cells.append(spread(accuracies, "{:.1f}".format) + chosen)
        rows.append([name, *cells])
    text = f"""The control at each rate: accuracy in percent, mean ± standard deviation over seeds,
    and in how many seeds the held-out samples chose it. The search starts at {FIRST_RATE:g} and
    ends where both neighbours of the best rate are worse, so not every rate has every seed."""
    return join([paragraph(text), table(["transfer", *(f"{rate:g}" for rate in RATES)], rows)])
