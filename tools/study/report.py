"""RESULTS.md of the study: changes of the error against the fine-tuned ReLU control, paired by
seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from keras_prelu.training.controls import CONTROLS
from keras_prelu.training.recipes import CONTROL, RECIPES, get_recipe
from tools.common.markdown import join, paragraph, table
from tools.common.statistics import interval, spread, standard_error
from tools.common.storage import Report, Section
from tools.study.continual.measure import Continual
from tools.study.continual.report import continual
from tools.study.intervals import Simulated
from tools.study.measure import CONTROLLED, Result
from tools.study.rates import RATES, Rate
from tools.study.transfer.measure import Transfer
from tools.study.transfer.part import TRANSFER
from tools.study.transfer.report import transfer

FIXED_SLOPES = "fixed-slopes"
REVIVED_CONTROL = get_recipe("relu-revived").name


def study(results: Sequence[Result]) -> str:
    """Return the table of recipes, a summary, and the table of further controls."""
    by_task: dict[str, list[Result]] = {}
    for result in results:
        by_task.setdefault(result.task, []).append(result)
    names = _names(results)
    header = ["task", "seeds", "dead units", "error of the control", *names, "auto chose"]
    rows = [_row(task, group, names) for task, group in by_task.items()]
    controlled = [result for result in results if result.controls]
    return join(
        [
            table(header, rows, left=(0, len(header) - 1)),
            _summary(by_task),
            _controls(controlled) if controlled else "",
        ]
    )


def _names(results: Sequence[Result]) -> list[str]:
    """Return the names of what was measured beside the control, in the order of the recipes.

    Stored results may have recipes of earlier versions; they come last, before "auto".
    """
    measured = dict.fromkeys(name for result in results for name in result.errors)
    known = [recipe.name for recipe in RECIPES if recipe.name in measured]
    former = [name for name in measured if name not in (*known, "auto")]
    return [name for name in (*known, *former, "auto") if name != CONTROL.name]


def _row(task: str, results: Sequence[Result], names: Sequence[str]) -> list[str]:
    control = np.array([result.errors[CONTROL.name] for result in results])
    unit = " %" if control.mean() > 0.5 and "regression" not in task else ""
    chosen = Counter(result.chosen for result in results).most_common()
    return [
        task,
        str(len(results)),
        f"{np.mean([result.dead for result in results]):.1f} of {results[0].units}",
        f"{control.mean():.3g}{unit}",
        *(_cell(change(results, recipe)) for recipe in names),
        ", ".join(f"{name} {count}" for name, count in chosen),
    ]


def _controls(results: Sequence[Result]) -> str:
    rows = []
    for task in dict.fromkeys(result.task for result in results):
        group = [replace(r, errors=r.controls) for r in results if r.task == task]
        cells = [_cell(change(group, name)) for name in (CONTROLLED, *CONTROLS)]
        learned = _cell(change(group, CONTROLLED, FIXED_SLOPES), digits=1)
        rows.append([task, str(len(group)), *cells, learned])
    text = f"""What "{CONTROLLED}" gains by: the same change where its slopes do not learn, and
    where the whole network starts from fresh weights (`PReLUHeNormal`) with the budget of the
    fine-tuning; paired by seed, all four trained in a run of their own. The last column is
    {CONTROLLED} against {FIXED_SLOPES}: what learning the slopes adds, in percent of that
    control."""
    header = ["task", "seeds", CONTROLLED, *CONTROLS, "slopes learn"]
    return join([paragraph(text), table(header, rows)])


def change(results: Sequence[Result], recipe: str, against: str = CONTROL.name) -> np.ndarray:
    """Return the change of the error by seed, in percent of the mean error that it is compared
    with, for results that have both."""
    both = [result for result in results if {recipe, against} <= set(result.errors)]
    base = np.mean([result.errors[against] for result in both]) if both else 1.0
    return np.array([100.0 * (r.errors[recipe] - r.errors[against]) / (base or 1.0) for r in both])


def _cell(values: np.ndarray, digits: int = 0) -> str:
    if len(values) < 2:
        return f"{values[0]:+.{digits}f}" if len(values) else "–"
    low, high = interval(values)
    text = f"{values.mean():+.{digits}f} ± {standard_error(values):.{digits}f}"
    return f"**{text}**" if low > 0 or high < 0 else text


def _summary(by_task: dict[str, list[Result]]) -> str:
    def count(condition: Callable[[np.ndarray], bool], against: str = CONTROL.name) -> str:
        changes = {task: change(group, "auto", against) for task, group in by_task.items()}
        names = [task for task, values in changes.items() if len(values) and condition(values)]
        listed = f" ({'; '.join(names)})" if names else ""
        return f"{len(names)} of {len(by_task)} tasks{listed}"

    better = count(lambda values: interval(values)[1] < 0)
    worse = count(lambda values: interval(values)[0] > 0)
    higher = count(lambda values: values.mean() > 1.0)
    revived = count(lambda values: interval(values)[1] < 0, REVIVED_CONTROL)
    return paragraph(
        f""""auto" is better than the control with an interval off zero on {better}, worse on
        {worse}. Its mean error is more than 1 % above the control's on {higher}. It beats the revived
        control with an interval off zero on {revived}."""
    )


def rates(results: Sequence[Rate]) -> str:
    """Return the table of changes by learning rate."""
    header = ["task", "network", "before", *(f"{rate:g}" for rate in RATES)]
    rows = []
    for task in dict.fromkeys(result.task for result in results):
        group = [result for result in results if result.task == task]
        for name in ("relu", "identity"):
            for kind in ("errors", "losses"):
                before = np.mean([getattr(result, kind)["incoming"] for result in group])
                what = "error" if kind == "errors" else "loss"
                cells = [_change_at(group, rate, kind, name) for rate in RATES]
                rows.append([task, f"{name}, {what}", f"{before:.3g}", *cells])
    return join([table(header, rows, left=(0, 1)), _largest_regrets(results)])


def _largest_regrets(results: Sequence[Rate]) -> str:
    """Return by how much each rate is behind the best one, where it is furthest behind."""
    regrets: dict[float, list[float]] = {rate: [] for rate in RATES}
    for task in dict.fromkeys(result.task for result in results):
        for name in ("relu", "identity"):
            means = {
                rate: float(
                    np.mean([r.errors[name] for r in results if (r.task, r.rate) == (task, rate)])
                )
                for rate in RATES
            }
            for rate, mean in means.items():
                regrets[rate].append(mean - min(means.values()))
    listed = ", ".join(f"{max(values):.2f} at {rate:g}" for rate, values in regrets.items())
    return paragraph(
        f"""The largest mean error above that of the best rate for the same task and network, in
        points: {listed}."""
    )


def _change_at(results: Sequence[Rate], rate: float, kind: str, name: str) -> str:
    changes = [
        getattr(result, kind)[name] - getattr(result, kind)["incoming"]
        for result in results
        if result.rate == rate
    ]
    return spread(changes, lambda value: f"{value:+.3f}")


def verdicts(results: Sequence[Simulated]) -> str:
    """Return the tables of simulated verdicts: wrong ones, right ones, and other methods."""
    used = [result for result in results if result.method == "in use"]
    worst = max(used, key=lambda result: result.wrong)
    text = f"""Wrong verdicts of the methods in use, in percent, by the number of samples. The
    largest is {100 * worst.wrong:.1f} %, with a standard error of 0.5 % ({worst.shape},
    {worst.truth}, {worst.samples} samples)."""
    right = """Right verdicts of the methods in use, in percent: "worse" or "better" where the truth
    is that, "as good" where the models are equal."""
    others = """Wrong verdicts on equal models by methods that were left, in percent."""
    left = [result for result in results if result.method != "in use"]
    return join(
        [
            paragraph(text),
            _by_size(used, lambda result: result.wrong),
            paragraph(right),
            _by_size([result for result in used if _has_right_verdict(result)], _right),
            paragraph(others),
            _by_size(left, lambda result: result.wrong, with_method=True),
        ]
    )


def _has_right_verdict(result: Simulated) -> bool:
    return result.scores == "accuracy" or result.truth != "equal"


def _right(result: Simulated) -> float:
    if result.truth == "equal":
        return result.as_good
    return result.better if result.truth == "better" else result.worse


def _by_size(
    results: Sequence[Simulated], value: Callable[[Simulated], float], with_method: bool = False
) -> str:
    sizes = sorted({result.samples for result in results})
    rows: dict[tuple[str, ...], dict[int, str]] = {}
    for result in results:
        method = (result.method,) if with_method else ()
        key = (result.scores, result.shape, result.truth, *method)
        rows.setdefault(key, {})[result.samples] = f"{100 * value(result):.1f}"
    names = ["scores", "gains", "truth", *(["method"] if with_method else [])]
    return table(
        [*names, *(f"n = {size:,}" for size in sizes)],
        [[*key, *(cells.get(size, "–") for size in sizes)] for key, cells in rows.items()],
        left=range(len(names)),
    )


REPORT = Report(
    tool="study",
    title="When PReLU helps after fine-tuning",
    introduction="",
    kinds=(Result, Rate, Continual, Transfer, Simulated),
    sections={
        "recipes": Section(
            title="Recipes",
            text="""Each network is trained with ReLU, then fine-tuned for half as many epochs with
            each recipe: Adam from 0.003 along a cosine, the same data order, the best epoch on a
            fifth of the training samples. Change of the test error against the fine-tuned ReLU
            control in percent of it, negative is better: mean over seeds ± standard error, paired
            by seed; bold where the 95 % interval (Student's t) is off zero. "auto" chooses on the
            same fifth, with a budget of three fine-tunings.""",
            tables=study,
        ),
        "rates": Section(
            title="Learning rates",
            text="""Networks with capacity to spare are trained until their rate is 0, then
            fine-tuned, on the same samples or on 1,000 of 20,000, without a choice of the epoch: Adam from the rate of the
            column along a cosine, as ReLU ("relu") and converted exactly ("identity", slopes from
            0). Change of the test error (in points for classifiers) and of the mean test loss from
            those before fine-tuning: mean ± standard deviation over seeds.""",
            tables=rates,
        ),
        "continual": Section(
            title="Networks that go on learning",
            text="""A ReLU network (He initialization) learns one task after the other, ten epochs
            each in batches of 32, at a constant rate (SGD with momentum 0.9). After some tasks
            one thing is changed, and it learns ten more (sixty in one setting) with a fresh
            optimizer. The first column is the mean test error of the ReLU network over these tasks
            (where labels are drawn anew: the error on the training samples; of regressions: the squared error
            over the variance). The others are ratios to it: geometric mean over seeds ± standard
            error, paired by seed, lower is better; bold where the 95 % interval (Student's t of the
            logarithms) is off 1. "Fresh" networks start from new weights where the others are
            changed. Recipes are those of `kp.finetune`, with its rates for slopes; "auto" is
            `kp.finetune` on the first new task, whose result goes on by `fit`. What is "revived at
            each task" gets fresh weights for its dead units (`kp.revive`) before it learns one.
            The first two seeds (of sixty tasks all five, of permuted pixels with Adam 0.003 three)
            were measured on an AMD EPYC, but not what "identity-revived" and "auto" gain by being
            revived at each task.""",
            tables=continual,
        ),
        TRANSFER: Section(
            title="Transfer learning",
            text="""Networks that others trained learn new data: a network of four convolutions and
            two dense layers from Fashion-MNIST to 10,000 digits of MNIST and back, CREPE tiny from
            pitches to the notes of a piano (frames of 64 ms; those for testing are of other
            recordings, played more softly), EfficientNet-Lite0 from ImageNet to ten categories of
            emoji (64 × 64 pixels; no emoji is in both parts), of which "upper blocks" are the upper
            11 of 16, the lower ones staying as they are. A fifth of the new samples is held
            back. A new linear head learns first, on the features of the unchanged network ("head
            only"); then `kp.finetune` trains all layers for 8 epochs of 250 samples, 4 of 1,000 or
            2 of all, in batches of 32, with Adam decaying along a cosine, and keeps the epoch with
            the lowest loss on the held-out samples. These choose the control's rate, too, and everything else is trained at that rate, which favours the control.
            "×3" is the ratio of the slopes' learning rate to that of the weights. A frozen
            BatchNormalization keeps its statistics, scale and offset. The first columns are
            accuracies in percent on 1,000 test samples (2,000 of digits and clothes), mean ±
            standard deviation over seeds; the others are gains over the control in points, mean ±
            standard error, paired by seed, bold where the 95 % interval (Student's t) is off zero.""",
            tables=transfer,
        ),
        "verdict": Section(
            title="The verdict's errors",
            text="""Gains of known distributions are drawn 2,000 times (500 times for methods that
            were left) for each number of samples, and compared. The verdict states errors of at
            most 5 %: "better" or "worse" said of equal models, and "as good" said of models that
            differ by the margin or more. "Worse by the margin" is a gain of -1 %.""",
            tables=verdicts,
        ),
    },
)
